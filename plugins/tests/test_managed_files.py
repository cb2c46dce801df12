"""Module managed_files, run as Ansible runs it: as a program of its own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).parents[1] / "modules" / "managed_files.py"
ME = {"owner": str(os.getuid()), "group": str(os.getgid())}
Keep = Callable[..., dict[str, Any]]


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Run the module with these options."""

    def run(*, check: bool = False, **options: object) -> dict[str, Any]:
        told = options | {"_ansible_check_mode": check, "_ansible_tmpdir": str(tmp_path), "_ansible_remote_tmp": "/tmp"}  # noqa: S108
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": told})
        done = subprocess.run([sys.executable, MODULE], input=arguments, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        assert bool(result.get("failed")) == (done.returncode != 0)
        return result

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files are to be; it is not there yet."""
    return tmp_path / "etc" / "service"


def file(path: Path, content: str, **options: str) -> dict[str, Any]:
    """A file as the module takes it."""
    return {"path": str(path), "content": content, **ME, **options}


def mode(path: Path) -> int:
    """A file's permissions."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_file_is_written_once(keep: Keep, folder: Path) -> None:
    wanted = [file(folder / "a.conf", "one\n", mode="0640")]
    assert keep(files=wanted)["changed_paths"] == [str(folder / "a.conf")]
    assert ((folder / "a.conf").read_text(), mode(folder / "a.conf")) == ("one\n", 0o640)
    again = keep(files=wanted)
    assert (again["changed"], again["changed_paths"]) == (False, [])


def test_permissions_are_set_right(keep: Keep, folder: Path) -> None:
    wanted = [file(folder / "secret", "one", mode="0400")]
    keep(files=wanted)
    (folder / "secret").chmod(0o644)
    assert keep(files=wanted)["changed_paths"] == [str(folder / "secret")]
    assert mode(folder / "secret") == 0o400


def test_a_link_gives_way_to_a_plain_file(keep: Keep, folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("one")
    elsewhere.chmod(0o644)
    (folder / "a").symlink_to(elsewhere)
    assert keep(files=[file(folder / "a", "one")])["changed"]
    assert not (folder / "a").is_symlink()


def test_a_file_that_fails_its_check_changes_nothing(keep: Keep, folder: Path) -> None:
    keep(files=[file(folder / "good", "one"), file(folder / "bad", "one")])
    refused = keep(files=[file(folder / "good", "two"), file(folder / "bad", "two", validate="grep --quiet one %s")])
    assert refused["failed"]
    assert f"{folder / 'bad'} did not pass `grep --quiet one %s`" in refused["msg"]
    assert ((folder / "good").read_text(), (folder / "bad").read_text()) == ("one", "one")


def test_a_check_sees_the_file_under_its_name_and_alone(keep: Keep, folder: Path) -> None:
    asked = {"validate": "sh -c 'test $(basename $0) = a.sources && test $(ls $1) = a.sources' %s %d"}
    assert not keep(files=[file(folder / "a.sources", "x", **asked)]).get("failed")
    assert keep(files=[file(folder / "b.sources", "x", **asked)])["failed"]


def test_a_directory_holds_the_listed_files_alone(keep: Keep, folder: Path) -> None:
    listed = {"files": [file(folder / "a", "one")], "directories": [{"path": str(folder), "mode": "0700"}]}
    assert keep(**listed)["changed_paths"] == [str(folder), str(folder / "a")]
    assert mode(folder) == 0o700
    (folder / "stray").write_text("left by hand")
    (folder / ".new-left").write_text("left by an interrupted run")
    folder.chmod(0o755)
    assert set(keep(**listed)["changed_paths"]) == {str(folder), str(folder / "stray"), str(folder / ".new-left")}
    assert ([path.name for path in folder.iterdir()], mode(folder)) == (["a"], 0o700)
    assert not keep(**listed)["changed"]


def test_a_directory_that_is_to_hold_nothing_is_not_made(keep: Keep, folder: Path) -> None:
    assert not keep(directories=[{"path": str(folder)}])["changed"]
    assert not folder.exists()


def test_a_copy_follows_its_original(keep: Keep, folder: Path, tmp_path: Path) -> None:
    original = tmp_path / "bundle.crt"
    original.write_text("one")
    wanted = {"path": str(folder / "ca.crt"), "copy_of": str(original), **ME}
    first = keep(files=[wanted])["digests"]
    assert not keep(files=[wanted])["changed"]
    original.write_text("two")
    second = keep(files=[wanted])
    assert (folder / "ca.crt").read_text() == "two"
    assert second["digests"].keys() == first.keys() == {str(folder / "ca.crt")}
    assert second["digests"] != first


def test_a_copy_of_nothing_is_refused_but_in_check_mode(keep: Keep, folder: Path, tmp_path: Path) -> None:
    wanted = [{"path": str(folder / "ca.crt"), "copy_of": str(tmp_path / "none"), **ME}]
    assert f"{tmp_path / 'none'} is missing" in keep(files=wanted)["msg"]
    assert keep(files=wanted, check=True)["changed"]
    assert not folder.exists()


def test_check_mode_tells_and_changes_nothing(keep: Keep, folder: Path) -> None:
    keep(files=[file(folder / "a", "one")])
    (folder / "old").write_text("old")
    options = {"files": [file(folder / "a", "two"), file(folder / "b", "new")], "absent": [str(folder / "old")]}
    told = keep(check=True, **options)
    assert set(told["changed_paths"]) == {str(folder / name) for name in ("a", "b", "old")}
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "one", "old": "old"}
    assert keep(**options)["changed_paths"] == told["changed_paths"]
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "two", "b": "new"}


def test_digests_name_contents_and_hold_none(keep: Keep, folder: Path) -> None:
    told = keep(files=[file(folder / "a", "secret one"), file(folder / "b", "secret one"), file(folder / "c", "two")])
    a, b, c = (told["digests"][str(folder / name)] for name in "abc")
    assert a == b != c
    assert "secret" not in json.dumps(told["digests"])


def test_content_and_copy_together_are_refused(keep: Keep, folder: Path) -> None:
    assert "mutually exclusive" in keep(files=[file(folder / "a", "one", copy_of="/etc/hostname")])["msg"]
    assert "one of the following is required" in keep(files=[{"path": str(folder / "a")}])["msg"]
