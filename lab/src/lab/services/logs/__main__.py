"""`python -m lab.services.logs --port N --password-file F --api-key-file F`: serve until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from lab.services import secrets
from lab.services.httpserver import run
from lab.services.logs.server import STAND_IN, build


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m lab.services.logs", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one and prints it")
    parser.add_argument("--password-file", type=Path, required=True, help="password of user filebeat")
    parser.add_argument("--api-key-file", type=Path, required=True, help="an API key as id:key")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("lab").info("this is a stand-in: %s", STAND_IN)
    password, api_key = secrets.read(options.password_file), secrets.read(options.api_key_file)
    asyncio.run(run(build(password, api_key, port=options.port)))


if __name__ == "__main__":
    main()
