"""Measure what preflight judges: one read-only call a host."""

from __future__ import annotations

import gzip
import os
import platform
import re
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: preflight_probe
short_description: Measure memory, disk, clock, busy ports and reachable addresses
description:
  - Reads C(/proc) and asks the given addresses. Changes nothing, in check mode or out of it.
options:
  ports:
    description: TCP ports to look up.
    type: list
    elements: int
    default: []
  urls:
    description: Addresses to ask.
    type: list
    elements: str
    default: []
  packages:
    description: Packages to look up in the indexes of apt repositories.
    type: list
    elements: dict
    default: []
    suboptions:
      package:
        description: Name of the package.
        type: str
        required: true
      url:
        description: Address of the repository.
        type: str
        required: true
      suite:
        description: Its suite.
        type: str
        required: true
      component:
        description: Its component.
        type: str
        required: true
  timeout:
    description: Seconds to wait for each address.
    type: int
    default: 10
  http_proxy:
    description: The HTTP proxy to ask through.
    type: str
    default: ""
  path:
    description: The path whose file system is measured.
    type: path
    required: true
author: SDLC AI Agents
"""

LISTEN = "0A"


def listening(ports: set[int]) -> dict[int, str]:
    """The wanted ports that something listens on, each with its socket's inode (see proc_net_tcp(5))."""
    found: dict[int, str] = {}
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name, encoding="ascii") as table:
                rows = table.read().splitlines()[1:]
        except FileNotFoundError:
            continue
        for row in rows:
            field = row.split()
            port = int(field[1].rsplit(":", 1)[1], 16)
            if field[3] == LISTEN and port in ports:
                found[port] = field[9]
    return found


def owners(inodes: set[str]) -> dict[str, str]:
    """The name of the process that holds each socket, by the socket's inode."""
    names: dict[str, str] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                match = re.fullmatch(r"socket:\[(\d+)\]", target)
                if match and match[1] in inodes:
                    with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                        names[match[1]] = comm.read().strip()
        except OSError:  # the process has ended, or is not ours to look into
            continue
    return names


def opener(proxy: str) -> urllib.request.OpenerDirector:
    """What asks addresses, through the proxy if there is one."""
    context = ssl.create_default_context()
    # Only whether something answers is asked: the company's authority may not be installed yet.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    return urllib.request.build_opener(*handlers)


def silent(urls: list[str], timeout: int, ask: urllib.request.OpenerDirector) -> dict[str, str]:
    """The addresses that do not answer, each with the reason. Any HTTP status is an answer."""
    failed: dict[str, str] = {}
    for url in urls:
        try:
            with ask.open(urllib.request.Request(url, method="HEAD"), timeout=timeout):  # noqa: S310 (the operator's)
                pass
        except urllib.error.HTTPError:
            pass
        except OSError as error:
            failed[url] = str(getattr(error, "reason", error))
    return failed


def missing(
    packages: Sequence[dict[str, str]], timeout: int, ask: urllib.request.OpenerDirector
) -> dict[str, list[str]]:
    """Reason to the packages that their repository does not carry; see https://wiki.debian.org/DebianRepository/Format."""
    failed: dict[str, list[str]] = {}
    known: dict[str, set[str] | str] = {}
    for wanted in packages:
        base = f"{wanted['url'].rstrip('/')}/dists/{wanted['suite']}/{wanted['component']}/binary-{architecture()}"
        if base not in known:
            known[base] = carried(base, timeout, ask)
        names = known[base]
        if isinstance(names, str):
            failed.setdefault(names, []).append(wanted["package"])
        elif names and wanted["package"] not in names:
            failed.setdefault(f"not in {base}", []).append(wanted["package"])
    return failed


def carried(base: str, timeout: int, ask: urllib.request.OpenerDirector) -> set[str] | str:
    """The names of the packages of an index, none if it wants a login, or why it cannot be read."""
    reason = ""
    for name in ("Packages.gz", "Packages"):
        try:
            with ask.open(f"{base}/{name}", timeout=timeout) as answer:
                content = answer.read()
            text = gzip.decompress(content) if name.endswith(".gz") else content
        except urllib.error.HTTPError as error:
            if error.code in {401, 403, 407}:
                return set()
            reason = f"{base}/{name} answers {error.code}"
        except (OSError, EOFError, zlib.error) as error:
            reason = f"{base}/{name}: {getattr(error, 'reason', error)}"
        else:
            found = re.findall(r"^Package: (\S+)$", text.decode("utf-8", "replace"), re.MULTILINE)
            return set(found) or f"{base} carries nothing"
    return reason


def architecture() -> str:
    """Debian's name of this machine's architecture."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def memory_mb() -> int:
    """The host's memory in MiB, or its control group's limit where that is less."""
    with open("/proc/meminfo", encoding="ascii") as table:
        total = int(table.readline().split()[1]) // 1024
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(name, encoding="ascii") as limit:
                total = min(total, int(limit.read()) // 2**20)
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return total


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "int", "default": []},
            "urls": {"type": "list", "elements": "str", "default": []},
            "packages": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    name: {"type": "str", "required": True} for name in ("package", "url", "suite", "component")
                },
            },
            "timeout": {"type": "int", "default": 10},
            "http_proxy": {"type": "str", "default": ""},
            "path": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    wanted: dict[str, Any] = module.params
    sockets = listening(set(wanted["ports"]))
    names = owners(set(sockets.values()))
    disk = os.statvfs(wanted["path"])
    ask = opener(wanted["http_proxy"])
    module.exit_json(
        changed=False,
        cpus=os.cpu_count(),
        memory_mb=memory_mb(),
        disk_gb=disk.f_blocks * disk.f_frsize // 2**30,
        disk_free_gb=disk.f_bavail * disk.f_frsize // 2**30,
        epoch=int(time.time()),
        ports={str(port): names.get(inode, "unknown") for port, inode in sockets.items()},
        silent_urls=silent(wanted["urls"], wanted["timeout"], ask),
        missing_packages=missing(wanted["packages"], wanted["timeout"], ask),
    )


if __name__ == "__main__":
    main()
