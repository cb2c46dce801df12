"""Send what Jira would: a ticket moved to In Development, signed, over verified HTTPS.

    python -m lab.services.jira.send_webhook --url https://appliance/webhook --ca ca.crt \
        --secret-file secret --key SHOP-1 --summary "Add a discount" --description "Ten percent off."

The secret comes from a file, or from standard input with `--secret-file -`; never from the command line.
Prints the answer's status and body; exits 0 for 2xx, else 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.services import https, secrets
from lab.services.jira import payload


def send_webhook(
    url: str,
    document: Mapping[str, Any],
    secret: str,
    *,
    ca: Path,
    address: str = "",
    delivery: str | None = None,
) -> https.Answer:
    """Sign `document` and post it once. `delivery` repeats an earlier delivery's id."""
    body = payload.encode(document)
    headers = payload.headers(body, secret, delivery)
    return https.call("POST", url, ca=ca, address=address, headers=headers, body=body)


def main() -> int:
    """Read the command line, send, and tell how it went."""
    parser = argparse.ArgumentParser(prog="python -m lab.services.jira.send_webhook")
    parser.add_argument("--url", required=True, help="https://…/webhook")
    parser.add_argument("--ca", type=Path, required=True, help="PEM file of the CA that signed the server")
    parser.add_argument("--address", default="", help="where the server is, if its name does not resolve here")
    parser.add_argument("--secret-file", required=True, help="file of the webhook's secret, or - for standard input")
    parser.add_argument("--key", required=True, help="the ticket's key, SHOP-1")
    parser.add_argument("--summary", required=True)
    parser.add_argument("--description", default=None)
    parser.add_argument("--component", action="append", default=[], dest="components")
    parser.add_argument("--delivery", default=None, help="id of the delivery, to send one twice")
    options = parser.parse_args()
    source: str = options.secret_file
    secret = sys.stdin.readline().strip() if source == "-" else secrets.read(Path(source))
    if not secret:
        parser.error("there is no secret on standard input")
    ticket = payload.Ticket(options.key, options.summary, options.description, tuple(options.components))
    answer = send_webhook(
        options.url,
        payload.moved(payload.issue(ticket)),
        secret,
        ca=options.ca,
        address=options.address,
        delivery=options.delivery,
    )
    print(answer.status, answer.body.decode(errors="replace").strip())
    return 0 if 200 <= answer.status < 300 else 1


if __name__ == "__main__":
    sys.exit(main())
