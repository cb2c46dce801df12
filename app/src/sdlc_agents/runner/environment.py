"""What a job's programs find in their environment: nothing of the runner's own, and no secret."""

from dataclasses import dataclass
from pathlib import Path

from sdlc_agents.runner.workspace import JobDirectory, identity
from sdlc_agents.runs.protocol import JobRequest

LOOPBACK = "localhost,127.0.0.1"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
)


@dataclass(frozen=True)
class Outside:
    """How tools in the sandbox reach the world, where they may at all: a proxy, and the authorities to trust."""

    proxy: str | None = None
    ca_file: Path | None = None

    def environment(self, direct: str) -> dict[str, str]:
        """The variables that common tools read; hosts in `direct` are reached without the proxy."""
        values: dict[str, str] = {}
        if self.proxy is not None:
            values = {"HTTP_PROXY": self.proxy, "HTTPS_PROXY": self.proxy, "NO_PROXY": direct}
            values |= {name.lower(): value for name, value in values.items()}
        if self.ca_file is not None:
            values |= dict.fromkeys(_CA_VARIABLES, str(self.ca_file))
        return values


def sandbox_environment(
    job: JobRequest, directory: JobDirectory, outside: Outside, *, direct: str = LOOPBACK
) -> dict[str, str]:
    """What every program of a job gets; hosts in `direct` are reached without the proxy."""
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "HOME": str(directory.home),
        "TMPDIR": str(directory.temporary),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **identity(job),
        **outside.environment(direct),
    }
