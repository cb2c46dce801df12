"""`python -m lab.services.jira --port N --token-file F`: serve until SIGTERM. Needs jira820 and uvicorn."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from lab.services import secrets
from lab.services.jira.server import build


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m lab.services.jira", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port")
    parser.add_argument("--token-file", type=Path, required=True, help="the only bearer token accepted")
    options = parser.parse_args()
    application = build(secrets.read(options.token_file))
    importlib.import_module("uvicorn").run(application, host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
