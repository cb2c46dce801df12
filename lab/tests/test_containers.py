"""Containers on the lab's network, on the engine that carries it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab import backends, containers, engine
from lab.console import LabError
from lab.containers import Container


@pytest.fixture
def wanted() -> Iterator[Container]:
    engine.ensure()
    name = f"sdlc-lab-test-{secrets.token_hex(4)}"
    # Beyond what hosts are given.
    address = f"10.212.0.{secrets.choice(range(251, 255))}"
    yield Container(name, backends.image(), hostname="test", address=address, command=["sleep", "infinity"])
    containers.remove(name)


def test_a_container_of_the_same_key_is_kept_and_one_of_another_is_made_anew(wanted: Container) -> None:
    assert containers.ensure(wanted, "one")
    assert containers.execute(wanted.name, "touch", "/mark").status == 0
    assert not containers.ensure(wanted, "one")
    assert containers.execute(wanted.name, "test", "-e", "/mark").status == 0
    assert containers.ensure(wanted, "two")
    assert containers.execute(wanted.name, "test", "-e", "/mark").status == 1


def test_a_container_that_stopped_goes_on_with_what_it_holds(wanted: Container) -> None:
    containers.ensure(wanted, "one")
    containers.execute(wanted.name, "touch", "/mark")
    with engine.client() as client:
        client.containers.get(wanted.name).kill()
    assert not containers.runs(wanted.name)
    assert containers.ensure(wanted, "one")
    assert containers.execute(wanted.name, "test", "-e", "/mark").status == 0


def test_nothing_is_left_of_a_container_that_cannot_start(wanted: Container) -> None:
    with pytest.raises(LabError, match="no-such-program"):
        containers.ensure(replace(wanted, command=["no-such-program"]), "one")
    assert containers.ensure(wanted, "one")


def test_one_that_ends_while_it_is_waited_for_is_told_with_its_last_words(wanted: Container) -> None:
    containers.ensure(replace(wanted, command=["sh", "-c", "echo I give up; exit 1"]), "one")
    with pytest.raises(LabError, match="I give up"):
        containers.wait_for(wanted.name, ["false"], "it is ready", timeout=30)


def test_a_command_is_told_with_its_status_and_what_it_printed(wanted: Container) -> None:
    containers.ensure(wanted, "one")
    told = containers.execute(
        wanted.name, "sh", "-c", 'echo "$GREETING"; echo error >&2; exit 3', environment={"GREETING": "hello"}
    )
    assert (told.status, sorted(told.output.split())) == (3, ["error", "hello"])


def test_in_a_container_that_is_not_there_no_command_runs() -> None:
    with pytest.raises(LabError, match="No such container"):
        containers.execute("sdlc-lab-test-none", "true")


@pytest.mark.parametrize(("options", "status"), [({}, 1), ({"security_opt": ["systempaths=unconfined"]}, 0)])
def test_system_paths_are_open_to_a_host_alone(wanted: Container, options: dict[str, list[str]], status: int) -> None:
    containers.ensure(replace(wanted, options=options), "one")
    told = containers.execute(wanted.name, "sh", "-c", "! grep -q ' /proc/sys ' /proc/mounts")
    assert told.status == status
