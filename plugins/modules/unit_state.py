#!/usr/bin/python
"""Module ``unit_state``: which systemd units are down, or have not read what was written since."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: unit_state
author: SDLC AI Agents
short_description: Compare systemd units with the files that they read
description:
  - Says which units are down, and which are older than one of their files. It asks the host alone, so it does not
    matter whether the file was written by this run, by one that was interrupted, or by hand.
  - Changes nothing, so it runs in check mode too.
options:
  units:
    description: The units.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name, with its suffix.
        type: str
        required: true
      read:
        description: Files that it reads when it starts and when it is reloaded. A missing file does not count.
        type: list
        elements: path
        default: []
      read_at_start:
        description: Files that it reads only when it starts. A missing file does not count.
        type: list
        elements: path
        default: []
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Compare the proxy with its files
  unit_state:
    units:
      - name: proxy.service
        read: [/etc/proxy/proxy.conf]
        read_at_start: [/etc/systemd/system/proxy.service.d/limits.conf]
  register: __proxy_state
"""

RETURN = r"""
down:
  description: Units that are not active.
  type: list
  elements: str
  returned: always
disabled:
  description: Units that are not enabled, so that they would not come back after a restart of the host.
  type: list
  elements: str
  returned: always
restart:
  description: Active units that started before one of their files was written, of those that they read at start only.
  type: list
  elements: str
  returned: always
reload:
  description: Active units that have neither started nor been reloaded since one of their other files was written.
  type: list
  elements: str
  returned: always
"""

SHOW = ["systemctl", "show", "--timestamp=us+utc"]
PROPERTIES = ("Id", "ActiveState", "UnitFileState", "StateChangeTimestamp", "ExecMainStartTimestamp")


def moment(told: str) -> float:
    """A time as systemctl tells it, in seconds since 1970; 0 when it never was."""
    if not told:
        return 0
    utc = told.removesuffix(" UTC") + " +0000"
    return datetime.datetime.strptime(utc, "%a %Y-%m-%d %H:%M:%S.%f %z").timestamp()


def written(paths: list[str]) -> float:
    """When the last of these files got its content, owner or permissions; 0 when there is none."""
    return max((Path(path).stat().st_ctime for path in paths if Path(path).exists()), default=0)


def main() -> None:
    """Run the module."""
    files = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"name": {"type": "str", "required": True}, "read": files, "read_at_start": files},
            },
        },
        supports_check_mode=True,
    )
    units: dict[str, dict[str, Any]] = {unit["name"]: unit for unit in module.params["units"]}
    state: dict[str, list[str]] = {"down": [], "disabled": [], "restart": [], "reload": []}
    command = [*SHOW, f"--property={','.join(PROPERTIES)}", "--", *units]
    _, out, _ = module.run_command(command, check_rc=True, environ_update={"LC_ALL": "C"})
    for name, told in zip(units, out.strip().split("\n\n"), strict=True):
        shown = dict(line.split("=", 1) for line in told.splitlines())
        if shown.get("UnitFileState") != "enabled":
            state["disabled"].append(name)
        if shown["ActiveState"] != "active":
            state["down"].append(name)
        elif moment(shown.get("ExecMainStartTimestamp", "")) < written(units[name]["read_at_start"]):
            state["restart"].append(name)
        elif moment(shown["StateChangeTimestamp"]) < written(units[name]["read"]):
            state["reload"].append(name)
    module.exit_json(changed=False, **state)


if __name__ == "__main__":
    main()
