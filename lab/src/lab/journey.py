"""The way of a ticket through a lab host, as its users go it: deploy, register, send, wait, look.

The demo, the benchmark and the host's tests share it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lab import hosts, paths
from lab.console import LabError, say
from lab.process import attempt, run
from lab.services import SERVICES_ADDRESS, https
from lab.services.jira import payload
from lab.services.jira.send_webhook import send_webhook

WEBHOOK_NAME = "webhook.appliance.lab"
REPOSITORY = "https://gitea.lab/demo/shop"
ENDED = {"completed", "failed", "cancelled"}
_PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
_ANSIBLE = {
    "ANSIBLE_CONFIG": str(paths.CHECKOUT / "ansible.cfg"),
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORCE_COLOR": "0",
}

# Reads a request as JSON from standard input, so that no key stands in an argument list.
_CALL = """
import json, sys, urllib.error, urllib.request
given = json.load(sys.stdin)
body = None if given["body"] is None else json.dumps(given["body"]).encode()
request = urllib.request.Request(given["url"], data=body, method=given["method"], headers=given["headers"])
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        status, text = answer.status, answer.read().decode()
except urllib.error.HTTPError as error:
    status, text = error.code, error.read().decode()
json.dump({"status": status, "text": text}, sys.stdout)
"""


@dataclass(frozen=True)
class Reply:
    """What the configuration API answered; `body` is None when it was empty."""

    status: int
    body: Any


@dataclass(frozen=True)
class Appliance:
    """A lab host that is, or is to become, an appliance, its inventory, and the ports that this names.

    Attributes:
        configuration_port: The configuration API's, on the host's loopback.
        https_port: nginx's, as Jira reaches it.
    """

    host: hosts.Host
    inventory: Path
    configuration_port: int = 8081
    https_port: int = 443

    @property
    def webhook_url(self) -> str:
        """Where Jira sends its webhooks."""
        return f"https://{WEBHOOK_NAME}:{self.https_port}/webhook"

    def secrets(self) -> Mapping[str, str]:
        """The inventory's secrets, decrypted once and in memory only."""
        return _decrypted(self.inventory / "group_vars" / "all" / "secrets.yml")

    def call(self, method: str, path: str, body: object = None, key: str | None = None) -> Reply:
        """Ask the configuration API, on the host's loopback and by SSH, as its operators do.

        Args:
            key: The API key; the inventory's admin key otherwise.
        """
        headers = {
            "X-API-Key": self.secrets()["secret_configuration_api_admin_key"] if key is None else key,
            "Content-Type": "application/json",
        }
        url = f"http://127.0.0.1:{self.configuration_port}{path}"
        given = {"method": method, "url": url, "headers": headers, "body": body}
        remote = [*hosts.ssh_command(self.host.address), "python3", "-c", f"'{_CALL}'"]
        told = json.loads(run(remote, stdin=json.dumps(given), timeout=60))
        return Reply(told["status"], json.loads(told["text"]) if told["text"] else None)

    def send(self, ticket: payload.Ticket, *, secret: str | None = None) -> https.Answer:
        """Move a ticket to In Development: Jira's signed webhook, over TLS, through nginx."""
        return send_webhook(
            self.webhook_url,
            payload.moved(payload.issue(ticket)),
            self.secrets()["secret_jira_webhook_secret"] if secret is None else secret,
            ca=self.inventory / "ca.crt",
            address=self.host.address,
        )

    def work(self, project: str, summary: str, script: str, timeout: float = 180) -> dict[str, Any]:
        """Send a new ticket of a registered project whose agent runs *script*; its development when that has ended."""
        key = f"{project}-{uuid.uuid4().hex[:8].upper()}"
        answer = self.send(payload.Ticket(key, summary, f"[[lab:bash]]\n```bash\n{script}\n```\n"))
        if answer.status != 200:
            raise LabError(f"the webhook answered {answer.status} to the ticket: {answer.body.decode()}")
        return self.wait(key, timeout)

    def register(self, key: str, repository: str = REPOSITORY, agent: Mapping[str, object] | None = None) -> str:
        """Have a project `key` whose only repository is *repository*, with this policy of its own; its id."""
        found = self.call("GET", f"/api/projects?jira_project_key={key}")
        if found.status == 200 and found.body:
            return str(found.body[0]["id"])
        token = paths.state("services", "gitea_bot_token").read_text().strip()
        project = {
            "name": f"{key} of the lab",
            "scope": "A small till: prices, carts, discounts.",
            "jira_project_key": key,
            "repositories": [{"url": repository, "git_access_token": token, "base_branch": "main"}],
            **({"agent": agent} if agent else {}),
        }
        made = self.call("POST", "/api/projects", project)
        if made.status != 201:
            raise LabError(f"the configuration API answered {made.status} to the project: {made.body}")
        return str(made.body["id"])

    def development(self, issue_key: str) -> dict[str, Any] | None:
        """The newest development of a ticket, as the API shows it."""
        project = issue_key.rsplit("-", 1)[0]
        page = self.call("GET", f"/api/developments?jira_project_key={project}").body
        matching = [item for item in page["items"] if item["jira_issue_key"] == issue_key]
        return matching[0] if matching else None

    def wait(self, issue_key: str, timeout: float = 180) -> dict[str, Any]:
        """Wait until a ticket's development has ended, telling each change of its status."""
        deadline, last = time.monotonic() + timeout, ""
        while time.monotonic() < deadline:
            found = self.development(issue_key)
            status = found["status"] if found else "accepted"
            if status != last:
                say(f"{issue_key}: {status}")
                last = status
            if found and status in ENDED:
                return found
            time.sleep(0.3)
        raise LabError(
            f"{issue_key} is still {last} after {timeout:.0f} s",
            f"look at the consumer: {' '.join(hosts.ssh_command(self.host.address))} "
            "docker logs developer-agent-consumer-1",
        )

    def last_log_lines(self) -> str:
        """What the host has to say after a failure: its containers, and its last errors."""
        script = (
            "docker ps -a --format '{{.Names}}: {{.Status}}' 2>/dev/null; "
            "journalctl --no-pager -p warning -n 20 -o short-iso 2>/dev/null; systemctl --failed --no-legend"
        )
        return attempt([*hosts.ssh_command(self.host.address), script], timeout=60).stdout


@cache
def _decrypted(file: Path) -> Mapping[str, str]:
    vault = Path(sys.executable).with_name("ansible-vault")
    secrets: dict[str, str] = yaml.safe_load(run([str(vault), "view", str(file)], cwd=paths.CHECKOUT))
    return secrets


def deploy(inventory: Path, log: Path, *arguments: str) -> float:
    """Run site.yml on *inventory*, showing plays and roles as they begin; the seconds it took.

    Raises:
        LabError: It failed; the message carries the end of the log.
    """
    command = [_PLAYBOOK, "-i", str(inventory), "site.yml", *arguments]
    started, shown, tasks = time.monotonic(), "", 0
    with (
        log.open("w") as output,
        subprocess.Popen(
            command,
            cwd=paths.CHECKOUT,
            env={**os.environ, **_ANSIBLE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as playbook,
    ):
        assert playbook.stdout is not None
        for line in playbook.stdout:
            output.write(line)
            found = re.match(r"(PLAY|TASK) \[(?:(\w+) : )?(.*?)\] \**$", line)
            if found:
                tasks += found[1] == "TASK"
                title = found[2] or (found[3] if found[1] == "PLAY" else shown)
                if title != shown:
                    shown = title
                    say(f"  {time.monotonic() - started:4.0f} s  {shown}")
    if playbook.returncode != 0:
        lines = log.read_text().splitlines()
        begin = next((number for number, line in enumerate(lines) if "ERROR" in line or "fatal:" in line), -40)
        raise LabError("site.yml failed:\n" + "\n".join(lines[begin:][:60]), f"the whole log: {log}")
    say(f"  {tasks} tasks in {time.monotonic() - started:.0f} s")
    return time.monotonic() - started


def playbook(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook in the checkout and return how it went, whatever its exit status."""
    return attempt([_PLAYBOOK, *arguments], cwd=paths.CHECKOUT, env=_ANSIBLE, timeout=timeout)


def gitea(path: str, accept: str = "application/json") -> https.Answer:
    """Ask the lab's Gitea, with the bot's token."""
    token = paths.state("services", "gitea_bot_token").read_text().strip()
    return https.call(
        "GET",
        f"https://gitea.lab{path}",
        ca=paths.state("pki", "ca.crt"),
        address=SERVICES_ADDRESS,
        headers={"Authorization": f"token {token}", "Accept": accept},
    )


def branch_file(key: str, path: str) -> bytes:
    """A file of the branch of a ticket in `demo/shop`."""
    answer = gitea(f"/api/v1/repos/demo/shop/raw/{path}?ref=feature/{key}", accept="*/*")
    if answer.status != 200:
        raise LabError(f"gitea answered {answer.status} for {path} of feature/{key}: {answer.body.decode()}")
    return answer.body


def pull_request(url: str) -> dict[str, Any]:
    """The pull request at *url* of the lab's Gitea, as its API shows it."""
    found: dict[str, Any] = json.loads(_of_pull_request(url, "", "application/json"))
    return found


def pull_request_diff(url: str) -> str:
    """The diff of the pull request at *url* of the lab's Gitea."""
    return _of_pull_request(url, ".diff", "text/plain").decode()


def _of_pull_request(url: str, suffix: str, accept: str) -> bytes:
    found = re.fullmatch(r"https://gitea\.lab/([\w-]+)/([\w-]+)/pulls/(\d+)", url)
    if not found:
        raise LabError(f"not a pull request of the lab's Gitea: {url}")
    answer = gitea(f"/api/v1/repos/{found[1]}/{found[2]}/pulls/{found[3]}{suffix}", accept=accept)
    if answer.status != 200:
        raise LabError(f"gitea answered {answer.status} for {url}{suffix}")
    return answer.body
