"""Alerts: each rule's arithmetic, and the whole way of one from a stopped service to those who are told."""

import base64
import json
import shlex
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from wiring import port, text

from lab.services.https import call

RULES = "/etc/prometheus/appliance.rules.yml"
Eventually = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A course of things, as promtool writes it, and whether an alert fires at a moment of it."""

    alert: str
    series: dict[str, str]
    at: str
    fires: int
    interval: str = "1m"
    labels: dict[str, str] = field(default_factory=dict)


REQUESTS = 'http_requests_total{job="configuration-api",endpoint="/api/projects",method="GET",status="%s"}'
DEVELOP = f'rabbitmq_queue_messages{{queue="{text("broker_queue")}",vhost="{text("rabbitmq_vhost")}"}}'
SUCCESS = 'sdlc_backup_last_success_timestamp_seconds{instance="a"}'
FREE = {
    'node_filesystem_size_bytes{fstype="ext4",mountpoint="/"}': "1000x30",
    'node_filesystem_avail_bytes{fstype="ext4",mountpoint="/"}': "90x30",
}
CASES = [
    # The guide's three, with its thresholds: 0.05 errors a second, 100 messages, any target.
    Case("HighErrorRate", {REQUESTS % 500: "0+6x30"}, "4m", 0),
    Case("HighErrorRate", {REQUESTS % 500: "0+6x30"}, "15m", 1),
    # Nothing before, then 0.1 a second from minute 10 on: more than 0.05 on average of five minutes from minute 12 on.
    Case("HighErrorRate", {REQUESTS % 500: "0x9 0+6x40"}, "17m", 0),
    Case("HighErrorRate", {REQUESTS % 500: "0x9 0+6x40"}, "19m", 1),
    Case("HighErrorRate", {REQUESTS % 500: "0+2x30"}, "25m", 0),
    Case("HighErrorRate", {REQUESTS % 404: "0+60x30"}, "25m", 0),
    Case("QueueBacklog", {DEVELOP: "101x30"}, "9m", 0),
    Case("QueueBacklog", {DEVELOP: "101x30"}, "10m", 1),
    Case("QueueBacklog", {DEVELOP: "101x30"}, "11m", 1),
    Case("QueueBacklog", {DEVELOP: "100x30"}, "25m", 0),
    Case("QueueBacklog", {DEVELOP.replace(text("broker_queue"), "other"): "500x30"}, "25m", 0),
    Case("ServiceDown", {'up{job="nginx",instance="a"}': "1x5 0x25"}, "5m", 0),
    Case("ServiceDown", {'up{job="nginx",instance="a"}': "1x5 0x25"}, "10m", 1),
    # Exporters that live on while what they watch does not.
    Case("DatabaseDown", {'mongodb_up{instance="a"}': "0x30"}, "10m", 1),
    Case("DatabaseDown", {'mongodb_up{instance="a"}': "1x30"}, "10m", 0),
    Case("EdgeDown", {'nginx_up{instance="a"}': "0x30"}, "10m", 1),
    Case("EdgeDown", {'nginx_up{instance="a"}': "1x30"}, "10m", 0),
    Case("BackupFailed", {'sdlc_backup_last_exit_status{instance="a"}': "1x30"}, "1m", 1),
    Case("BackupFailed", {'sdlc_backup_last_exit_status{instance="a"}': "0x30"}, "1m", 0),
    Case("BackupTooOld", {SUCCESS: "0x50"}, "25h", 0, "1h"),
    Case("BackupTooOld", {SUCCESS: "0x50"}, "27h", 1, "1h"),
    Case("BackupMissing", {SUCCESS: "_x50"}, "25h", 0, "1h"),
    Case("BackupMissing", {SUCCESS: "_x50"}, "27h", 1, "1h"),
    Case("BackupMissing", {SUCCESS: "0x50"}, "27h", 0, "1h"),
    Case("CertificateExpiresSoon", {'sdlc_certificate_not_after_seconds{name="nginx"}': "1200000x200"}, "3h", 1),
    Case("CertificateExpiresSoon", {'sdlc_certificate_not_after_seconds{name="nginx"}': "9000000x200"}, "3h", 0),
    Case("DiskAlmostFull", FREE, "15m", 1),
    Case("DiskAlmostFull", {**FREE, list(FREE)[1]: "110x30"}, "15m", 0),
    Case("NotificationsFail", {'alertmanager_notifications_failed_total{integration="email"}': "0+1x40"}, "25m", 1),
]


# The same with the role's own values, to the minute: the lab waits for less than the guide's two minutes.
GUIDE_CASES = [
    *(case for case in CASES if case.alert in {"HighErrorRate", "QueueBacklog"}),
    Case("ServiceDown", {'up{job="nginx",instance="a"}': "1x5 0x25"}, "7m", 0),
    Case("ServiceDown", {'up{job="nginx",instance="a"}': "1x5 0x25"}, "8m", 1),
]
# As the deployment guide has them: what is asked, and for how long it has to hold.
GUIDE = {
    "HighErrorRate": ('rate(http_requests_total{status=~"5.."}[5m]) > 0.05', "5m"),
    "QueueBacklog": ('rabbitmq_queue_messages{queue="develop"} > 100', "10m"),
    "ServiceDown": ("up == 0", "2m"),
}


def promtool(host: Any, rules: str, cases: list[Case]) -> None:
    """Let promtool play the cases through with these rules."""
    suite = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "name": f"{number}: {case.alert} at {case.at}",
                "interval": case.interval,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})',
                        "eval_time": case.at,
                        "exp_samples": [{"labels": "{}", "value": case.fires}] if case.fires else [],
                    }
                ],
            }
            for number, case in enumerate(cases)
        ],
    }
    files = {"rules.yml": rules, "suite.yml": json.dumps(suite)}
    write = "; ".join(
        f"echo {base64.b64encode(content.encode()).decode()} | base64 -d > {name}" for name, content in files.items()
    )
    result = host.run(f"d=$(mktemp -d) && cd $d && {write}; promtool test rules suite.yml; s=$?; rm -r $d; exit $s")
    assert result.rc == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def own_rules() -> str:
    """The rules that the role writes when nothing sets its variables."""
    folder = Path(__file__).resolve().parents[3] / "roles" / "prometheus"
    template = (folder / "templates" / "appliance.rules.yml.j2").read_text()
    values = yaml.safe_load((folder / "defaults" / "main.yml").read_text())
    return str(jinja2.Environment(autoescape=True).from_string(template).render(values))


def test_each_rule_fires_when_it_should_and_only_then(host: Any) -> None:
    promtool(host, host.file(RULES).content_string, CASES)


def test_the_guides_alerts_fire_to_the_minute(host: Any, own_rules: str) -> None:
    promtool(host, own_rules, GUIDE_CASES)


def test_the_guides_alerts_have_its_thresholds_and_times(own_rules: str) -> None:
    rules = [rule for group in yaml.safe_load(own_rules)["groups"] for rule in group["rules"]]
    assert {rule["alert"]: (rule["expr"], rule["for"]) for rule in rules if rule["alert"] in GUIDE} == GUIDE


def test_every_alert_says_what_to_look_at_first(host: Any) -> None:
    shown = host.check_output(f"curl --silent http://127.0.0.1:{port('prometheus_port')}/api/v1/rules")
    groups = json.loads(shown)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {case.alert for case in CASES} == {rule["name"] for rule in rules}
    assert not [rule["name"] for rule in rules if rule["health"] == "err"]
    for rule in rules:
        assert {"summary", "description", "runbook"} <= set(rule["annotations"]), rule["name"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


@pytest.fixture
def stopped(host: Any, eventually: Eventually) -> Iterator[Callable[[], None]]:
    """Stop the configuration API; the returned function starts it again, and so does the end of the test."""
    name = "configuration-api"

    def start() -> None:
        host.check_output(f"docker start {name}")
        state = f"docker inspect --format '{{{{.State.Health.Status}}}}' {name}"
        eventually(lambda: host.check_output(state) == "healthy", timeout=90)

    host.check_output(f"docker stop {name}")
    yield start
    start()


@pytest.mark.alone
def test_a_stopped_service_is_reported_by_every_channel_and_so_is_its_return(
    host: Any, lab: Any, stopped: Callable[[], None], eventually: Eventually
) -> None:
    ca = lab.ca

    def told(kind: str) -> Any:
        answer = call("GET", f"https://alerts.lab/_lab/{kind}", ca=ca, address=lab.services)
        return answer.json()[kind.partition("?")[0]]

    def down(status: str) -> list[dict[str, Any]]:
        labels = {"job": "configuration-api", "severity": "critical"}
        return [
            alert
            for alert in told(f"alerts?alertname=ServiceDown&status={status}")
            if labels.items() <= alert["labels"].items()
        ]

    def mails(status: str) -> list[Any]:
        return [
            mail
            for mail in told("mails")
            if f"[{status}" in mail["subject"]
            and "ServiceDown" in mail["subject"]
            and "configuration-api" in mail["subject"] + mail["body"]
        ]

    # What an earlier host was told of would do as well.
    assert call("DELETE", "https://alerts.lab/_lab/alerts", ca=ca, address=lab.services).status == 204

    def alertmanager() -> list[Any]:
        where = (
            urllib.parse.quote('alertname="ServiceDown"') + "&filter=" + urllib.parse.quote('job="configuration-api"')
        )
        url = shlex.quote(
            f"http://127.0.0.1:{port('prometheus_alertmanager_port')}/api/v2/alerts?active=true&filter={where}"
        )
        return list(json.loads(host.check_output(f"curl --silent {url}")))

    eventually(alertmanager, timeout=120)
    new = eventually(lambda: down("firing"), timeout=60)[0]
    assert new["annotations"]["summary"] == "Service configuration-api is down"
    assert "docker ps" in new["annotations"]["runbook"]
    eventually(lambda: mails("FIRING"), timeout=60)
    assert not mails("RESOLVED")

    stopped()

    eventually(lambda: new["startsAt"] in {alert["startsAt"] for alert in down("resolved")}, timeout=120)
    eventually(lambda: mails("RESOLVED"), timeout=60)
    eventually(lambda: not alertmanager(), timeout=60)
