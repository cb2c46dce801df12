"""One step of site.yml alone (its tag), on a converged host: it does its part, and no more than that."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from testinfra.host import Host

from lab import journey


def changed(lab: Any, tags: str, **variables: str) -> int:
    """How many tasks of a run with these tags changed something."""
    done = journey.playbook("site.yml", "-i", str(lab.inventory), "--tags", tags, "-e", json.dumps(variables))
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(rf"^{re.escape(lab.name)} +: ok=\d+ +changed=(\d+) ", done.stdout, re.M)
    assert counted, done.stdout
    return int(counted[1])


def containers(host: Host) -> Mapping[str, str]:
    """The identity of each container by its name."""
    lines = host.check_output("docker ps --all --no-trunc --format '{{.Names}} {{.ID}}'").splitlines()
    return dict(line.split() for line in lines)


@pytest.mark.alone
def test_a_changed_file_makes_anew_the_container_that_reads_it_and_only_that_one(host: Host, lab: Any) -> None:
    before = containers(host)
    try:
        changed(lab, "app_configure,app_service", secret_jira_api_token="another one")
        after = containers(host)
        assert after.keys() == before.keys()
        assert [name for name in before if after[name] != before[name]] == ["developer-agent-consumer-1"]
    finally:
        changed(lab, "app_configure,app_service")


@pytest.mark.alone
def test_step_service_makes_good_what_an_interrupted_run_has_written_only(host: Host, lab: Any) -> None:
    services = {
        "nginx": "/etc/nginx/nginx.conf",
        "prometheus-node-exporter": "/etc/systemd/system/prometheus-node-exporter.service",
        "ssh": "/etc/ssh/sshd_config.d/00-sdlc-agents.conf",
    }

    def read() -> dict[str, str]:
        show = "systemctl show --value --timestamp=us --property StateChangeTimestamp"
        return {name: host.check_output(f"{show} {name}") for name in services}

    tags = "nginx_service,exporters_service,base_service"
    before = read()
    host.check_output(f"touch {' '.join(services.values())}")
    assert changed(lab, tags) > 0
    after = read()
    assert [name for name in services if before[name] != after[name]] == list(services)
    assert changed(lab, tags) == 0
