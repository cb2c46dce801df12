"""What every test of a converged host may use.

The host is the first of the lab's inventory, `.lab/inventory` unless SDLC_LAB_INVENTORY names another
one (say `.lab/inventory-h5`, made by `lab inventory h5`). It carries every group; the broker
alone may stand on another host (scenario bookworm).

| fixture | what |
| --- | --- |
| `host` | the appliance, as a testinfra host over one SSH connection that stays open |
| `appliance` | the same as its users see it: `journey.Appliance` on the inventory's ports |
| `broker` | the host of group rabbitmq, which may be the same |
| `outside` | another machine on the lab's network: curl, openssl, nmap, nc, Python with pymongo and pika |
| `lab` | names, addresses and files of the lab: see `Lab` |
| `secrets` | the inventory's secrets (`secret_…`), decrypted in memory only |
| `client_on_host` | `client_on_host(source, address)(function, …)`: calls a function of a Python program on a host |
| `eventually` | `eventually(check, timeout=30)`: calls `check` until it returns something true, and returns that |

Ports, names, paths and containers' addresses come from the inventory: module `wiring`. No test types one.

Tests run one after the other; with `-n 2 --no-loadscope-reorder` two at a time, those of a file one by one. A
test that stops, restarts or replaces a part of the host is marked `alone`: nothing runs beside it.

In `eventually` an AssertionError of `check` counts as "not yet"; the last one is raised when the time is over.

Never put a secret into a command line on the host: pass it on standard input, or use it here.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

import pytest
import testinfra
import wiring
import yaml
from testinfra.host import Host
from wiring import CHECKOUT
from xdist.scheduler import LoadScopeScheduling

from lab import hosts, paths
from lab import outside as outside_host
from lab.journey import Appliance
from lab.mirror import server as mirror_server
from lab.services import SERVICES_ADDRESS

T = TypeVar("T")


class Eventually(Protocol):
    """Waits for a condition."""

    def __call__(self, check: Callable[[], T], timeout: float = 30) -> T:
        """What *check* returned, once that was true."""


@dataclass(frozen=True)
class Lab:
    """Where things are.

    Attributes:
        inventory: The folder of Ansible's inventory.
        name: The appliance's name in that inventory.
        address: Its address on the lab's network.
        broker: The name of the host of group rabbitmq.
        broker_address: Its address on the lab's network.
        ca: The authority of the lab's outside services (gitea.lab, logs.lab …).
        appliance_ca: The appliance's own authority.
        services: The address of the outside services; they have one name each and share it.
        mirror: The address of mirror.lab, which is the lab's name server too.
        outside: The address of the machine of the fixture `outside`.
    """

    inventory: Path
    name: str
    address: str
    broker: str
    broker_address: str
    ca: Path
    appliance_ca: Path
    services: str = SERVICES_ADDRESS
    mirror: str = mirror_server.ADDRESS
    outside: str = outside_host.ADDRESS

    def service_secret(self, name: str) -> str:
        """A credential of an outside service, by its file's name (lab/src/lab/services/README.md)."""
        return paths.state("services", name).read_text().strip()


class Secrets(dict[str, str]):
    """Secrets by name. A failed test prints its arguments: these show their names alone."""

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self))})"


# Files whose tests are not to run beside one another. Those of the first group make containers anew or remember them,
# those of the second read in squid's log what their own runs asked for. What takes longest begins first.
_GROUPS = {
    "containers": ("test_steps", "test_alerts", "test_checks", "test_app", "test_firewall", "test_docker"),
    "egress": ("test_hostile_runs", "test_packages", "test_egress", "test_squid"),
}


def _group(file: str) -> str:
    return next((name for name, files in _GROUPS.items() if file in files), file)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """Gives the tests of a group, or of a file that is in none, to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(PurePosixPath(nodeid.partition("::")[0]).stem)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Have pytest-xdist schedule by group."""
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the groups begin first, in the order of their files, and each file's disturbing tests come last."""
    order = [file for files in _GROUPS.values() for file in files]

    for item in items:
        if item.path.stem not in order:
            order.append(item.path.stem)
    items.sort(key=lambda item: (order.index(item.path.stem), _is_alone(item)))


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Hold the host for the test: together with the other worker's, or alone."""
    with paths.state("tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if _is_alone(item) else fcntl.LOCK_SH)
        return (yield)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """Names, addresses and files of the lab."""
    inventory, described = wiring.inventory(), wiring.described()
    members = described["hosts"]
    name, broker = (next(iter(names)) for names in (members, described["children"]["rabbitmq"]["hosts"]))
    return Lab(
        inventory=inventory,
        name=name,
        address=members[name]["ansible_host"],
        broker=broker,
        broker_address=members[broker]["ansible_host"],
        ca=paths.state("pki", "ca.crt"),
        appliance_ca=inventory / "ca.crt",
    )


@pytest.fixture(scope="session")
def over_ssh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Host]:
    """Make a testinfra host of an address."""
    # One connection for all tests. Its socket's path must be short.
    sockets = tmp_path_factory.mktemp("ssh")
    shared = ["-o ControlMaster=auto", f"-o ControlPath={sockets}/%C", "-o ControlPersist=60"]
    arguments = " ".join([*hosts.ssh_options(), *shared])
    return lambda address: testinfra.get_host(f"ssh://root@{address}", ssh_extra_args=arguments)


@pytest.fixture(scope="session")
def host(lab: Lab, over_ssh: Callable[[str], Host]) -> Host:
    """The appliance over SSH."""
    return over_ssh(lab.address)


@pytest.fixture(scope="session")
def appliance(lab: Lab) -> Appliance:
    """The appliance as its users see it."""
    return Appliance(
        next(found for found in hosts.known() if found.name == lab.name),
        lab.inventory,
        configuration_port=wiring.port("app_configuration_api_port"),
        https_port=wiring.port("nginx_https_port"),
    )


@pytest.fixture(scope="session")
def broker(lab: Lab, host: Host, over_ssh: Callable[[str], Host]) -> Host:
    """The host of group rabbitmq over SSH: `host` itself, or another one."""
    return host if lab.broker == lab.name else over_ssh(lab.broker_address)


@pytest.fixture(scope="session")
def outside() -> Host:
    """Another machine on the lab's network."""
    return testinfra.get_host(f"docker://{outside_host.up()}")


@pytest.fixture(scope="session")
def secrets(lab: Lab) -> Mapping[str, str]:
    """The secrets of the lab's inventory."""
    vault = Path(sys.executable).with_name("ansible-vault")
    shown = subprocess.run(
        [vault, "view", lab.inventory / "group_vars" / "all" / "secrets.yml"],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=True,
    )
    return Secrets(yaml.safe_load(shown.stdout))


@pytest.fixture(scope="session")
def client_on_host(lab: Lab) -> Callable[..., Callable[..., Any]]:
    """Make a function that calls, by name, a function of a Python program on a host, over standard input.

    The host is the appliance unless an address names another.

    The program prints, as JSON, what the function that CALL names returns for ARGUMENTS and OPTIONS.
    """

    def client(source: str, address: str = lab.address) -> Callable[..., Any]:
        def call(name: str, *arguments: object, **options: object) -> Any:
            program = f"CALL, ARGUMENTS, OPTIONS = {name!r}, {arguments!r}, {options!r}\n{source}"
            done = subprocess.run(
                [*hosts.ssh_command(address), "python3", "-"],
                input=program,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        return call

    return client


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Wait for a condition, not for a time."""

    def wait(check: Callable[[], T], timeout: float = 30) -> T:
        deadline = time.monotonic() + timeout
        while True:
            failure: AssertionError | None = None
            try:
                value = check()
                if value:
                    return value
            except AssertionError as error:
                failure = error
            if time.monotonic() > deadline:
                raise failure or AssertionError(f"not so after {timeout:.0f} s; at last: {value!r}")
            time.sleep(0.3)

    return wait
