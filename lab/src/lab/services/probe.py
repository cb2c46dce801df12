"""Whether every outside service answers, asked by its name, over TLS and with its credential.

`python -m lab.services.probe DIRECTORY CA [ADDRESS]` prints each that does not and exits 1.
"""

from __future__ import annotations

import base64
import smtplib
import ssl
import sys
from pathlib import Path

from lab.services import https, secrets


def _requests(directory: Path) -> dict[str, dict[str, str]]:
    def bearer(name: str, scheme: str = "Bearer") -> dict[str, str]:
        return {"Authorization": f"{scheme} {secrets.read(directory / name)}"}

    password = secrets.read(directory / "logs_password")
    basic = base64.b64encode(f"filebeat:{password}".encode()).decode()
    key = {"x-api-key": secrets.read(directory / "claude_api_key"), "anthropic-version": "2023-06-01"}
    return {
        "https://gitea.lab/api/v1/repos/demo/shop": bearer("gitea_bot_token", "token"),
        "https://claude.lab/v1/models": key,
        "https://jira.lab/rest/api/2/serverInfo": bearer("jira_token"),
        "https://logs.lab:9200/": {"Authorization": f"Basic {basic}"},
        "https://alerts.lab/": {},
    }


def failures(directory: Path, ca: Path, address: str) -> list[str]:
    """One line for each service that does not answer as it should."""
    found = []
    try:
        requests = _requests(directory)
    except (OSError, ValueError) as error:
        return [f"a credential is missing: {error}"]
    for url, headers in requests.items():
        try:
            status = https.call("GET", url, ca=ca, address=address, headers=headers, timeout=10).status
        except OSError as error:
            found.append(f"{url}: {error}")
        else:
            if status != 200:
                found.append(f"{url}: answered {status}")
    try:
        with smtplib.SMTP(address, 25, timeout=10) as mail:
            mail._host = "alerts.lab"  # type: ignore[attr-defined] # the name to verify
            mail.starttls(context=ssl.create_default_context(cafile=str(ca)))
    except (OSError, smtplib.SMTPException) as error:
        found.append(f"alerts.lab:25: {error}")
    return found


def main() -> int:
    """Read the command line and ask."""
    directory, ca = Path(sys.argv[1]), Path(sys.argv[2])
    found = failures(directory, ca, sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1")
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
