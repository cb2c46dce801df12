"""The numbers of the deployment guide are what an inventory gets that says nothing else (docs/deployment-guide.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
GIB = 1024

# What the guide recommends for a deployment: CPU cores, GB of memory, GB of disk.
TIERS = {"small": (4, 8, 100), "medium": (8, 16, 250), "large": (16, 32, 500)}
# Its limits for each service: CPUs and MiB of memory.
LIMITS = {
    "mongodb": (2, 4 * GIB),
    "rabbitmq": (1, 2 * GIB),
    "configuration_api": (0.5, 512),
    "jira_webhook_api": (0.5, 512),
    "developer_agent_consumer": (2, 2 * GIB),
}
# Its requests for what stands on the hosts of a group. Both APIs together are group app.
REQUESTS = {"mongodb": (1, 2 * GIB), "rabbitmq": (0.5, 1 * GIB), "app": (0.5, 512)}
# role, option, value
DEFAULTS = [
    ("nginx", "nginx_tls_protocols", ["TLSv1.2", "TLSv1.3"]),
    ("nginx", "nginx_webhook_rate", "10r/s"),
    ("nginx", "nginx_webhook_burst", 20),
    ("prometheus", "prometheus_scrape_interval", "15s"),
    ("filebeat", "filebeat_index", "sdlc-agent-%{+yyyy.MM.dd}"),
    ("backup", "backup_schedule", "0 2 * * *"),
    ("docker", "docker_log_max_size", "10m"),
    ("docker", "docker_log_max_files", 3),
    ("app", "app_log_level", "info"),
    ("app", "app_log_format", "json"),
    ("app", "app_enable_metrics", True),
    ("mongodb", "mongodb_admin_name", "sdlc_admin"),
]
# alert: expression, for, severity
ALERTS = {
    "HighErrorRate": ('rate(http_requests_total{status=~"5.."}[5m]) > 0.05', "5m", "warning"),
    "QueueBacklog": ('rabbitmq_queue_messages{queue="develop"} > 100', "10m", "warning"),
    "ServiceDown": ("up == 0", "2m", "critical"),
}


def wiring() -> dict[str, Any]:
    """The variables of group_vars/all."""
    files = ROOT.glob("group_vars/all/*.yml")
    return {key: value for path in files for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("role", "variable", "guide"),
    [("docker", "__docker_oldest", "20.10"), ("rabbitmq", "__rabbitmq_minimum_version", "3.12")],
)
def test_the_oldest_version_that_is_taken_is_not_below_the_guides(role: str, variable: str, guide: str) -> None:
    internal = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text(encoding="utf-8"))
    assert numbers(internal[variable]) >= numbers(guide)
    assert numbers(wiring()["versions_mongodb"].removesuffix(".*")) >= numbers("7.0")


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_asks_for_the_guides_cpus_and_memory_and_half_of_its_disk(tier: str) -> None:
    cpus, memory_gb, disk_gb = TIERS[tier]
    size = wiring()["appliance_sizes"][tier]
    assert size["minimum_cpus"] == cpus
    # A machine that is sold with 8 GB shows about 7,800 MiB.
    assert 0.92 * memory_gb * GIB <= size["minimum_memory_mb"] <= memory_gb * GIB
    assert size["minimum_disk_gb"] == disk_gb / 2


@pytest.mark.parametrize("service", LIMITS)
def test_the_small_tier_has_the_guides_limits_and_no_tier_less(service: str) -> None:
    sizes = wiring()["appliance_sizes"]
    limits = {tier: (sizes[tier][f"{service}_cpus"], sizes[tier][f"{service}_memory_mb"]) for tier in TIERS}
    assert limits["small"] == LIMITS[service]
    assert all(limit >= least for own in limits.values() for limit, least in zip(own, LIMITS[service], strict=True))


@pytest.mark.parametrize("group", REQUESTS)
def test_a_host_must_have_what_the_guide_requests_for_its_groups(group: str) -> None:
    needs = wiring()["preflight_group_needs"][group]
    assert (needs["cpus"], needs["memory_mb"]) == REQUESTS[group]


@pytest.mark.parametrize(("role", "option", "value"), DEFAULTS, ids=[option for _, option, _ in DEFAULTS])
def test_an_option_has_the_guides_value_by_default(role: str, option: str, value: object) -> None:
    assert defaults(role)[option] == value
    # A value of the wiring would win over the role's default.
    assert option not in wiring()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_the_guides_by_default(alert: str) -> None:
    template = (ROOT / "roles/prometheus/templates/appliance.rules.yml.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701 - it is YAML
    rendered = environment.from_string(template).render(ansible_managed="", **defaults("prometheus"))
    groups = {group["name"]: group["rules"] for group in yaml.safe_load(rendered)["groups"]}
    rules = {rule["alert"]: rule for rule in groups["sdlc_agent_alerts"]}
    assert set(rules) == set(ALERTS)
    rule = rules[alert]
    assert (rule["expr"], rule["for"], rule["labels"]["severity"]) == ALERTS[alert]
    assert not [name for name in wiring() if name.startswith("prometheus_") and name.endswith("_for")]
