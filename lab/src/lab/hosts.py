"""Test hosts: bare Debian machines that are containers, reached over SSH as real ones are."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from docker.errors import NotFound

from lab import containers, engine, images, paths
from lab.console import LabError, say, step
from lab.mirror import server
from lab.process import locked, run, wait_until, write

APPLIANCE = "appliance"
_LABEL, _ADDRESS, _SUITE = "sdlc-lab.host", "sdlc-lab.address", "sdlc-lab.suite"
_FIXED = {APPLIANCE: "10.212.0.10"}
_FIRST_FREE, _LAST_FREE = 20, 250


@dataclass(frozen=True)
class Host:
    """A test host as it is now."""

    name: str
    address: str
    suite: str
    running: bool


def container(name: str) -> str:
    """The name of the container that is the host *name*."""
    return f"sdlc-lab-host-{name}"


def known() -> list[Host]:
    """All test hosts on this machine's engine, by name."""
    with engine.client() as client:
        found = client.containers.list(all=True, filters={"label": _LABEL}, ignore_removed=True)
    hosts = (
        Host(
            name=host.labels[_LABEL],
            address=host.labels[_ADDRESS],
            suite=host.labels[_SUITE],
            running=host.status == "running",
        )
        for host in found
    )
    return sorted(hosts, key=lambda host: host.name)


def create(name: str, suite: str = "trixie", address: str = "") -> Host:
    """Have a host *name* that is up and answers over SSH; one that exists is kept as it is.

    Args:
        address: Its address on the lab's network; a free one is chosen otherwise.
    """
    if not name.replace("-", "").isalnum() or name != name.lower():
        raise LabError(f"not a host name: {name}", "use lower-case letters, digits and dashes")
    server.up()
    image = images.host(suite)
    with locked("hosts"):
        found = next((host for host in known() if host.name == name), None)
        if found is None:
            chosen = _address(name, address)
            found = Host(name, chosen, suite, running=True)
            say(f"creating host {name} ({suite}) at {chosen}")
            _remove(name)
            _run(found, image)
        elif found.suite != suite or (address and found.address != address):
            raise LabError(
                f"host {name} exists with suite {found.suite} and address {found.address}",
                f"destroy it first: lab host destroy {name}",
            )
        elif not found.running:
            say(f"starting host {name}")
            containers.restart(container(name))
    _name_server(name)
    _wait_for_boot(name)
    _authorize(name, found.address)
    say(f"host {name} is up: {' '.join(ssh_command(found.address))}")
    return found


def destroy(name: str) -> None:
    """Remove the host *name* and its disk. A host that does not exist is no failure."""
    if not engine.answers():
        return
    with locked("hosts"):
        _remove(name)
        write(_known_hosts(), "".join(_other_known_hosts(name)), mode=0o600)
    say(f"host {name} is gone")


def ssh_key() -> str:
    """The path of the private key that opens every test host, made when it is missing."""
    key = paths.state("ssh", "id_ed25519")
    with locked("ssh-key"):
        if not key.with_suffix(".pub").is_file():
            key.unlink(missing_ok=True)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sdlc-lab", "-f", str(key)])
    return str(key)


def ssh_options() -> list[str]:
    """The ssh options that open a test host and check its host key."""
    return [
        *("-i", ssh_key(), "-o", "IdentitiesOnly=yes"),
        *("-o", f"UserKnownHostsFile={_known_hosts()}", "-o", "StrictHostKeyChecking=yes"),
    ]


def ssh_command(address: str) -> list[str]:
    """The command that logs in at *address* as root."""
    return ["ssh", *ssh_options(), f"root@{address}"]


def _address(name: str, wanted: str) -> str:
    network = ipaddress.ip_network(engine.SUBNET)
    taken = {host.address for host in known()}
    wanted = wanted or _FIXED.get(name, "")
    if wanted:
        if ipaddress.ip_address(wanted) not in network:
            raise LabError(f"{wanted} is not in the lab's network {network}")
        if wanted in taken:
            raise LabError(f"{wanted} belongs to another test host", "choose another --address")
        return wanted
    free = (str(network[last]) for last in range(_FIRST_FREE, _LAST_FREE + 1))
    for candidate in free:
        if candidate not in taken:
            return candidate
    raise LabError("no address is free on the lab's network", "destroy a host you do not need")


def _run(host: Host, image: str) -> None:
    containers.start(
        containers.Container(
            name=container(host.name),
            image=image,
            hostname=host.name,
            address=host.address,
            aliases=[host.name],
            binds=[f"{_volume(host.name)}:/var/lib/docker"],
            options=engine.host_options(image),
            stop_signal="SIGRTMIN+3",
        ),
        {_LABEL: host.name, _ADDRESS: host.address, _SUITE: host.suite},
    )


def _name_server(name: str) -> None:
    """Have the host ask the lab's name server, which its own containers can reach as well."""
    # Until the host's init has unmounted Docker's file, a write would go there and be lost.
    own = "! grep -q ' /etc/resolv.conf ' /proc/mounts && [ -s /etc/resolv.conf ]"
    wait_until(lambda: _shell(name, own).status == 0, f"host {name} has files of its own", timeout=30)
    dockers = "grep -q '^nameserver 127.0.0.11' /etc/resolv.conf"
    _checked(name, f"! {dockers} || echo nameserver {server.ADDRESS} > /etc/resolv.conf")


def _shell(name: str, script: str, **environment: str) -> containers.Told:
    return containers.execute(container(name), "sh", "-c", script, environment=environment)


def _checked(name: str, script: str, **environment: str) -> str:
    """What *script* printed on the host, where it succeeded."""
    told = _shell(name, script, **environment)
    if told.status != 0:
        raise LabError(f"a script on host {name} failed with status {told.status}:\n{told.output}\n{script}")
    return told.output


def _remove(name: str) -> None:
    containers.remove(container(name))
    with engine.client() as client, suppress(NotFound):
        client.volumes.get(_volume(name)).remove(force=True)


def _wait_for_boot(name: str) -> None:
    def booted() -> bool:
        if not containers.runs(container(name)):
            raise LabError(f"host {name} stopped while it booted:\n{containers.last_words(container(name))}")
        return _shell(name, "systemctl is-system-running").output.strip() in {"running", "degraded"}

    with step(f"booting host {name}"):
        hint = f"look at it: docker exec {container(name)} journalctl --no-pager | tail -50"
        wait_until(booted, f"systemd of host {name} is up", timeout=120, hint=hint)


def _authorize(name: str, address: str) -> None:
    """Let the lab's key in, and remember the host's key."""
    ssh_key()
    script = """
set -eu
install -d -m 0700 /root/.ssh
touch /root/.ssh/authorized_keys
chmod 0600 /root/.ssh/authorized_keys
grep -qxF "$LAB_KEY" /root/.ssh/authorized_keys || printf '%s\\n' "$LAB_KEY" >> /root/.ssh/authorized_keys
cat /etc/ssh/ssh_host_ed25519_key.pub
"""
    public = paths.state("ssh", "id_ed25519.pub").read_text().strip()
    kind, key = _checked(name, script, LAB_KEY=public).split()[:2]
    with locked("hosts"):
        lines = [*_other_known_hosts(name), f"{name},{address} {kind} {key}\n"]
        write(_known_hosts(), "".join(lines), mode=0o600)
    wait_until(
        lambda: _shell(name, "systemctl is-active ssh").status == 0,
        f"sshd of host {name} runs",
        timeout=30,
        hint=f"look at it: docker exec {container(name)} systemctl status ssh",
    )
    # One attempt: sshd shuts out for a while an address that fails again and again.
    run([*ssh_command(address), "-o", "ConnectTimeout=10", "true"])


def _other_known_hosts(name: str) -> list[str]:
    """The known hosts that exist still, less *name*."""
    names = {host.name for host in known()} - {name}
    file = _known_hosts()
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    return [line for line in lines if line.split(",")[0] in names]


def _known_hosts() -> Path:
    return paths.state("ssh", "known_hosts")


def _volume(name: str) -> str:
    return f"{container(name)}-docker"
