"""A lab host as its users see it, on the ports that its inventory says."""

from __future__ import annotations

import json

from lab import hosts, journey
from lab.journey import Reply
from lab.process import run
from lab.services import https
from lab.services.jira import payload
from lab.services.jira.send_webhook import send_webhook
from wiring import port

WEBHOOK_URL = f"https://{journey.WEBHOOK_NAME}:{port('nginx_https_port')}/webhook"


class Appliance(journey.Appliance):
    """`journey.Appliance`, which knows the usual ports, on those of the inventory under test."""

    def call(self, method: str, path: str, body: object = None, key: str | None = None) -> Reply:
        """Ask the configuration API; see `journey.Appliance.call`."""
        headers = {
            "X-API-Key": self.secrets()["secret_configuration_api_admin_key"] if key is None else key,
            "Content-Type": "application/json",
        }
        url = f"http://127.0.0.1:{port('app_configuration_api_port')}{path}"
        given = {"method": method, "url": url, "headers": headers, "body": body}
        remote = [*hosts.ssh_command(self.host.address), "python3", "-c", f"'{journey._CALL}'"]
        told = json.loads(run(remote, stdin=json.dumps(given), timeout=60))
        return Reply(told["status"], json.loads(told["text"]) if told["text"] else None)

    def send(self, ticket: payload.Ticket, *, secret: str | None = None) -> https.Answer:
        """Move a ticket to In Development; see `journey.Appliance.send`."""
        return send_webhook(
            WEBHOOK_URL,
            payload.moved(payload.issue(ticket)),
            self.secrets()["secret_jira_webhook_secret"] if secret is None else secret,
            ca=self.inventory / "ca.crt",
            address=self.host.address,
        )
