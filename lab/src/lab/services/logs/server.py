"""The log store's addresses.

| address | what |
| --- | --- |
| `GET /`, `GET /_license`, `GET /_xpack`, `GET /_cluster/health`, `GET /_nodes/...` | what Filebeat asks at its start |
| `HEAD|PUT|GET /_ilm/policy/*`, `/_index_template/*`, `/_ingest/pipeline/*`, … | its set-up, remembered |
| `POST|PUT /_bulk`, `/<index>/_bulk` | events, see bulk.py |
| `GET /_lab/search?contains=TEXT[&index=I][&limit=N]` | stored events in which the text stands, newest first |
| `GET /_lab/stats`, `DELETE /_lab/events` | how many, and forget them |

All need basic auth (user `filebeat`) or `Authorization: ApiKey base64(id:key)`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections import Counter, deque
from typing import Any

from lab.services.httpserver import Request, Response, Server
from lab.services.logs import bulk

USER = "filebeat"
VERSION = "8.19.0"
BODY_LIMIT = 100 * 1024 * 1024
STORE_LIMIT = 64 * 1024 * 1024
STAND_IN = "logs (the part of Elasticsearch that Filebeat uses)"

_SETUP = ("/_ilm/policy/", "/_index_template/", "/_component_template/", "/_ingest/pipeline/", "/_template/")
_HEADERS = {"x-elastic-product": "Elasticsearch"}
_SEARCH_LIMIT = 100


def _error(status: int, kind: str, reason: str) -> Response:
    cause = {"type": kind, "reason": reason}
    document = {"error": {"root_cause": [cause], **cause}, "status": status}
    response = Response.json(document, status, _HEADERS)
    if status == 401:
        response.headers["www-authenticate"] = 'Basic realm="security", charset="UTF-8", ApiKey'
    return response


class Store:
    """The newest events, as much as fits into `limit` bytes of JSON."""

    def __init__(self, limit: int = STORE_LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._events: deque[tuple[str, str, str]] = deque()
        self._identities: set[tuple[str, str]] = set()
        self.counts: Counter[str] = Counter()
        self.dropped = 0

    def add(self, item: bulk.Item) -> tuple[int, str]:
        """Keep one document; its status as the Bulk API gives it, and its id.

        201 for a new one. An id that is known is a conflict (409) for `create`; for `index`, which would
        overwrite, it is one too: a log shipper has no business changing what was logged.
        """
        identity = item.identity or secrets.token_urlsafe(15)
        if (item.index, identity) in self._identities:
            return 409, identity
        text = json.dumps(item.document, ensure_ascii=False)
        self._identities.add((item.index, identity))
        self._events.append((item.index, identity, text))
        self.counts[item.index] += 1
        self._size += len(text)
        while self._size > self._limit:
            index, oldest, dropped = self._events.popleft()
            self._identities.discard((index, oldest))
            self._size -= len(dropped)
            self.dropped += 1
        return 201, identity

    def search(self, contains: str, index: str | None, limit: int) -> list[dict[str, Any]]:
        """Events with `contains` anywhere in their JSON text or in one of their string values."""
        escaped = json.dumps(contains, ensure_ascii=False)[1:-1]
        found: list[dict[str, Any]] = []
        for name, identity, text in reversed(self._events):
            if (index is None or name == index) and (contains in text or escaped in text):
                found.append({"_index": name, "_id": identity, "_source": json.loads(text)})
                if len(found) == limit:
                    break
        return found

    def clear(self) -> None:
        """Forget all events."""
        self._size = self.dropped = 0
        self._events.clear()
        self._identities.clear()
        self.counts.clear()

    def __len__(self) -> int:
        return len(self._events)


class Logs:
    """Answers requests that carry the expected password or API key."""

    def __init__(self, password: str, api_key: str, limit: int = STORE_LIMIT) -> None:
        self._accepted = {
            "basic": f"{USER}:{password}".encode(),
            "apikey": api_key.encode(),
        }
        self._uuid = secrets.token_urlsafe(16)
        self._set_up: dict[str, Any] = {}
        self.store = Store(limit)

    def _is_authentic(self, request: Request) -> bool:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        expected = self._accepted.get(scheme.lower())
        if expected is None:
            return False
        try:
            given = base64.b64decode(credentials, validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(given, expected)

    async def handle(self, request: Request) -> Response:
        """One request, as `httpserver.Handler`."""
        if not self._is_authentic(request):
            return _error(401, "security_exception", "missing or wrong credentials")
        path = request.path.rstrip("/") or "/"
        if path.endswith("/_bulk") and path.count("/") <= 2:
            return self._bulk(request, path)
        if path.startswith("/_lab/"):
            return self._lab(request, path)
        if path.startswith(_SETUP):
            return self._setup(request, path)
        answer = self._about(path) if request.method in {"GET", "HEAD"} else None
        if answer is None:
            return _error(404, "invalid_request", f"the lab's store has no {request.method} {path}")
        return Response.json(answer, headers=_HEADERS)

    def _about(self, path: str) -> dict[str, Any] | None:
        node = {"name": "logs.lab", "version": VERSION}
        known: dict[str, dict[str, Any]] = {
            "/": {
                "name": "logs.lab",
                "cluster_name": "lab-stand-in",
                "cluster_uuid": self._uuid,
                "version": {
                    "number": VERSION,
                    "build_flavor": "default",
                    "build_type": "lab",
                    "build_snapshot": False,
                    "minimum_wire_compatibility_version": "7.17.0",
                    "minimum_index_compatibility_version": "7.0.0",
                },
                "tagline": "A stand-in of the lab",
            },
            "/_license": {"license": {"status": "active", "uid": self._uuid, "type": "basic", "mode": "basic"}},
            "/_xpack": {"license": {"uid": self._uuid, "type": "basic", "mode": "basic", "status": "active"}},
            "/_cluster/health": {"cluster_name": "lab-stand-in", "status": "green", "timed_out": False},
            "/_nodes": {"nodes": {self._uuid: node}},
            "/_nodes/ingest": {"nodes": {self._uuid: {**node, "ingest": {"processors": []}}}},
        }
        return known.get(path)

    def _setup(self, request: Request, path: str) -> Response:
        if request.method == "PUT":
            try:
                self._set_up[path] = json.loads(request.body)
            except ValueError:
                return _error(400, "parse_exception", "the body is not JSON")
            return Response.json({"acknowledged": True}, headers=_HEADERS)
        if request.method in {"GET", "HEAD"}:
            if path not in self._set_up:
                return _error(404, "resource_not_found_exception", f"{path} is not there")
            return Response.json({path.rsplit("/", 1)[1]: self._set_up[path]}, headers=_HEADERS)
        return _error(405, "invalid_request", f"{request.method} is not allowed")

    def _bulk(self, request: Request, path: str) -> Response:
        if request.method not in {"POST", "PUT"}:
            return _error(405, "invalid_request", f"{request.method} is not allowed")
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind not in {"application/json", "application/x-ndjson", "application/vnd.elasticsearch+x-ndjson"}:
            return _error(406, "media_type_header_exception", f"Content-Type {kind!r} is not NDJSON")
        default_index = path.removesuffix("/_bulk").lstrip("/") or None
        try:
            items = bulk.parse(request.body, default_index)
        except bulk.BulkError as error:
            return _error(400, "illegal_argument_exception", str(error))
        answers = []
        failed = False
        for item in items:
            status, identity = self.store.add(item)
            answer: dict[str, Any] = {"_index": item.index, "_id": identity, "status": status}
            if status == 201:
                answer["result"] = "created"
            else:
                failed = True
                reason = f"[{identity}]: version conflict, document already exists"
                answer["error"] = {"type": "version_conflict_engine_exception", "reason": reason}
            answers.append({item.action: answer})
        return Response.json({"took": 1, "errors": failed, "items": answers}, headers=_HEADERS)

    def _lab(self, request: Request, path: str) -> Response:
        match request.method, path:
            case "GET", "/_lab/search":
                contains = request.query.get("contains", [""])[0]
                limit = request.query.get("limit", [str(_SEARCH_LIMIT)])[0]
                if not contains or not limit.isdigit() or int(limit) < 1:
                    return _error(400, "illegal_argument_exception", "contains=TEXT and limit≥1 are wanted")
                index = request.query.get("index", [None])[0]
                hits = self.store.search(contains, index, int(limit))
                return Response.json({"stand_in": STAND_IN, "count": len(hits), "hits": hits})
            case "GET", "/_lab/stats":
                counts = dict(self.store.counts)
                held, dropped = len(self.store), self.store.dropped
                return Response.json({"stored": held, "dropped": dropped, "received": counts})
            case "DELETE", "/_lab/events":
                self.store.clear()
                return Response(204)
        return _error(404, "invalid_request", f"the lab's store has no {request.method} {path}")


def build(password: str, api_key: str, *, host: str = "127.0.0.1", port: int = 0) -> Server:
    """A server of an empty store."""
    if not password or not api_key:
        raise ValueError("the store needs credentials to expect")
    logs = Logs(password, api_key)
    return Server(logs.handle, stand_in=STAND_IN, host=host, port=port, body_limit=BODY_LIMIT)
