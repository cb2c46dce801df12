"""A host or an inventory that cannot carry the appliance stops site.yml before any change, saying what to do."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from lab import journey

MIRROR = {"url": "https://mirror.lab/apt/mongodb", "suite": "lab", "component": "main"}

CASES = {
    "too little memory": (
        {"preflight_minimum_memory_mb": 9_000_000},
        ["MiB of memory, 9000000 are needed", "Give it more"],
    ),
    "too small a disk": ({"preflight_minimum_disk_gb": 90_000}, ["90000 are needed", "Give it more"]),
    "a group without a host": (
        {"preflight_groups": {"edge": [], "app": ["a"]}},
        ["The inventory has no host in edge.", "Put at least one host"],
    ),
    "a wrong operating system": (
        {"preflight_debian_releases": ["99"]},
        ["The appliance runs on Debian 13", "Reinstall the host"],
    ),
    "a busy port": (
        {"preflight_ports": [{"port": 22, "owners": ["nginx"]}]},
        ["already listens on 22 (sshd)", "systemctl disable --now"],
    ),
    "a missing secret": (
        {"secret_mongodb_keyfile": "", "secret_backup_restic_password": ""},
        ["secret_mongodb_keyfile, secret_backup_restic_password", "playbooks/operations/generate_secrets.yml"],
    ),
    "no Claude credential": (
        {"secret_anthropic_api_key": "", "secret_claude_session_token": ""},
        ["secret_claude_session_token", "ansible-vault edit"],
    ),
    "a repository that does not answer": (
        {"preflight_urls": ["http://127.0.0.1:1/"]},
        ["cannot reach http://127.0.0.1:1/", "docs/variables.md"],
    ),
    "a repository without the package": (
        {"preflight_packages": [{**MIRROR, "package": "docker-compose-plugin"}]},
        ["does not find docker-compose-plugin (not in https://mirror.lab/apt/mongodb/dists/lab/main", "Correct"],
    ),
    "a repository without the suite": (
        {"preflight_packages": [{**MIRROR, "package": "mongodb-org-server", "suite": "nowhere"}]},
        ["mongodb-org-server (https://mirror.lab/apt/mongodb/dists/nowhere/main", "answers 404"],
    ),
    "variables that were renamed or removed": (
        {"exporters_listen_address": "127.0.0.1:1", "exporters_services": []},
        [
            "exporters_listen_address (set exporters_address and exporters_port)",
            "exporters_services (set networks_services)",
            "take the old names out of the inventory",
        ],
    ),
    "a clock that is off": ({"preflight_maximum_clock_skew": -1}, ["away from the controller's", "set-ntp"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_run_stops_before_any_change(lab: Any, case: str) -> None:
    variables, told = CASES[case]
    refused(told, "-i", str(lab.inventory), "-e", json.dumps(variables))


def test_a_renamed_variable_of_one_host_stops_the_run_of_all(lab: Any, tmp_path: Path) -> None:
    more = tmp_path / "more.yml"
    more.write_text(json.dumps({"edge": {"hosts": {lab.broker: {"prometheus_listen_address": "127.0.0.1:1"}}}}))
    told = [f"variables of {lab.broker} that", "(set prometheus_address and prometheus_port)"]
    refused(told, "-i", str(lab.inventory), "-i", str(more))


def test_a_disk_below_the_recommended_size_is_told_and_nothing_more(lab: Any) -> None:
    wanted = json.dumps({"preflight_recommended_disk_gb": 90_000})
    done = journey.playbook("playbooks/preflight.yml", "-i", str(lab.inventory), "-e", wanted, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "90000 are recommended for this appliance_size" in " ".join(done.stdout.split())


def test_debian_12_is_refused_where_compose_would_have_to_come_from_it(lab: Any, host: Host) -> None:
    only_on_debian_12(host)
    told = ["runs containers and Debian 12, which carries no Compose v2", "https://download.docker.com/linux/debian"]
    refused(told, "-i", str(lab.inventory), "-e", json.dumps({"docker_apt_repository_url": ""}))


def test_debian_12_is_refused_as_a_broker(lab: Any, host: Host, tmp_path: Path) -> None:
    only_on_debian_12(host)
    more = tmp_path / "more.yml"
    more.write_text(json.dumps({"rabbitmq": {"hosts": {lab.name: {}}}}))
    told = [f"{lab.name} is in group rabbitmq and runs Debian 12", "Put a Debian 13 host into group rabbitmq"]
    refused(told, "-i", str(lab.inventory), "-i", str(more))


def only_on_debian_12(host: Host) -> None:
    """Skip the test on another release: there, the run would go on."""
    if host.system_info.codename != "bookworm":
        pytest.skip("for Debian 12: molecule test -s bookworm")


def refused(told: Sequence[str], *arguments: str) -> None:
    """Run site.yml, which has to stop in preflight and to say what is *told*."""
    done = journey.playbook("site.yml", *arguments, timeout=120)
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    for words in told:
        assert words in shown
    recap = re.findall(r"changed=(\d+) +unreachable=0 +failed=(\d+)", done.stdout)
    assert {changed for changed, _ in recap} == {"0"}
    assert "1" in {failed for _, failed in recap}
    assert "TASK [base :" not in done.stdout
