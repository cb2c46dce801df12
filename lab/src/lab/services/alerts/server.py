"""The receiver's addresses.

| address | what |
| --- | --- |
| `POST /webhook` | Alertmanager's webhook, with the bearer token |
| `GET /_lab/alerts[?alertname=A][&status=S]` | single alerts received, newest first, each with its receiver |
| `GET /_lab/mails` | mail received on the SMTP port |
| `DELETE /_lab/alerts` | forget both |
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections import deque
from typing import Any

from lab.services.alerts import webhook
from lab.services.alerts.mail import Mailbox
from lab.services.httpserver import Request, Response, Server, run

BODY_LIMIT = 4 * 1024 * 1024
KEPT = 1000
STAND_IN = "alerts (receiver of Alertmanager's webhooks and mail)"


class Alerts:
    """Takes webhooks that carry the expected token; reading needs none."""

    def __init__(self, token: str, mailbox: Mailbox | None = None) -> None:
        self._expected = f"Bearer {token}".encode()
        self._alerts: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.mailbox = mailbox or Mailbox()

    async def handle(self, request: Request) -> Response:
        """One request, as `httpserver.Handler`."""
        match request.method, request.path:
            case "POST", "/webhook":
                return self._receive(request)
            case "GET", "/_lab/alerts":
                return Response.json({"stand_in": STAND_IN, "alerts": self._select(request)})
            case "GET", "/_lab/mails":
                return Response.json({"stand_in": STAND_IN, "mails": list(reversed(self.mailbox.messages))})
            case "DELETE", "/_lab/alerts":
                self._alerts.clear()
                self.mailbox.messages.clear()
                return Response(204)
            case "GET", "/":
                return Response.json({"stand_in": STAND_IN})
        return Response.json({"error": "no such address"}, 404)

    def _receive(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._expected):
            return Response.json({"error": "a bearer token is wanted"}, 401)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return Response.json({"error": "content-type must be application/json"}, 415)
        try:
            document = json.loads(request.body)
            webhook.check(document)
        except ValueError:
            return Response.json({"error": "the body is not JSON"}, 400)
        except webhook.ShapeError as error:
            return Response.json({"error": str(error)}, 400)
        for alert in document["alerts"]:
            self._alerts.append({**alert, "receiver": document["receiver"]})
        return Response.json({"received": len(document["alerts"])})

    def _select(self, request: Request) -> list[dict[str, Any]]:
        name = request.query.get("alertname", [None])[0]
        status = request.query.get("status", [None])[0]
        return [
            alert
            for alert in reversed(self._alerts)
            if name in {None, alert["labels"]["alertname"]} and status in {None, alert["status"]}
        ]


def build(alerts: Alerts, *, host: str = "127.0.0.1", port: int = 0) -> Server:
    """A server of what `alerts` receives."""
    return Server(alerts.handle, stand_in=STAND_IN, host=host, port=port, body_limit=BODY_LIMIT)


async def serve(alerts: Alerts, *, port: int, mail_address: str, mail_port: int) -> None:
    """Serve HTTP on loopback and SMTP on `mail_address` until SIGTERM."""
    async with await asyncio.start_server(alerts.mailbox.connected, mail_address, mail_port):
        await run(build(alerts, port=port))
