"""What is logged on the host arrives at the log store, decoded."""

import base64
import datetime
import json
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from lab.services.https import call

Event = Mapping[str, Any]
Search = Callable[[str], list[Event]]
Eventually = Callable[..., Any]


@pytest.fixture
def marker() -> str:
    """A word that was never logged before."""
    return f"marker-{uuid.uuid4().hex}"


@pytest.fixture
def search(lab: Any, secrets: Mapping[str, str]) -> Search:
    """Finds the stored events in which a text stands; each carries its index as `_index`."""
    credentials = base64.b64encode(f"filebeat:{secrets['secret_filebeat_password']}".encode()).decode()

    def find(text: str) -> list[Event]:
        url = f"https://logs.lab:9200/_lab/search?contains={urllib.parse.quote(text)}"
        answer = call("GET", url, ca=lab.ca, address=lab.services, headers={"authorization": f"Basic {credentials}"})
        assert answer.status == 200
        return [{**hit["_source"], "_index": hit["_index"]} for hit in json.loads(answer.body)["hits"]]

    return find


def test_a_line_of_a_service_arrives_decoded_and_with_its_container(
    host: Any, search: Search, marker: str, eventually: Eventually
) -> None:
    host.check_output(
        "curl --silent --output /dev/null --request POST --header 'Content-Type: application/json' "
        f"--header 'X-Request-ID: {marker}' --data '{{}}' http://127.0.0.1:8080/webhook"
    )

    event = eventually(lambda: search(marker), timeout=60)[0]

    assert event["app"]["request_id"] == marker
    assert event["app"]["service"] == "jira-webhook-api"
    assert event["container"]["name"] == "jira-webhook-api"
    assert event["event"]["dataset"] == "sdlc.services"
    today = datetime.datetime.fromisoformat(event["@timestamp"]).astimezone(datetime.UTC)
    assert event["_index"] == f"sdlc-agent-{today:%Y.%m.%d}"


def test_a_line_of_syslog_arrives(host: Any, search: Search, marker: str, eventually: Eventually) -> None:
    host.check_output(f"logger --tag appliance-test {marker}")

    events = eventually(lambda: search(marker), timeout=60)

    assert [event["event"]["dataset"] for event in events] == ["system.syslog"]
    assert events[0]["message"].endswith(f"appliance-test: {marker}")


def test_a_log_in_arrives(host: Any, search: Search, marker: str, eventually: Eventually) -> None:
    host.check_output(f"logger --priority authpriv.info --tag sshd {marker}")

    events = eventually(lambda: search(marker), timeout=60)

    assert {event["event"]["dataset"] for event in events} >= {"system.auth"}


def test_a_request_at_the_edge_arrives_decoded(host: Any, search: Search, marker: str, eventually: Eventually) -> None:
    host.check_output(f"curl --silent --insecure --output /dev/null https://127.0.0.1/{marker}")

    found = eventually(
        lambda: [event for event in search(marker) if event["event"]["dataset"] == "nginx.access"], timeout=60
    )

    assert found[0]["app"]["path"] == f"/{marker}"


@pytest.mark.parametrize("dataset", ["mongodb.log", "rabbitmq.log"])
def test_the_database_and_the_broker_are_heard(search: Search, dataset: str, eventually: Eventually) -> None:
    found = eventually(lambda: [event for event in search(dataset) if event["event"]["dataset"] == dataset], timeout=60)

    assert all("app" in event for event in found)


def test_a_restart_loses_nothing_and_repeats_nothing(
    host: Any, search: Search, marker: str, eventually: Eventually
) -> None:
    host.check_output(f"logger --tag appliance-test {marker}-before")
    eventually(lambda: search(f"{marker}-before"), timeout=60)

    host.check_output("systemctl stop filebeat")
    host.check_output(f"logger --tag appliance-test {marker}-between")
    host.check_output("systemctl start filebeat")

    eventually(lambda: search(f"{marker}-between"), timeout=60)
    assert len(search(f"{marker}-before")) == 1
    assert len(search(f"{marker}-between")) == 1


def test_the_password_is_for_root_alone(host: Any, secrets: Mapping[str, str]) -> None:
    password = secrets["secret_filebeat_password"]
    assert host.run("runuser -u nobody -- cat /etc/filebeat/filebeat.yml").rc != 0
    assert password not in host.check_output("cat /proc/$(systemctl show --property MainPID --value filebeat)/cmdline")
    assert password not in host.check_output("systemctl show filebeat")
