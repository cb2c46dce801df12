"""squid's helper as squid runs it, against a real HTTP server that plays the authority."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PROGRAM = Path(__file__).parents[1] / "files" / "squid_authorization.py"
JOB, TOKEN = "0123abcd", "a:token/with+signs=%20"
Talk = Callable[..., list[str]]


class Authority(ThreadingHTTPServer):
    """Lets JOB with TOKEN to example.com; `asked` is what it was asked, `status` an answer to everything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.status = 0
        self.delay = 0.0

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1/egress"


class Handler(BaseHTTPRequestHandler):
    """One question."""

    server: Authority

    def do_POST(self) -> None:
        """Answer it."""
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(question)
        time.sleep(self.server.delay)
        good = (question["job"], question["token"]) == (JOB, TOKEN) and question.get("host", "example.com") == (
            "example.com"
        )
        self.send_response(self.server.status or (204 if good else 403))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def authority() -> Iterator[Authority]:
    """The authority."""
    with Authority() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def talk(kind: str, url: str, *lines: str) -> list[str]:
    """What the helper answers, sorted."""
    command = [sys.executable, "-I", str(PROGRAM), kind, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as helper:
        assert helper.stdin
        assert helper.stdout
        helper.stdin.write("".join(f"{line}\n" for line in lines))
        helper.stdin.flush()
        answers = sorted(helper.stdout.readline().strip() for _ in lines)
        helper.stdin.close()
        assert helper.wait(10) == 0
    return answers


def header(user: str = JOB, password: str = TOKEN) -> str:
    """A Proxy-Authorization header as squid hands it over."""
    return quote("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(), safe="")


def test_the_right_password_is_good_and_another_is_not(authority: Authority) -> None:
    good, bad = quote(TOKEN, safe=""), quote("another", safe="")
    assert talk("login", authority.url, f"0 {JOB} {good}", f"1 {JOB} {bad}", f"2 other {good}") == [
        "0 OK",
        "1 ERR",
        "2 ERR",
    ]
    assert {"job": JOB, "token": TOKEN} in authority.asked


def test_a_listed_host_is_let_through_and_another_is_not(authority: Authority) -> None:
    lines = [f"0 {header()} example.com", f"1 {header()} other.example", f"2 {header(password='x')} example.com"]
    assert talk("host", authority.url, *lines) == ["0 OK", "1 ERR", "2 ERR"]
    assert {"job": JOB, "token": TOKEN, "host": "example.com"} in authority.asked


@pytest.mark.parametrize("given", ["-", "Bearer%20abc", "Basic%20!!!", "Basic%20YWJj", ""])
def test_without_basic_credentials_nobody_is_asked(authority: Authority, given: str) -> None:
    assert talk("host", authority.url, f"7 {given} example.com") == ["7 ERR"]
    assert authority.asked == []


@pytest.mark.parametrize("status", [200, 302, 401, 500, 503])
def test_every_other_answer_is_a_no(authority: Authority, status: int) -> None:
    authority.status = status
    assert talk("host", authority.url, f"3 {header()} example.com") == ["3 BH message=unavailable"]


def test_an_authority_that_is_away_is_a_no() -> None:
    assert talk("host", "http://127.0.0.1:1/v1/egress", f"3 {header()} example.com") == ["3 BH message=unavailable"]


def test_an_authority_that_does_not_answer_is_a_no_in_time(authority: Authority) -> None:
    authority.delay = 6
    began = time.monotonic()
    assert talk("login", authority.url, f"3 {JOB} x") == ["3 BH message=unavailable"]
    assert time.monotonic() - began < authority.delay


def test_questions_are_asked_side_by_side(authority: Authority) -> None:
    authority.delay = 0.5
    began = time.monotonic()
    answers = talk("host", authority.url, *(f"{number} {header()} example.com" for number in range(8)))
    assert answers == [f"{number} OK" for number in range(8)]
    assert time.monotonic() - began < 8 * authority.delay
