"""What a log line looks like, and what is never in one."""

import logging

import orjson
import pytest
import structlog

from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.settings import ServiceSettings


@pytest.fixture(autouse=True)
def _restore_logging() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_json_with_time_level_event_and_service(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(), "example")
    structlog.get_logger().info("development_published", development_id="d1")
    (line,) = lines(capsys)
    assert line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "development_published",
        "service": "example",
        "development_id": "d1",
    }


def test_a_librarys_line_has_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(), "example")
    logging.getLogger("some.library").warning("it %s", "happened")
    (line,) = lines(capsys)
    assert (line["event"], line["logger"], line["service"]) == ("it happened", "some.library", "example")


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(log_level="warning"), "example")
    structlog.get_logger().info("quiet")
    logging.getLogger("some.library").info("quiet")
    assert lines(capsys) == []


def test_secrets_that_reach_a_logger_are_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(), "example")
    structlog.get_logger().info("x", git_access_token="tok3n", url="amqps://user:pa55@mq:5671/sdlc")
    logging.getLogger("some.library").warning("no route to mongodb://user:pa55@db/")
    text = capsys.readouterr().out
    assert "tok3n" not in text
    assert "pa55" not in text
    assert "amqps://[hidden]@mq:5671/sdlc" in text


def test_an_exception_is_one_line_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(), "example")
    try:
        int("odd")
    except ValueError:
        structlog.get_logger().exception("request_crashed")
    (line,) = lines(capsys)
    assert "ValueError: invalid literal" in str(line["exception"])


def test_the_console_format_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(log_format="console"), "example")
    structlog.get_logger().info("service_started")
    assert "service_started" in capsys.readouterr().out
