"""Facts about the machine that the lab runs on, and the tools that it installs there."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.console import LabError, step
from lab.process import attempt, locked, run

CA_FOLDER = Path("/usr/local/share/ca-certificates")

_TOOLS = {
    "dockerd": "docker.io",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "ssh-keygen": "openssh-client",
    "gpg": "gnupg",
    "openssl": "openssl",
    "dpkg-deb": "dpkg",
    "apt-ftparchive": "apt-utils",
}


@dataclass(frozen=True)
class AptMirror:
    """Where this machine gets Debian's packages: the archive's and the security archive's URL."""

    archive: str
    security: str


def install_tools(*, engine_answers: bool) -> None:
    """Install, by apt, those of the lab's tools that this machine lacks; an engine only where none answers."""
    wanted = dict(_TOOLS)
    if engine_answers:
        del wanted["dockerd"]
    missing = sorted({package for tool, package in wanted.items() if not shutil.which(tool)})
    if not missing and shutil.which("docker"):
        return
    if os.geteuid() != 0:
        raise LabError(
            f"these packages are missing: {' '.join(missing or ['docker-cli'])}",
            "run as root, or install them by apt-get",
        )
    hint = "check this machine's apt sources, then run the same command again"
    install = ["apt-get", "install", "-qy", "--no-install-recommends"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with locked("apt"), step(f"installing {', '.join(missing) or 'docker-cli'}"):
        run(["apt-get", "update", "-q"], hint=hint)
        run([*install, *missing], env=quiet, hint=hint)
        if not shutil.which("docker"):  # a package of its own since Debian 13
            run([*install, "docker-cli"], env=quiet, hint=hint)


@cache
def mtu() -> int:
    """The MTU of the interface that leads outside: the lab's networks must not exceed it."""
    for line in attempt(["ip", "-o", "route", "show", "default"]).stdout.splitlines():
        words = line.split()
        if "dev" in words:
            device = words[words.index("dev") + 1]
            return int(Path("/sys/class/net", device, "mtu").read_text())
    return 1500


@cache
def apt_mirror() -> AptMirror:
    """The Debian mirror that this machine's own apt sources name.

    Raises:
        LabError: They name none.
    """
    codename = _os_release().get("VERSION_CODENAME", "")
    found = _apt_sources()
    if not found and os.geteuid() == 0:  # apt tells only of what it has lists of
        with locked("apt"):
            run(["apt-get", "update", "-q"], hint="check this machine's apt sources, then run the same command again")
        found = _apt_sources()
    archive, security = found.get(codename), found.get(f"{codename}-security")
    if not archive or not security:
        raise LabError(
            f"apt's sources name no mirror of {codename} and {codename}-security",
            "run apt-get update, and check /etc/apt/sources.list and /etc/apt/sources.list.d",
        )
    return AptMirror(archive=archive, security=security)


def _apt_sources() -> dict[str, str]:
    """The addresses of apt's sources by release, as far as apt has their lists."""
    found: dict[str, str] = {}
    targets = attempt(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    for line in targets.stdout.splitlines():
        uri, _, release = line.partition(" ")
        found.setdefault(release, uri.rstrip("/"))
    return found


def extra_ca_certificates() -> dict[str, str]:
    """The CA certificates that this machine trusts beside Debian's: name to PEM."""
    return {path.stem: path.read_text() for path in sorted(CA_FOLDER.glob("*.crt"))}


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    return {key: value.strip('"') for key, _, value in pairs}
