"""`sdlc-agents healthcheck`: what Docker runs to see whether a container's service lives.

Nothing but the standard library's lightest parts: it runs every few seconds in every container.
"""

import os
import socket
import sys

SECONDS = 3.0


def is_healthy(port: int, host: str = "127.0.0.1") -> bool:
    """Whether `GET /health` answers 200 on the port."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as connection:
            connection.settimeout(SECONDS)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def run() -> None:
    """Exit 0 when the service of this container lives, 1 otherwise."""
    port = int(os.environ.get("METRICS_PORT") or 9090)
    if not is_healthy(port):
        print(f"no healthy answer on port {port}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1)
