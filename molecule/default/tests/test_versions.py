"""Versions: what each host carries fits its pins, and `make versions` says so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]


def versions(inventory: Path) -> tuple[int, str]:
    """What scripts/versions ends with and prints of that inventory."""
    done = subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "versions", inventory], capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_each_host_carries_what_is_pinned(lab: Any) -> None:
    status, shown = versions(lab.inventory)
    assert status == 0
    assert "differs" not in shown
    of_host = shown.partition(f"\n{lab.name}, Debian 1")[2].partition("\n\n")[0].splitlines()[1:]
    told = {line.split()[0]: line.split()[1:] for line in of_host}
    assert {"nginx", "squid", "prometheus", "prometheus-node-exporter", "mongodb-org-server", "filebeat"} <= told.keys()
    assert {words[1] for words in told.values()} == {"pin"}, "everything that the appliance installs has a pin"


def test_hosts_that_cannot_be_reached_are_named(tmp_path: Path) -> None:
    there = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"gone": there}}}))
    status, shown = versions(tmp_path)
    assert status == 1
    assert "\ngone cannot be reached: " in shown


def test_a_host_that_departs_from_its_pin_is_named(lab: Any, tmp_path: Path) -> None:
    for name in ("hosts.yml", "group_vars"):
        (tmp_path / name).symlink_to(lab.inventory / name)
    (tmp_path / "other.yml").write_text(json.dumps({"all": {"vars": {"versions_nginx": "1.2.*"}}}))
    status, shown = versions(tmp_path)
    assert status == 0
    (line,) = [line for line in shown.splitlines() if "pin 1.2.*" in line]
    assert line.split()[0] == "nginx"
    assert "differs" in line
