"""The whole way: a signed ticket becomes a pull request, and one that cannot says why."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from lab import journey
from lab.journey import Appliance
from lab.services.https import Answer
from lab.services.jira import payload
from lab.services.jira.send_webhook import send_webhook

PROJECT = "SHOP"


@pytest.fixture(scope="module", autouse=True)
def project(appliance: Appliance) -> None:
    """The project of these tickets is registered."""
    appliance.register(PROJECT)


@pytest.fixture
def key() -> str:
    """A ticket that nobody had before: the lab's Gitea and the host may be kept."""
    return f"{PROJECT}-{uuid.uuid4().hex[:8].upper()}"


def ticket(key: str) -> payload.Ticket:
    """A ticket that the scripted Claude knows how to work on."""
    return payload.Ticket(key, "Add a discount to the cart", "Customers with a voucher get ten percent off.")


def pull_requests(key: str) -> list[Any]:
    """The pull requests of a ticket's branch in the lab's Gitea, whatever their state."""
    listed = journey.gitea("/api/v1/repos/demo/shop/pulls?state=all&limit=50").json()
    assert isinstance(listed, list)
    return [entry for entry in listed if entry["head"]["label"] == f"feature/{key}"]


def test_a_signed_ticket_becomes_a_pull_request(appliance: Appliance, key: str) -> None:
    answer = appliance.send(ticket(key))
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "accepted")

    development = appliance.wait(key)

    assert development["status"] == "completed", development["error_message"]
    assert development["branch_name"] == f"feature/{key}"
    assert development["turns"] > 0
    assert development["cost_usd"] > 0
    (pull_request,) = pull_requests(key)
    assert pull_request["title"] == f"[{key}] Add a discount to the cart"
    assert pull_request["html_url"] == development["pr_mr_url"]
    assert pull_request["base"]["label"] == "main"
    assert "discount" in journey.pull_request_diff(development["pr_mr_url"])
    # How fast it has to be is `make bench-deploy`'s to say, on a machine that does nothing else.
    steps = ("accepted_at", "claimed_at", "agent_started_at", "agent_finished_at", "published_at")
    times = [datetime.fromisoformat(development["timings"][step]) for step in steps]
    assert times == sorted(times)


def test_the_same_delivery_twice_is_one_pull_request(
    appliance: Appliance, secrets: Mapping[str, str], key: str
) -> None:
    document = payload.moved(payload.issue(ticket(key)))
    delivery = str(uuid.uuid4())

    def send() -> Answer:
        return send_webhook(
            appliance.webhook_url,
            document,
            secrets["secret_jira_webhook_secret"],
            ca=appliance.inventory / "ca.crt",
            address=appliance.host.address,
            delivery=delivery,
        )

    assert json.loads(send().body)["status"] == "accepted"
    assert json.loads(send().body)["status"] == "duplicate"
    assert appliance.wait(key)["status"] == "completed"
    assert json.loads(send().body)["status"] == "duplicate"
    assert len(pull_requests(key)) == 1


def test_a_ticket_of_an_unknown_project_fails_saying_so(appliance: Appliance) -> None:
    key = f"NOBODY{uuid.uuid4().hex[:6].upper()}-1"
    assert appliance.send(ticket(key)).status == 200
    development = appliance.wait(key)
    assert development["status"] == "failed"
    assert "no project is registered" in development["error_message"]
    assert key.partition("-")[0] in development["error_message"]
    assert development["timings"]["accepted_at"]


def test_a_wrong_signature_stores_nothing(appliance: Appliance) -> None:
    key = f"FORGED{uuid.uuid4().hex[:6].upper()}-1"
    assert appliance.send(ticket(key), secret="not the secret").status == 401
    stored = appliance.call("GET", f"/api/webhook-events?jira_project_key={key.partition('-')[0]}")
    assert (stored.status, stored.body["items"]) == (200, [])
    assert appliance.development(key) is None


def test_the_configuration_api_wants_a_key(appliance: Appliance) -> None:
    assert appliance.call("GET", "/api/projects", key="").status == 401
    assert appliance.call("GET", "/api/projects", key="not a key of this appliance").status == 403


def test_no_api_returns_a_git_token(appliance: Appliance, lab: Any) -> None:
    token = lab.service_secret("gitea_bot_token")
    shown = json.dumps(appliance.call("GET", f"/api/projects?jira_project_key={PROJECT}").body)
    assert "git_access_token" in shown
    assert token not in shown
