"""`python -m lab.services.alerts --port N --token-file F …`: serve until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import ssl
from pathlib import Path

from lab.services import secrets
from lab.services.alerts.mail import Mailbox
from lab.services.alerts.server import STAND_IN, Alerts, serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m lab.services.alerts", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one and prints it")
    parser.add_argument(
        "--token-file", type=Path, required=True, help="the only bearer token, and the mail user's password"
    )
    parser.add_argument("--mail-address", default="127.0.0.1", help="where to listen for SMTP")
    parser.add_argument("--mail-port", type=int, default=0, help="port for SMTP")
    parser.add_argument("--certificate", type=Path, required=True, help="for STARTTLS")
    parser.add_argument("--key", type=Path, required=True, help="the certificate's key")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("lab").info("this is a stand-in: %s", STAND_IN)
    token = secrets.read(options.token_file)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(options.certificate, options.key)
    alerts = Alerts(token, Mailbox(tls, token))
    asyncio.run(serve(alerts, port=options.port, mail_address=options.mail_address, mail_port=options.mail_port))


if __name__ == "__main__":
    main()
