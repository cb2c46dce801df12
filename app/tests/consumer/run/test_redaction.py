"""What others read holds no secret that is known, and nothing that looks like one."""

import secrets
import string
import time

import pytest
from pydantic import SecretStr

from sdlc_agents.consumer.run.redaction import Redactor, known_secrets
from sdlc_agents.consumer.settings import ConsumerSettings
from support.backends import MakeSettings


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


def private_key(kind: str) -> str:
    lines = "\n".join(letters(64) for _ in range(4))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


SECRETS = {
    "Claude": f"sk-ant-api03-{letters(60)}",
    "GitHub": f"ghp_{letters(36)}",
    "GitHub App": f"ghs_{letters(36)}",
    "GitHub, fine-grained": f"github_pat_{letters(22)}_{letters(59)}",
    "GitLab": f"glpat-{letters(20)}",
    "AWS": f"AKIA{letters(16, string.ascii_uppercase)}",
    "Atlassian": f"ATATT3x{letters(60)}=1A2B3C4D",
    "Slack": f"xoxb-{letters(12)}-{letters(24)}",
    "the gateway": f"sdlc-job-{letters(43)}",
    "JWT": f"eyJ{letters(20)}.eyJ{letters(40)}.{letters(43)}",
    "private key": private_key(""),
    "RSA": private_key("RSA "),
    "OpenSSH": private_key("OPENSSH "),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_what_looks_like_a_secret_is_hidden(kind: str) -> None:
    text = Redactor(())(f"export TOKEN='{SECRETS[kind]}' # it is\nnext line")
    assert text == "export TOKEN='[hidden]' # it is\nnext line"


def test_a_private_key_that_was_cut_off_is_hidden_to_the_end() -> None:
    assert Redactor(())("see:\n" + private_key("EC ")[:150]) == "see:\n[hidden]"


def test_a_password_in_an_address_is_hidden_and_the_address_is_not() -> None:
    text = Redactor(())(f"git clone https://bot:{letters(20)}@git.example/shop.git and https://git.example:8443/a@b")
    assert text == "git clone https://[hidden]@git.example/shop.git and https://git.example:8443/a@b"


@pytest.mark.parametrize(
    "text",
    [
        "task-antenna sk-antique ghp_short glpat-short AKIA ATATT eyJ.eyJ.x",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "https://git.example/a:b and mailto:someone@example.com at 12:30",
        "0123456789abcdef0123456789abcdef01234567",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor(())(text) == text


def test_the_services_own_secrets_are_known(make_settings: MakeSettings) -> None:
    settings = make_settings(
        ConsumerSettings,
        agent_runner_urls=("http://runner:1",),
        llm_gateway_url="http://gateway:1",
        jira_api_token=SecretStr("the-jira-token"),
        rabbitmq_url=SecretStr("amqps://consumer:pass%2Fword@broker:5671/sdlc"),
    )
    redact = Redactor(known_secrets(settings))
    assert redact("curl -H 'the-jira-token' pass%2Fword pass/word") == "curl -H '[hidden]' [hidden] [hidden]"
    assert redact(settings.field_encryption_key.get_secret_value()) == "[hidden]"


@pytest.mark.parametrize(
    "piece", ["://", "://a:", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "eyJaaaaaaaaa.", "word "]
)
def test_it_is_cheap_also_for_what_is_made_to_be_dear(piece: str) -> None:
    text = piece * (1024 * 1024 // len(piece))
    began = time.process_time()
    Redactor(["a-secret", "another-secret"])(text)
    assert time.process_time() - began < 2
