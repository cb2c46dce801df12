"""Measure what preflight judges: one read-only call a host."""

from __future__ import annotations

import os
import re
import ssl
import time
import urllib.error
import urllib.request
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


def silent(urls: list[str], timeout: int, proxy: str) -> dict[str, str]:
    """The addresses that do not answer, each with the reason. Any HTTP status is an answer."""
    context = ssl.create_default_context()
    # Only whether something answers is asked: the company's authority may not be installed yet.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    opener = urllib.request.build_opener(*handlers)
    failed: dict[str, str] = {}
    for url in urls:
        try:
            with opener.open(urllib.request.Request(url, method="HEAD"), timeout=timeout):  # noqa: S310 (the operator's)
                pass
        except urllib.error.HTTPError:
            pass
        except OSError as error:
            failed[url] = str(getattr(error, "reason", error))
    return failed


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
    module.exit_json(
        changed=False,
        cpus=os.cpu_count(),
        memory_mb=memory_mb(),
        disk_gb=disk.f_blocks * disk.f_frsize // 2**30,
        disk_free_gb=disk.f_bavail * disk.f_frsize // 2**30,
        epoch=int(time.time()),
        ports={str(port): names.get(inode, "unknown") for port, inode in sockets.items()},
        silent_urls=silent(wanted["urls"], wanted["timeout"], wanted["http_proxy"]),
    )


if __name__ == "__main__":
    main()
