"""A host or an inventory that cannot carry the appliance stops site.yml before any change, saying what to do."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]

CASES = {
    "too little memory": (
        {"preflight_minimum_memory_mb": 9_000_000},
        ["MiB of memory, 9000000 are needed", "Give it more"],
    ),
    "too small a disk": ({"preflight_minimum_disk_gb": 90_000}, ["90000 are needed", "Give it more"]),
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
    "a clock that is off": ({"preflight_maximum_clock_skew": -1}, ["away from the controller's", "set-ntp"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_run_stops_before_any_change(lab: Any, case: str) -> None:
    variables, told = CASES[case]
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            *("-i", str(lab.inventory), "site.yml", "-e", json.dumps(variables)),
        ],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    for words in told:
        assert words in shown
    recap = re.findall(r"changed=(\d+) +unreachable=0 +failed=(\d+)", done.stdout)
    assert recap == [("0", "1")]
    assert "TASK [base :" not in done.stdout
