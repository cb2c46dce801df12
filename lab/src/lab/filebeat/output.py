"""The Elasticsearch output: batches of events as NDJSON to `_bulk`, again and again until they are taken."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import ssl
import sys
import threading
from typing import Any
from urllib.parse import quote, urlsplit

from . import VERSION, event
from .event import Event
from .options import ConfigError, Flat


class OutputError(Exception):
    """The store did not take a batch; trying again may help."""


class Elasticsearch:
    """One store, reached over one of its hosts."""

    def __init__(self, options: Flat) -> None:
        self._options = options
        self._hosts = [_address(host, options) for host in options["hosts"]]
        self._context = _context(options)
        self._connection: http.client.HTTPConnection | None = None
        self._base = ""
        self._turn = 0

    def connect(self) -> str:
        """Connect, check that this is an Elasticsearch of at least our version, and name it.

        Raises:
            OutputError: It is not, or no one answers.
        """
        scheme, host, port, self._base = self._hosts[self._turn % len(self._hosts)]
        timeout = self._options.get("timeout", 90.0)
        if scheme == "https":
            self._connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
        about, headers = self._ask("GET", "/", b"")
        if headers.get("X-Elastic-Product") != "Elasticsearch":
            raise OutputError(f"{scheme}://{host}:{port} is not an Elasticsearch")
        version = str(about["version"]["number"])
        newer = tuple(map(int, version.partition("-")[0].split("."))) >= tuple(map(int, VERSION.split(".", 2)[:2]))
        if not newer and not self._options.get("allow_older_versions"):
            raise OutputError(f"Elasticsearch {version} is too old for Filebeat {VERSION}")
        return f"{scheme}://{host}:{port} (version {version})"

    def set_up(self, top: Flat) -> None:
        """Put the index template that the settings want."""
        if not top.get("setup.template.enabled", True):
            return
        name = top.get("setup.template.name", f"filebeat-{VERSION}")
        pattern = top.get("setup.template.pattern", f"filebeat-{VERSION}")
        template = {
            "index_patterns": [pattern],
            "priority": top.get("setup.template.priority", 150),
            "template": {"settings": top.get("setup.template.settings", {})},
        }
        self._ask("PUT", f"/_index_template/{quote(name)}", json.dumps(template).encode())

    def publish(self, events: list[Event], stop: threading.Event) -> list[str]:
        """Ship *events*; returns what the store refused for good.

        Raises:
            OutputError: It was told to stop before all were taken.
        """
        wait = self._options.get("backoff.init", 1.0)
        refused: list[str] = []
        while events and not stop.is_set():
            try:
                if self._connection is None:
                    self.connect()
                events, now_refused = self._bulk(events)
                refused += now_refused
                if not events:
                    return refused
                problem = f"{len(events)} events are to be sent again"
            except (OSError, http.client.HTTPException, OutputError, ValueError) as error:
                problem = str(error) or type(error).__name__
                self.close()
                self._turn += 1
            log("error", f"Failed to publish events: {problem}; trying again in {wait:.0f} s")
            stop.wait(wait)
            wait = min(wait * 2, self._options.get("backoff.max", 60.0))
        if events:
            raise OutputError("stopped")
        return refused

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _bulk(self, events: list[Event]) -> tuple[list[Event], list[str]]:
        """Send once; the events to send again, and what was refused for good."""
        lines = []
        for one in events:
            meta = dict(one.get("@metadata", {}))
            index = meta.pop("index", self._options.get("index", f"filebeat-{VERSION}"))
            action: dict[str, Any] = {"_index": event.formatted(index, one).lower(), **meta}
            if "pipeline" in self._options:
                action.setdefault("pipeline", self._options["pipeline"])
            document = {key: value for key, value in one.items() if key != "@metadata"}
            lines += [json.dumps({"create": action}), json.dumps(document, ensure_ascii=False)]
        body = ("\n".join(lines) + "\n").encode()
        answer, _ = self._ask("POST", "/_bulk?filter_path=errors%2Citems.%2A.error%2Citems.%2A.status", body)
        again, refused = [], []
        results = answer.get("items", []) if answer.get("errors") else []
        for one, result in zip(events, results, strict=False):
            outcome = next(iter(result.values()))
            status = outcome.get("status", 201)
            if status == 429 or status >= 500:
                again.append(one)
            elif status >= 400 and status != 409:
                refused.append(f"{status}: {outcome.get('error')}")
        return again, refused

    def _ask(self, method: str, path: str, body: bytes) -> tuple[dict[str, Any], Any]:
        assert self._connection is not None
        headers = {"User-Agent": f"Filebeat/{VERSION} (lab stand-in)", "Accept": "application/json"}
        headers.update({key: str(value) for key, value in self._options.get("headers", {}).items()})
        headers.update(_authorization(self._options))
        if body:
            bulk = path.startswith("/_bulk")
            headers["Content-Type"] = "application/x-ndjson" if bulk else "application/json"
            if bulk and self._options.get("compression_level", 1):
                body = gzip.compress(body, self._options.get("compression_level", 1))
                headers["Content-Encoding"] = "gzip"
        self._connection.request(method, self._base + path, body or None, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise OutputError(f"{method} {path.partition('?')[0]}: status {answer.status}: {content[:300]!r}")
        return json.loads(content), answer.headers


def log(level: str, message: str) -> None:
    """One line of Filebeat's own log."""
    line = {"log.level": level, "@timestamp": event.now(), "message": message, "service.name": "filebeat"}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def _address(host: str, options: Flat) -> tuple[str, str, int, str]:
    parts = urlsplit(host if "://" in host else f"{options.get('protocol', 'http')}://{host}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"output.elasticsearch: {host} is no address of a host")
    path = (parts.path or options.get("path", "")).rstrip("/")
    return parts.scheme, parts.hostname, parts.port or 9200, path


def _context(options: Flat) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authorities = options.get("ssl.certificate_authorities")
    if authorities:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for file in authorities:
            try:
                context.load_verify_locations(cafile=file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"ssl.certificate_authorities: {file}: {error}") from error
    known = {
        "TLSv1.2": ssl.TLSVersion.TLSv1_2,
        "TLSv1.3": ssl.TLSVersion.TLSv1_3,
    }
    wanted = options.get("ssl.supported_protocols", list(known))
    if not wanted or set(wanted) - set(known):
        raise ConfigError("ssl.supported_protocols: this stand-in speaks TLSv1.2 and TLSv1.3")
    context.minimum_version = min(known[name] for name in wanted)
    context.maximum_version = max(known[name] for name in wanted)
    if ("ssl.certificate" in options) != ("ssl.key" in options):
        raise ConfigError("ssl.certificate and ssl.key go together")
    if "ssl.certificate" in options:
        context.load_cert_chain(options["ssl.certificate"], options["ssl.key"])
    return context


def _authorization(options: Flat) -> dict[str, str]:
    if "api_key" in options:
        return {"Authorization": f"ApiKey {base64.b64encode(options['api_key'].encode()).decode()}"}
    if "username" in options:
        pair = f"{options['username']}:{options['password']}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}
