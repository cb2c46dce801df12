"""What is logged on the host arrives at the log store, decoded."""

import base64
import datetime
import json
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from wiring import constants, port, text

from lab.services.https import call
from lab.services.jira import payload

EDGE = "webhook.appliance.lab"
LOG_IN = constants(PORT=port("mongodb_port"), CA=f"{text('pki_directory')}/ca.crt")
LOG_IN += """
import json
from pymongo import MongoClient
from pymongo.errors import OperationFailure

def refused(name):
    try:
        MongoClient(
            f"mongodb://localhost:{PORT}/?directConnection=true&authSource=admin&tls=true&tlsAllowInvalidHostnames=true",
            username=name, password="wrong", tlsCAFile=CA).admin.command("ping")
    except OperationFailure:
        return True
    return False

print(json.dumps({"refused": refused}[CALL](*ARGUMENTS)))
"""
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


def dataset(events: list[Event], name: str) -> list[Event]:
    """Those of one kind of log."""
    return [event for event in events if event["event"]["dataset"] == name]


@pytest.fixture
def ticket(lab: Any, secrets: Mapping[str, str], marker: str, eventually: Eventually) -> str:
    """The request id of a ticket that Jira has sent through the edge."""
    body = payload.encode(payload.moved(payload.issue(payload.Ticket("LOGS-1", marker))))
    headers = payload.headers(body, secrets["secret_jira_webhook_secret"])

    def send() -> str:
        answer = call(
            "POST",
            f"https://{EDGE}:{port('nginx_https_port')}/webhook",
            ca=lab.appliance_ca,
            address=lab.address,
            headers=headers,
            body=body,
        )
        return answer.headers["x-request-id"] if answer.status == 200 else ""

    return str(eventually(send))


def test_a_line_of_a_service_arrives_decoded_and_with_its_container(
    search: Search, ticket: str, eventually: Eventually
) -> None:
    event = eventually(lambda: dataset(search(ticket), "sdlc.services"), timeout=60)[0]

    assert event["app"]["event"] == "delivery_accepted"
    assert event["app"]["request_id"] == ticket
    assert event["app"]["service"] == "jira-webhook-api"
    assert event["container"]["name"] == "jira-webhook-api"
    today = datetime.datetime.fromisoformat(event["@timestamp"]).astimezone(datetime.UTC)
    assert event["_index"] == f"sdlc-agent-{today:%Y.%m.%d}"


def test_a_request_at_the_edge_arrives_decoded(search: Search, ticket: str, eventually: Eventually) -> None:
    event = eventually(lambda: dataset(search(ticket), "nginx.access"), timeout=60)[0]

    assert event["app"]["request_id"] == ticket
    assert event["app"]["path"] == "/webhook"


def test_a_line_of_syslog_arrives(host: Any, search: Search, marker: str, eventually: Eventually) -> None:
    host.check_output(f"logger --tag appliance-test {marker}")

    events = eventually(lambda: search(marker), timeout=60)

    assert [event["event"]["dataset"] for event in events] == ["system.syslog"]
    assert events[0]["message"].endswith(f"appliance-test: {marker}")


def test_a_log_in_arrives(host: Any, search: Search, marker: str, eventually: Eventually) -> None:
    host.check_output(f"logger --priority authpriv.info --tag sshd {marker}")

    events = eventually(lambda: search(marker), timeout=60)

    assert {event["event"]["dataset"] for event in events} >= {"system.auth"}


def test_the_database_is_heard(
    client_on_host: Callable[..., Callable[..., Any]], search: Search, marker: str, eventually: Eventually
) -> None:
    assert client_on_host(LOG_IN)("refused", marker)

    events = eventually(lambda: search(marker), timeout=60)

    assert {event["event"]["dataset"] for event in events} == {"mongodb.log"}
    assert all("app" in event for event in events)


def test_the_broker_is_heard(broker: Any, search: Search, marker: str, eventually: Eventually) -> None:
    broker.check_output(f"rabbitmqctl --quiet eval 'logger:notice(\"{marker}\").'")

    events = eventually(lambda: dataset(search(marker), "rabbitmq.log"), timeout=60)

    assert all("app" in event for event in events)


@pytest.mark.alone
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
