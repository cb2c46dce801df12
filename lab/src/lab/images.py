"""Images made by mmdebstrap from Debian's packages alone, each cached by what goes into it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from docker.errors import APIError, ImageNotFound

from lab import engine, machine, paths
from lab.console import LabError, step
from lab.process import content_key, locked, run, write

SUITES = ("trixie", "bookworm")

_HOST_PACKAGES = (
    *("systemd", "systemd-sysv", "python3", "python3-apt", "ca-certificates", "iproute2", "dbus"),
    *("openssh-server", "cron", "sudo", "procps"),
)

# PID 1 of a host. Docker mounts three files into it, which a program that replaces such a file as
# a whole could not; the host gets files of its own instead, then becomes systemd. On a first boot
# the file below the mount is empty; later it holds what the host's administrator wrote. The image
# carries no SSH host keys: each host makes its own.
_INIT = """#!/bin/sh
set -eu
for name in hosts resolv.conf hostname; do
    if mountpoint -q "/etc/$name"; then
        cp "/etc/$name" "/run/docker-$name"
        umount "/etc/$name"
        [ -s "/etc/$name" ] || cp "/run/docker-$name" "/etc/$name"
    fi
done
[ -s /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -A
exec /sbin/init SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
"""


def host(suite: str) -> str:
    """The image of a bare host of *suite*: systemd, SSH and Python, nothing else."""
    if suite not in SUITES:
        raise LabError(f"no such suite: {suite}", f"one of {', '.join(SUITES)}")
    script = paths.cache("images", f"init-{content_key(_INIT)}")
    write(script, _INIT)
    hooks = [
        f"upload {script} /lab-init",
        'chmod 0755 "$1"/lab-init',
        'rm -f "$1"/etc/ssh/ssh_host_*',
        ': > "$1"/etc/machine-id',
    ]
    return _image(f"host-{suite}", suite, _HOST_PACKAGES, hooks, command="/lab-init")


def programs(name: str, packages: Sequence[str], hooks: Sequence[str] = ()) -> str:
    """An image of Debian 13 with *packages*, for the lab's own programs.

    Args:
        hooks: Customize hooks of mmdebstrap, run when the packages are there.
    """
    wanted = sorted({"ca-certificates", "python3", "procps", "iproute2", *packages})
    return _image(name, "trixie", wanted, hooks, command="/bin/bash")


def _image(name: str, suite: str, packages: Sequence[str], hooks: Sequence[str], *, command: str) -> str:
    mirror = machine.apt_mirror()
    sources = [
        f"deb {mirror.archive} {suite} main",
        f"deb {mirror.archive} {suite}-updates main",
        f"deb {mirror.security} {suite}-security main",
    ]
    key = content_key(*sources, *packages, *hooks, command)
    image = f"sdlc-lab-{name}:{key}"
    with locked(f"image-{name}"):
        if _exists(image):
            return image
        archive = paths.cache("images", f"{name}.tar")
        with step(f"making the image {image} from Debian's packages"):
            run(
                [
                    *("mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"),
                    *(f"--customize-hook={hook}" for hook in hooks),
                    *(suite, str(archive), *sources),
                ],
                hint="check that this machine's apt sources can be reached, then try again",
            )
            _import(archive, image, command)
        archive.unlink()
        _remove_others(f"sdlc-lab-{name}", image)
    return image


def _exists(image: str) -> bool:
    with engine.client() as client:
        try:
            client.images.get(image)
        except ImageNotFound:
            return False
    return True


def _import(archive: Path, image: str, command: str) -> None:
    repository, _, tag = image.partition(":")
    with engine.client() as client:
        told = client.api.import_image_from_file(
            str(archive), repository=repository, tag=tag, changes=[f"CMD {json.dumps([command])}"]
        )
    # The engine answers 200 and tells of a failure in the stream that follows.
    if not _exists(image):
        raise LabError(f"the image {image} could not be imported: {told}", "check that the disk is not full")


def _remove_others(repository: str, image: str) -> None:
    with engine.client() as client:
        for tag in {tag for found in client.images.list(name=repository) for tag in found.tags} - {image}:
            with contextlib.suppress(APIError):  # refused while a container uses it
                client.images.remove(tag)
