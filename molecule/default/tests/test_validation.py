"""A configuration that its own program refuses is not put in place, whatever wrote it.

Each case takes what is on the host, breaks one line of it, and hands it to the module with the check of its role.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

CHECKOUT = Path(__file__).resolve().parents[3]
UNITS = "/etc/systemd/system"

# Role, path, what is appended to the file, and words of the refusal.
CASES = [
    ("rabbitmq", "/etc/rabbitmq/rabbitmq.conf", "nonsense = 1", "unknown variable: nonsense"),
    ("rabbitmq", "/etc/rabbitmq/rabbitmq.conf", "disk_free_limit.absolute = lots", "disk_free_limit.absolute invalid"),
    ("rabbitmq", "/etc/rabbitmq/enabled_plugins", "[a, b", "syntax error"),
    ("rabbitmq", "/etc/rabbitmq/rabbitmq-env.conf", 'A="', "Unterminated quoted string"),
    ("rabbitmq", "/etc/rabbitmq/definitions.json", "}", "Extra data"),
    ("rabbitmq", f"{UNITS}/rabbitmq-server.service.d/appliance.conf", "MemoryMax=lots", "Invalid memory limit 'lots'"),
    ("rabbitmq", f"{UNITS}/epmd.socket.d/appliance.conf", "ListenStream=here:99999", "Failed to parse address"),
    ("mongodb", f"{UNITS}/mongod.service.d/appliance.conf", "CPUQuota=all", "Invalid CPU quota 'all'"),
    ("mongodb", "/etc/mongod.conf", "nonsense: 1", "nonsense"),
    ("mongodb", "/etc/logrotate.d/mongodb", "/var/log/none {\n  dayly\n}", "unknown option 'dayly'"),
    ("mongodb", "/etc/logrotate.d/mongodb", "/var/log/none {\n  rotate many\n}", "bad rotation count 'many'"),
    ("mongodb", "/etc/tmpfiles.d/mongodb.conf", "Z9 /x", "Unknown modifiers"),
    ("prometheus", f"{UNITS}/prometheus.service", "[Service]\nRestart=sometimes", "Failed to parse Restart=sometimes"),
    ("prometheus", "/etc/prometheus/prometheus.yml", "nonsense: 1", "nonsense"),
    ("exporters", f"{UNITS}/prometheus-node-exporter.service", "[Service]\nNonsense=1", "Unknown key"),
    ("backup", "/etc/cron.d/sdlc-backup", "99 * * * * root true", "bad minute"),
    ("backup", "/etc/sdlc-agents/backup/config.json", "}", "Extra data"),
    ("base", "/etc/apt/sources.list.d/debian.sources", "\nTypes: deb\nSuits: none\n", "Malformed entry"),
    ("base", "/etc/nftables.conf", "nonsense", "syntax error"),
    ("base", "/etc/ssh/sshd_config.d/00-sdlc-agents.conf", "Nonsense yes", "Bad configuration option: Nonsense"),
    ("base", f"{UNITS}/nftables.service.d/sdlc-agents.conf", "Nonsense=1", "Unknown key"),
    ("squid", "/etc/squid/squid.conf", "http_port many", "missing Port: many"),
    ("squid", f"{UNITS}/squid.service.d/sdlc-agents.conf", "Nonsense=1", "Unknown key"),
    ("docker", "/etc/docker/daemon.json", "}", "invalid character"),
]


def found(node: object) -> Iterator[Mapping[str, Any]]:
    """Every mapping in a YAML document that describes a file."""
    if isinstance(node, dict):
        if "path" in node and "content" in node:
            yield node
        for value in node.values():
            yield from found(value)
    elif isinstance(node, list):
        for value in node:
            yield from found(value)


def check_of(role: str, path: str) -> str | None:
    """The check that a role gives a file; None where it leaves that to the module."""
    folder = CHECKOUT / "roles" / role
    variables: dict[str, Any] = yaml.safe_load((folder / "vars" / "main.yml").read_text())

    def resolved(text: str) -> str:
        return re.sub(r"\{\{ (\w+) \}\}", lambda name: str(variables.get(name[1], name[0])), text)

    documents = [variables, *(yaml.safe_load(file.read_text()) for file in folder.glob("tasks/*.yml"))]
    described = {resolved(file["path"]): file.get("validate") for document in documents for file in found(document)}
    check = described.get(path) if path.startswith(UNITS) else described[path]
    return resolved(check) if check else None


@pytest.fixture(scope="module")
def refused(host: Host, lab: Any, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """What the module said of each case, and the file as it was; one run of Ansible for all of them."""
    items, before = [], []
    for role, path, broken, _ in CASES:
        check = check_of(role, path)
        before.append(host.file(path).content_string)
        # Nothing in it is Ansible's to expand.
        content = "{% raw %}" + f"{before[-1]}{broken}\n" + "{% endraw %}"
        items.append({"path": path, "content": content, "mode": "0600"} | ({"validate": check} if check else {}))
    task = {"name": "Write", "managed_files": {"files": ["{{ item }}"]}, "loop": items, "ignore_errors": True}
    folder = tmp_path_factory.mktemp("validation")
    (folder / "play.yml").write_text(json.dumps([{"hosts": lab.name, "gather_facts": False, "tasks": [task]}]))
    environment = {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", lab.inventory, folder / "play.yml"],
        cwd=CHECKOUT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    # Beside the answer stand the times of the tasks.
    answer = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{\n"))[0]
    results = answer["plays"][0]["tasks"][0]["hosts"][lab.name]["results"]
    told = [str(result["msg"]) if result.get("failed") else "was put in place" for result in results]
    return list(zip(told, before, strict=True))


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{case[1]}: {case[2][:20]}" for case in CASES])
def test_a_broken_file_is_refused_before_it_is_in_place(host: Host, refused: list[tuple[str, str]], case: int) -> None:
    _, path, _, told = CASES[case]
    message, before = refused[case]
    assert f"{path} did not pass" in message
    assert told in message
    assert host.file(path).content_string == before
