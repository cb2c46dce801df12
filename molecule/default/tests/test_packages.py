"""A run installs a package with pip: from the registry that its project names, by the egress proxy, and in the log.

The registry is that of the lab's Gitea, with one small package, made and published here.
"""

import base64
import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from lab import journey
from lab.journey import Appliance
from lab.services import SERVICES_ADDRESS, https
from lab.services.gitea.instance import ADMIN
from lab.services.jira import payload
from testinfra.host import Host

NAME, VERSION = "sdlc-lab-till", "1.0"
REGISTRY = "https://gitea.lab/api/packages/demo/pypi"
INSTALL = f"""\
python3 -m venv "$TMPDIR/tools"
"$TMPDIR/tools/bin/pip" install --disable-pip-version-check --retries 0 --index-url {REGISTRY}/simple \
    {NAME}=={VERSION} > pip.txt 2>&1
echo "status $?" >> pip.txt
"$TMPDIR/tools/bin/python" -c "import sdlc_lab_till; print(sdlc_lab_till.TOLD)" > told.txt 2>&1 || true
"""
Play = Callable[..., str]


def wheel(told: str) -> bytes:
    """A package whose module says this: https://packaging.python.org/specifications/binary-distribution-format/"""
    stem = f"sdlc_lab_till-{VERSION}"
    files = {
        "sdlc_lab_till.py": f"TOLD = {told!r}\n",
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = "".join(f"{name},,\n" for name in [*files, f"{stem}.dist-info/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in {**files, f"{stem}.dist-info/RECORD": listed}.items():
            archive.writestr(name, text)
    return packed.getvalue()


@pytest.fixture(scope="module")
def told(lab: Any) -> str:
    """What the package says; it is in the registry."""
    word = uuid.uuid4().hex
    credentials = base64.b64encode(f"{ADMIN}:{lab.service_secret('gitea_admin_password')}".encode()).decode()

    def ask(method: str, address: str, body: bytes = b"", kind: str = "application/json") -> int:
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": kind}
        answer = https.call(method, address, ca=lab.ca, address=SERVICES_ADDRESS, headers=headers, body=body or None)
        return answer.status

    package = f"https://gitea.lab/api/v1/packages/demo/pypi/{NAME}/{VERSION}"
    assert ask("DELETE", package) in {204, 404}
    content, boundary = wheel(word), uuid.uuid4().hex
    fields = {"name": NAME, "version": VERSION, "sha256_digest": hashlib.sha256(content).hexdigest()}
    parts = [f'form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    parts.append(
        f'form-data; name="content"; filename="sdlc_lab_till-{VERSION}-py3-none-any.whl"\r\n\r\n'.encode()
        + content
        + b"\r\n"
    )
    start = f"--{boundary}\r\nContent-Disposition: ".encode()
    body = b"".join(start + part for part in parts) + f"--{boundary}--\r\n".encode()
    assert ask("POST", REGISTRY, body, f"multipart/form-data; boundary={boundary}") == 201
    return word


@pytest.fixture(scope="module")
def play(appliance: Appliance, told: str) -> Play:
    """Have a run of a project with this policy install the package; the ticket's key."""
    assert told

    def run(project: str, agent: Mapping[str, object]) -> str:
        appliance.register(project, agent=agent)
        key = f"{project}-{uuid.uuid4().hex[:8].upper()}"
        ticket = payload.Ticket(key, "Install the till", f"[[lab:bash]]\n```bash\n{INSTALL}```\n")
        assert appliance.send(ticket).status == 200
        development = appliance.wait(key)
        assert development["status"] == "completed", development["error_message"]
        return key

    return run


def content(path: str, key: str) -> str:
    """A file of a ticket's branch, as text."""
    return journey.branch_file(key, path).decode()


def tunnels(host: Host) -> list[dict[str, Any]]:
    """What runs asked the egress proxy for, of the registry."""
    lines = host.check_output("tail --lines 500 /var/log/squid/access.log").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["url"] == "gitea.lab:443" and entry["user"] != "-"]


def test_pip_installs_from_the_registry_that_the_project_names(host: Host, play: Play, told: str) -> None:
    before = {entry["user"] for entry in tunnels(host)}
    key = play("PACKAGED", {"egress_hosts": ["gitea.lab"]})
    assert content("pip.txt", key).endswith("status 0\n"), content("pip.txt", key)
    assert content("told.txt", key).strip() == told
    new = [entry for entry in tunnels(host) if entry["user"] not in before]
    assert {entry["status"] for entry in new} == {200}
    assert len({entry["user"] for entry in new}) == 1, "each run has a token of its own"


def test_pip_reaches_no_registry_for_a_project_that_names_none(host: Host, play: Play) -> None:
    before = {entry["user"] for entry in tunnels(host)}
    key = play("UNPACKAGED", {})
    assert content("pip.txt", key).endswith("status 1\n")
    assert "ModuleNotFoundError" in content("told.txt", key)
    assert [entry for entry in tunnels(host) if entry["user"] not in before and entry["status"] == 200] == []
