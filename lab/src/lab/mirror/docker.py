"""Docker's own packages for Debian 12: the vendor's names and paths, the programs of Debian 13.

Debian 12 carries no Compose v2, and Docker's repository is not to be had in the lab. Debian 13's engine,
command line, Compose and buildx want no newer C library than Debian 12 has. Its runc does: there, that of
Debian 12 is taken.
"""

from __future__ import annotations

from lab import downloads
from lab.mirror.debs import File, Package

_SOURCES = ("containerd", "docker-buildx", "docker-cli", "docker-compose", "docker.io", "tini")
_PLUGINS = "/usr/libexec/docker/cli-plugins"
_UNITS = "/lib/systemd/system"

# Unlike the vendor's, it enables and starts nothing.
_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    getent group docker >/dev/null || groupadd --system docker
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
    fi
fi
"""

_PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop docker.socket docker.service >/dev/null || true
fi
"""


def packages() -> list[Package]:
    """The packages that https://docs.docker.com/engine/install/debian/ names."""
    debian = downloads.debian("trixie", _SOURCES)
    tree = debian.tree

    def package(
        name: str,
        source: str,
        description: str,
        files: dict[str, File],
        *,
        scripts: dict[str, str] | None = None,
        **fields: str,
    ) -> Package:
        control = {
            "Architecture": "amd64",
            "Maintainer": "The lab of SDLC agents <lab@example.invalid>",
            "Section": "admin",
            **fields,
            "Description": f"{description} (packed by the lab)\n"
            f" The programs of Debian 13's {source} under Docker's package name.\n For test hosts only.",
        }
        version = debian.versions[source].partition("+")[0].partition("~")[0]
        return Package(name, version, control, files, scripts=scripts or {})

    def program(path: str) -> File:
        return File(tree / path.lstrip("/"), 0o755)

    unit = (tree / "usr/lib/systemd/system/docker.service").read_text()
    socket = tree / "usr/lib/systemd/system/docker.socket"
    containers = [f"/usr/bin/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")]
    return [
        package(
            "docker-ce",
            "docker.io",
            "Docker Engine",
            {
                # Where the vendor has them: Debian's are in /usr/sbin.
                "/usr/bin/dockerd": program("/usr/sbin/dockerd"),
                "/usr/bin/docker-proxy": program("/usr/sbin/docker-proxy"),
                "/usr/bin/docker-init": program("/usr/bin/tini-static"),
                f"{_UNITS}/docker.service": File(unit.replace("/usr/sbin/dockerd", "/usr/bin/dockerd")),
                f"{_UNITS}/docker.socket": File(socket),
            },
            scripts={"postinst": _POSTINST, "prerm": _PRERM},
            Depends="containerd.io, docker-ce-cli, iptables, libc6 (>= 2.34), libsystemd0, passwd",
            Conflicts="docker.io",
        ),
        package(
            "docker-ce-cli",
            "docker-cli",
            "Docker's command line",
            {"/usr/bin/docker": program("/usr/bin/docker")},
            Depends="libc6 (>= 2.34)",
            Conflicts="docker.io, docker-cli",
        ),
        package(
            "containerd.io",
            "containerd",
            "containerd",
            {
                **{path: program(path) for path in containers},
                f"{_UNITS}/containerd.service": File(tree / "usr/lib/systemd/system/containerd.service"),
            },
            Depends="libc6 (>= 2.34), runc",
            Conflicts="containerd",
        ),
        *(
            package(
                f"docker-{plugin}-plugin",
                f"docker-{plugin}",
                f"Docker's plugin {plugin}",
                {f"{_PLUGINS}/docker-{plugin}": program(f"{_PLUGINS}/docker-{plugin}")},
                Depends="libc6 (>= 2.34)",
            )
            for plugin in ("buildx", "compose")
        ),
    ]
