"""What Prometheus sees, and who may see it through the hosts' scrape port."""

import concurrent.futures
import json
import shlex
import socket
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from wiring import port, text

PROMETHEUS = f"http://127.0.0.1:{port('prometheus_port')}/api/v1"
PKI = text("pki_directory")
SCRAPED = port("exporters_port")
QUEUE, ERROR_QUEUE = text("broker_queue"), text("broker_error_queue")
Target = tuple[str, str]
Eventually = Callable[..., Any]


def ask(host: Any, path: str) -> Any:
    """The data of one address of Prometheus' API."""
    answer = json.loads(host.check_output(f"curl --silent --show-error {shlex.quote(PROMETHEUS + path)}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def query(host: Any, expression: str) -> list[tuple[dict[str, str], float]]:
    """What an expression gives now: labels and value of each series."""
    result = ask(host, f"/query?query={urllib.parse.quote(expression)}")["result"]
    return [(series["metric"], float(series["value"][1])) for series in result]


@pytest.fixture(scope="module")
def expected(lab: Any) -> set[Target]:
    """Every job and instance that there must be, from the inventory's groups and the size `small`."""
    inventory = json.loads((lab.inventory / "hosts.yml").read_text().removeprefix("---"))["all"]
    groups = {group: sorted(members["hosts"]) for group, members in inventory["children"].items()}
    found: set[Target] = {("node", name) for name in inventory["hosts"]}
    one_each = {
        "nginx": "edge",
        "rabbitmq": "rabbitmq",
        "mongodb-exporter": "mongodb",
        "jira-webhook-api": "app",
        "configuration-api": "app",
        "llm-gateway": "agents",
        "prometheus": "monitoring",
        "alertmanager": "monitoring",
    }
    found |= {(job, name) for job, group in one_each.items() for name in groups[group]}
    found |= {("developer-agent-consumer", f"{name}/1") for name in groups["agents"]}
    found |= {("agent-runner", f"{name}/{replica}") for name in groups["agents"] for replica in (1, 2)}
    return found


def test_every_target_of_the_inventory_is_up_and_there_is_no_other(
    host: Any, expected: set[Target], eventually: Eventually
) -> None:
    def targets() -> dict[Target, str]:
        active = ask(host, "/targets?state=active")["activeTargets"]
        return {(t["labels"]["job"], t["labels"]["instance"]): t["health"] for t in active}

    eventually(lambda: set(targets().values()) == {"up"}, timeout=60)
    assert set(targets()) == expected


def test_the_scrape_port_refuses_a_client_without_a_certificate(host: Any, lab: Any) -> None:
    refused = host.run(f"curl --silent --show-error --cacert {PKI}/ca.crt https://{lab.name}:{SCRAPED}/")
    assert refused.rc != 0
    # What Go before 1.20, and so Debian 12's exporter, calls a missing certificate.
    assert "certificate required" in refused.stderr or "bad certificate" in refused.stderr


@pytest.mark.parametrize("name", ["exporters", "nginx", "configuration-api"])
def test_the_scrape_port_refuses_the_certificate_of_a_server(host: Any, lab: Any, name: str) -> None:
    refused = host.run(
        f"curl --silent --show-error --cacert {PKI}/ca.crt --cert {PKI}/{name}/tls.pem https://{lab.name}:{SCRAPED}/"
    )
    assert refused.rc != 0
    assert "certificate" in refused.stderr


def test_the_scrape_port_answers_prometheus_and_verifies_as_this_host(host: Any, lab: Any) -> None:
    listed = host.check_output(
        f"curl --silent --show-error --fail --cacert {PKI}/ca.crt --cert {PKI}/prometheus/tls.pem https://{lab.name}:{SCRAPED}/"
    )
    assert "module=node" in listed


def test_the_scrape_port_speaks_no_plain_http(host: Any, lab: Any) -> None:
    answer = host.check_output(f"curl --silent http://{lab.name}:{SCRAPED}/proxy?module=node")
    assert "go_info" not in answer
    assert "HTTPS server" in answer


def test_nothing_but_the_proxy_listens_beyond_loopback(lab: Any) -> None:
    def reached(number: int) -> bool:
        try:
            socket.create_connection((lab.address, number), timeout=3).close()
        except OSError:
            return False
        return True

    own = ("prometheus", "prometheus_alertmanager", "exporters_node", "exporters_nginx", "rabbitmq_prometheus")
    # 9094 is that of Alertmanager's gossip.
    ports = (9094, *(port(f"{name}_port") for name in own))
    with concurrent.futures.ThreadPoolExecutor(len(ports)) as pool:
        assert not any(pool.map(reached, ports))


def test_the_database_is_seen_with_the_rights_that_the_exporter_has(host: Any, eventually: Eventually) -> None:
    eventually(lambda: [value for _, value in query(host, "mongodb_up")] == [1.0], timeout=60)
    assert [value for _, value in query(host, "mongodb_rs_members_health")] == [1.0]
    for name in (
        "mongodb_ss_opcounters",
        "mongodb_dbstats_dataSize",
        "mongodb_top_total_count",
        "mongodb_oplog_stats_maxSize",
    ):
        assert query(host, name), name
    # One on a busy machine may come; a right that is missing makes one of every scrape.
    lately = "increase(sdlc_mongodb_exporter_failures_total[1m]) > 0"
    eventually(lambda: query(host, lately) == [], timeout=120)


def test_the_brokers_queues_are_seen_by_name(host: Any, eventually: Eventually) -> None:
    eventually(lambda: query(host, f'rabbitmq_queue_messages{{queue="{QUEUE}"}}'), timeout=60)
    assert query(host, f'rabbitmq_queue_messages{{queue="{ERROR_QUEUE}"}}')


def test_nginx_is_seen(host: Any, eventually: Eventually) -> None:
    eventually(lambda: [value for _, value in query(host, "nginx_up")] == [1.0], timeout=60)


def test_requests_of_the_services_are_counted_by_route(host: Any, eventually: Eventually) -> None:
    refused = 'http_requests_total{job="jira-webhook-api",method="POST",endpoint="/webhook",status="401"}'
    before = sum(value for _, value in query(host, refused))
    webhooks = f"http://127.0.0.1:{port('app_jira_webhook_api_port')}/webhook"
    host.check_output(f"curl --silent --request POST --data '{{}}' {webhooks}")
    eventually(lambda: [value > before for _, value in query(host, refused)] == [True], timeout=60)


def test_certificates_report_when_they_run_out(host: Any) -> None:
    left = {labels["name"]: value for labels, value in query(host, "sdlc_certificate_not_after_seconds")}
    assert {"exporters", "prometheus"} <= set(left)
    assert min(left.values()) > time.time() + 14 * 86400


@pytest.fixture
def left_behind(host: Any) -> Iterator[str]:
    """The name of a metric that a program on the host has left for the node exporter."""
    name = f"test_{uuid.uuid4().hex}"
    file = f"{text('exporters_textfile_directory')}/{name}.prom"
    host.check_output(f"echo '{name} 7' > {file}")
    yield name
    host.check_output(f"rm {file}")


def test_what_a_program_leaves_behind_is_scraped(host: Any, left_behind: str, eventually: Eventually) -> None:
    eventually(lambda: [value for _, value in query(host, left_behind)] == [7.0], timeout=60)


def test_samples_are_kept_as_long_as_the_size_of_the_appliance_says(host: Any) -> None:
    assert ask(host, "/status/runtimeinfo")["storageRetention"] == "15d or 8GiB"
