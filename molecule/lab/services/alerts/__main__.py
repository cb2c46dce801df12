"""`python -m lab.services.alerts --port N --token-file F --mail-port N`: serve until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from lab.services import secrets
from lab.services.alerts.server import STAND_IN, serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m lab.services.alerts", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one and prints it")
    parser.add_argument("--token-file", type=Path, required=True, help="the bearer token that is accepted")
    parser.add_argument("--mail-address", default="127.0.0.1", help="where to listen for SMTP")
    parser.add_argument("--mail-port", type=int, default=0, help="port for SMTP")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("lab").info("this is a stand-in: %s", STAND_IN)
    asyncio.run(
        serve(
            secrets.read(options.token_file),
            port=options.port,
            mail_address=options.mail_address,
            mail_port=options.mail_port,
        )
    )


if __name__ == "__main__":
    main()
