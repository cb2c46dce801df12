"""The lab's parts that need no engine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab import engine, hosts, inventory, process
from lab.console import LabError
from lab.mirror import debs, wheels
from lab.mirror.debs import File, Package

LOCK = """
# by pip-compile
aiohttp==3.13.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via thing
backport==1.0 ; python_version < "3.12" \\
    --hash=sha256:cc
newer==2.0 ; python_full_version >= "3.12" --hash=sha256:dd
"""


@pytest.mark.parametrize(("python", "names"), [("3.11", {"aiohttp", "backport"}), ("3.13", {"aiohttp", "newer"})])
def test_a_locks_markers_are_those_of_the_python_it_is_for(python: str, names: set[str]) -> None:
    lines = wheels.applicable(LOCK, python).splitlines()
    assert {line.split("==")[0] for line in lines} == names
    assert "aiohttp==3.13.0 --hash=sha256:aa --hash=sha256:bb" in [" ".join(line.split()) for line in lines]


def test_a_file_is_replaced_as_a_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    assert process.write(file, "one", mode=0o600)
    assert not process.write(file, "one", mode=0o600)
    assert process.write(file, "two", mode=0o600)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("two", 0o600)
    assert list(file.parent.iterdir()) == [file]


def test_different_parts_have_different_keys() -> None:
    assert process.content_key("ab", "c") != process.content_key("a", "bc")


def test_a_failed_command_carries_its_last_words_and_the_hint() -> None:
    with pytest.raises(LabError, match="no such thing") as failure:
        process.run(["sh", "-c", "echo no such thing >&2; exit 3"], hint="try that")
    assert failure.value.hint == "try that"


@pytest.mark.parametrize("name", ["Upper", "two words", "-", "a.b"])
def test_a_name_that_no_host_can_have_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="not a host name"):
        hosts.create(name)


def test_the_same_content_gives_the_same_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = {"Architecture": "all", "Maintainer": "Nobody <nobody@example.invalid>", "Description": "Test"}
    files = {"/etc/thing.conf": File("a: 1\n"), "/usr/bin/thing": File("#!/bin/sh\n", 0o755)}
    package = Package("thing", "1.0", control, files, ("/etc/thing.conf",))
    built = []
    for cache in ("first", "second"):
        monkeypatch.setenv("SDLC_LAB_CACHE", str(tmp_path / cache))
        built.append(debs.build(package).read_bytes())
    assert built[0] == built[1]
    shown = subprocess.run(
        ["dpkg-deb", "--contents", debs.build(package)], capture_output=True, text=True, check=True
    ).stdout
    assert "-rwxr-xr-x root/root" in shown
    assert "./etc/thing.conf" in shown


@pytest.mark.parametrize("content", ["", "not a number", "4194305", str(os.getpid())])
def test_a_pid_file_of_another_time_names_no_engine(tmp_path: Path, content: str) -> None:
    file = tmp_path / "dockerd.pid"
    file.write_text(content)
    assert engine._running(file, "dockerd") is None


def test_what_killed_commands_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDLC_LAB_CACHE", str(tmp_path))
    left, used = tmp_path / "scratch" / "4194305-left", tmp_path / "scratch" / f"{os.getpid()}-used"
    for folder in (left, used):
        folder.mkdir(parents=True)
    with process.scratch() as mine:
        assert mine.is_dir()
    assert (left.exists(), used.exists(), mine.exists()) == (False, True, False)


def test_a_host_without_groups_is_in_each_that_no_other_claims() -> None:
    groups = inventory.members_of_groups(inventory.parsed(["all-in-one:", "broker:rabbitmq"]))
    assert groups.pop("rabbitmq") == ["broker"]
    assert set(groups) == set(inventory.GROUPS) - {"rabbitmq"}
    assert set(map(tuple, groups.values())) == {("all-in-one",)}


def test_hosts_without_groups_share_them_all() -> None:
    groups = inventory.members_of_groups(inventory.parsed(["one", "two"]))
    assert list(groups.values()) == [["one", "two"]] * len(inventory.GROUPS)


def test_a_group_that_does_not_exist_is_refused() -> None:
    with pytest.raises(LabError, match="no such group: web"):
        inventory.parsed(["one:web"])
