"""A run installs a package: from the registry that its project names, by the egress proxy, and in the log.

The registries are those of the lab's Gitea, each with one small package, made and published here.
"""

import base64
import hashlib
import io
import json
import tarfile
import uuid
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from testinfra.host import Host

from lab import journey
from lab.journey import Appliance
from lab.services import SERVICES_ADDRESS, https
from lab.services.gitea.instance import ADMIN

NAME, VERSION = "sdlc-lab-till", "1.0.0"
PACKAGES = "https://gitea.lab/api/packages/demo"
INSTALL = {
    "pip": f"""\
python3 -m venv "$TMPDIR/tools"
"$TMPDIR/tools/bin/pip" install --disable-pip-version-check --retries 0 --index-url {PACKAGES}/pypi/simple \
    {NAME}=={VERSION} > install.txt 2>&1
echo "status $?" >> install.txt
"$TMPDIR/tools/bin/python" -c "import sdlc_lab_till; print(sdlc_lab_till.TOLD)" > told.txt 2>&1 || true
""",
    "npm": f"""\
mkdir "$TMPDIR/tools" && cd "$TMPDIR/tools" && npm init --yes > /dev/null && cd "$OLDPWD"
echo "registry={PACKAGES}/npm/" > .npmrc
cp .npmrc "$TMPDIR/tools/"
npm --prefix "$TMPDIR/tools" install --userconfig .npmrc --no-audit --no-fund --fetch-retries 0 \
    {NAME}@{VERSION} > install.txt 2>&1
echo "status $?" >> install.txt
NODE_PATH="$TMPDIR/tools/node_modules" node -e 'console.log(require("{NAME}").TOLD)' > told.txt 2>&1 || true
""",
}
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


def tarball(told: str) -> bytes:
    """The same for Node.js: https://docs.npmjs.com/cli/configuring-npm/package-json"""
    files = {
        "package/package.json": json.dumps({"name": NAME, "version": VERSION, "main": "index.js"}),
        "package/index.js": f"exports.TOLD = {json.dumps(told)};\n",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def wheel_upload(told: str) -> tuple[str, str, bytes, str]:
    """Method, address, body and its type, as twine sends a wheel."""
    content, boundary = wheel(told), uuid.uuid4().hex
    fields = {"name": NAME, "version": VERSION, "sha256_digest": hashlib.sha256(content).hexdigest()}
    parts = [f'form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    file = f"sdlc_lab_till-{VERSION}-py3-none-any.whl"
    parts.append(f'form-data; name="content"; filename="{file}"\r\n\r\n'.encode() + content + b"\r\n")
    start = f"--{boundary}\r\nContent-Disposition: ".encode()
    body = b"".join(start + part for part in parts) + f"--{boundary}--\r\n".encode()
    return "POST", f"{PACKAGES}/pypi", body, f"multipart/form-data; boundary={boundary}"


def tarball_upload(told: str) -> tuple[str, str, bytes, str]:
    """The same, as npm publish sends a package."""
    content = tarball(told)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    dist = {"integrity": integrity, "shasum": hashlib.sha1(content, usedforsecurity=False).hexdigest()}
    attachment = {
        "content_type": "application/octet-stream",
        "data": base64.b64encode(content).decode(),
        "length": len(content),
    }
    document = {
        "_id": NAME,
        "name": NAME,
        "dist-tags": {"latest": VERSION},
        "versions": {VERSION: {"name": NAME, "version": VERSION, "dist": dist}},
        "_attachments": {f"{NAME}-{VERSION}.tgz": attachment},
    }
    return "PUT", f"{PACKAGES}/npm/{NAME}", json.dumps(document).encode(), "application/json"


UPLOADS = {"pip": ("pypi", wheel_upload), "npm": ("npm", tarball_upload)}


@pytest.fixture(scope="module", params=["pip", "npm"])
def tool(request: pytest.FixtureRequest) -> str:
    """What installs."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def told(lab: Any, tool: str) -> str:
    """What the package says; it is in the registry."""
    word = uuid.uuid4().hex
    credentials = base64.b64encode(f"{ADMIN}:{lab.service_secret('gitea_admin_password')}".encode()).decode()

    def ask(method: str, address: str, body: bytes = b"", kind: str = "application/json") -> int:
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": kind}
        answer = https.call(method, address, ca=lab.ca, address=SERVICES_ADDRESS, headers=headers, body=body or None)
        return answer.status

    kind, upload = UPLOADS[tool]
    package = f"https://gitea.lab/api/v1/packages/demo/{kind}/{NAME}/{VERSION}"
    assert ask("DELETE", package) in {204, 404}
    assert ask(*upload(word)) == 201
    return word


@pytest.fixture(scope="module")
def play(appliance: Appliance, tool: str, told: str) -> Play:
    """Have a run of a project with this policy install the package; the ticket's key."""
    assert told

    def run(project: str, agent: Mapping[str, object]) -> str:
        appliance.register(project, agent=agent)
        development = appliance.work(project, "Install the till", INSTALL[tool])
        assert development["status"] == "completed", development["error_message"]
        return str(development["jira_issue_key"])

    return run


def content(path: str, key: str) -> str:
    """A file of a ticket's branch, as text."""
    return journey.branch_file(key, path).decode()


def tunnels(host: Host) -> list[dict[str, Any]]:
    """What runs asked the egress proxy for, of the registry."""
    lines = host.check_output("tail --lines 500 /var/log/squid/access.log").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["url"] == "gitea.lab:443" and entry["user"] != "-"]


def test_a_package_comes_from_the_registry_that_the_project_names(host: Host, play: Play, told: str) -> None:
    before = {entry["user"] for entry in tunnels(host)}
    key = play("PACKAGED", {"egress_hosts": ["gitea.lab"]})
    assert content("install.txt", key).endswith("status 0\n"), content("install.txt", key)
    assert content("told.txt", key).strip() == told
    new = [entry for entry in tunnels(host) if entry["user"] not in before]
    assert {entry["status"] for entry in new} == {200}
    assert len({entry["user"] for entry in new}) == 1, "each run has a token of its own"


def test_no_registry_is_reached_for_a_project_that_names_none(host: Host, play: Play) -> None:
    before = {entry["user"] for entry in tunnels(host)}
    key = play("UNPACKAGED", {})
    assert content("install.txt", key).endswith("status 1\n")
    assert "ModuleNotFoundError" in content("told.txt", key) or "Cannot find module" in content("told.txt", key)
    assert [entry for entry in tunnels(host) if entry["user"] not in before and entry["status"] == 200] == []
