"""Both APIs against their OpenAPI documents: whatever a client sends, the answer is one that they name, and no 5xx.

schemathesis makes the requests, from what the documents allow and from what they do not.
"""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from sdlc_agents.configuration import openapi as configuration
from sdlc_agents.webhooks import openapi as webhooks
from sdlc_agents.webhooks.signature import sign
from support.backends import Backends
from support.configuration_process import ConfigurationProcess, configuration_process
from support.webhook_process import WebhookProcess
from support.webhook_service import SECRET

Case = schemathesis.Case[Any]
CONFIG = {"generation": {"max-examples": 40, "deterministic": True}}
# Rules that JSON Schema has no words for: a repository's id stands once in a project and is the one in the path, a
# key's expiry is in the future. What breaks them is valid by the document, and refused.
RULES_BEYOND_SCHEMAS = [
    {"include-name": name, "checks": {"positive_data_acceptance": {"enabled": False}}}
    for name in (
        "POST /api/projects",
        "PUT /api/projects/{project_id}",
        "PUT /api/repositories/{repository_id}",
        "POST /api/api-keys",
    )
]
ADMIN_KEY = secrets.token_urlsafe(32)


class Signed(requests.auth.AuthBase):
    """Makes a signature true that has the form of one; a missing or malformed one stays what it is."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request."""
        given = str(request.headers.get("X-Hub-Signature", ""))
        if re.fullmatch("sha256=[0-9a-fA-F]{64}", given):
            body = request.body or b""
            assert isinstance(body, str | bytes)
            request.headers["X-Hub-Signature"] = sign(body.encode() if isinstance(body, str) else body, SECRET)
        return request


@pytest.fixture(scope="module")
def configuration_api(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfigurationProcess]:
    """A configuration API on a database of its own."""
    log = tmp_path_factory.mktemp("configuration") / "log"
    with configuration_process(backends, log, ADMIN_KEY) as running:
        yield running


WEBHOOK = schemathesis.openapi.from_dict(webhooks.document(), config=schemathesis.Config.from_dict(CONFIG))
CONFIGURATION = schemathesis.openapi.from_dict(
    configuration.document(),
    config=schemathesis.Config.from_dict(
        {**CONFIG, "headers": {"X-API-Key": ADMIN_KEY}, "operations": RULES_BEYOND_SCHEMAS}
    ),
)


@pytest.mark.timeout(300)
@CONFIGURATION.parametrize()
def test_the_configuration_api_answers_as_documented(case: Case, configuration_api: ConfigurationProcess) -> None:
    case.call_and_validate(base_url=configuration_api.url)


@pytest.mark.timeout(300)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # one service takes all requests, as in production
@WEBHOOK.parametrize()
def test_the_webhook_api_answers_as_documented(case: Case, webhook: WebhookProcess) -> None:
    case.call_and_validate(base_url=str(webhook.http.base_url), auth=Signed())
