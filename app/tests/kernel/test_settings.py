"""Settings from the environment and from files, and the one line that says what is wrong."""

import base64
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr

from sdlc_agents.kernel.settings import (
    AmqpSettings,
    CommaList,
    EncryptionSettings,
    MongoSettings,
    ServiceSettings,
    load_settings,
    public_values,
)


class Example(MongoSettings, AmqpSettings, EncryptionSettings):
    agent_runner_urls: CommaList = ()
    claude_code_session_token: SecretStr | None = None
    anthropic_api_key: SecretStr | None = None

    exactly_one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("claude_code_session_token", "anthropic_api_key"),)


KEY = base64.b64encode(bytes(96)).decode()
GOOD = {
    "MONGO_URL": "mongodb://user:pa55@db/",
    "RABBITMQ_URL": "amqps://user:pa55@mq/sdlc",
    "FIELD_ENCRYPTION_KEY": KEY,
    "ANTHROPIC_API_KEY": "sk-1",
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Example.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
        monkeypatch.delenv(f"{field.upper()}_FILE", raising=False)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal(capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        load_settings(Example)
    assert ended.value.code == 78
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_values_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AGENT_RUNNER_URLS", "http://a, http://b,")
    environment.setenv("ENABLE_METRICS", "false")
    settings = load_settings(Example)
    assert settings.mongo_url.get_secret_value() == "mongodb://user:pa55@db/"
    assert settings.agent_runner_urls == ("http://a", "http://b")
    assert settings.enable_metrics is False
    assert (settings.mongo_database, settings.metrics_port) == ("sdlc_agent", 9090)


def test_a_value_may_come_from_a_file_without_its_newline(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "mongo_url"
    file.write_text("mongodb://from-file/\n")
    environment.delenv("MONGO_URL")
    environment.setenv("MONGO_URL_FILE", str(file))
    assert load_settings(Example).mongo_url.get_secret_value() == "mongodb://from-file/"


def test_everything_missing_is_named_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    line = refusal(capfd)
    for name in ("MONGO_URL", "RABBITMQ_URL", "FIELD_ENCRYPTION_KEY", "CLAUDE_CODE_SESSION_TOKEN or ANTHROPIC_API_KEY"):
        assert name in line
    assert "MONGO_DATABASE" not in line


def test_missing_and_wrong_are_named_together_without_values(
    environment: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("RABBITMQ_URL")
    environment.setenv("MONGO_URL", "")
    environment.setenv("METRICS_PORT", "s3cret")
    environment.setenv("FIELD_ENCRYPTION_KEY", "c2VjcmV0")
    environment.setenv("CLAUDE_CODE_SESSION_TOKEN", "sk-2")
    line = refusal(capfd)
    missing, _, wrong = line.partition(" | wrong: ")
    assert "MONGO_URL" in missing
    assert "RABBITMQ_URL" in missing
    assert "URL" not in wrong
    assert "METRICS_PORT (" in line
    assert "FIELD_ENCRYPTION_KEY (must be 96 bytes in base64, not 6)" in line
    assert "CLAUDE_CODE_SESSION_TOKEN and ANTHROPIC_API_KEY (only one of them may be set)" in line
    assert "s3cret" not in line
    assert "c2VjcmV0" not in line
    assert "sk-" not in line


def test_a_value_given_twice_and_a_file_that_is_not_there_are_wrong(
    environment: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("MONGO_URL_FILE", "/run/secrets/mongo_url")
    environment.delenv("RABBITMQ_URL")
    environment.setenv("RABBITMQ_URL_FILE", "/does/not/exist")
    line = refusal(capfd)
    assert "MONGO_URL (both MONGO_URL and MONGO_URL_FILE are set)" in line
    assert "RABBITMQ_URL (the file /does/not/exist cannot be read: No such file or directory)" in line
    assert "missing" not in line


def test_secrets_are_neither_in_the_repr_nor_in_what_may_be_logged(environment: pytest.MonkeyPatch) -> None:
    del environment
    settings = load_settings(Example)
    for text in (repr(settings), str(public_values(settings))):
        assert "pa55" not in text
        assert KEY not in text


def test_settings_do_not_change(environment: pytest.MonkeyPatch) -> None:
    del environment
    settings: ServiceSettings = load_settings(Example)
    with pytest.raises(ValueError, match="frozen"):
        settings.metrics_port = 1  # type: ignore[misc]
