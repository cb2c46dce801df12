"""`python -m lab.services.claude --port N --api-key-file F`: serve until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from lab.services import secrets
from lab.services.claude.server import STAND_IN, build
from lab.services.httpserver import run


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m lab.services.claude", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one and prints it")
    parser.add_argument("--api-key-file", type=Path, required=True, help="file with the only key accepted")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("lab").info("this is a stand-in: %s", STAND_IN)
    asyncio.run(run(build(secrets.read(options.api_key_file), port=options.port)))


if __name__ == "__main__":
    main()
