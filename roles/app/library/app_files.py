#!/usr/bin/python
"""Module ``app_files``: keep one folder of small files, such as secrets, in one step."""

from __future__ import annotations

import grp
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: app_files
author: SDLC agents appliance
short_description: Keep a folder of small files exactly as described
description:
  - Writes every described file, replaces those that differ, removes files that are not described.
  - Files are replaced atomically, owned by root and readable by one group at most.
  - Contents are never part of the result. A digest for each reader, over all the files that it reads,
    is, so that a reader can be restarted when one of its files changes, and only then.
options:
  path:
    description: The folder. It is made with mode 0700 when it is missing.
    type: path
    required: true
  group:
    description: Name or number of the group that may read the files.
    type: str
    required: true
  files:
    description: File name to content.
    type: dict
    default: {}
  copies:
    description: File name to the path of a file on the host whose content it gets.
    type: dict
    default: {}
  readers:
    description: Name of a reader to the names of the files that it reads.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Write the secrets of a service
  app_files:
    path: /etc/example/secrets
    group: "10001"
    files:
      password: "{{ example_password }}"
    copies:
      ca.crt: /etc/ssl/certs/ca-certificates.crt
    readers:
      service: [password, ca.crt]
"""

RETURN = r"""
digests:
  description: Reader to one digest of all the files that it reads.
  type: dict
  returned: always
written:
  description: Names of the files that were missing or differed.
  type: list
  elements: str
  returned: always
removed:
  description: Names of the files that were not described.
  type: list
  elements: str
  returned: always
"""

MODE = 0o440
FOLDER_MODE = 0o700


def as_it_should_be(path: Path, content: bytes, gid: int) -> bool:
    """Whether *path* is a plain file with that content, owner, group and mode."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return (
        stat.S_ISREG(found.st_mode)
        and stat.S_IMODE(found.st_mode) == MODE
        and (found.st_uid, found.st_gid) == (0, gid)
        and path.read_bytes() == content
    )


def replace(path: Path, content: bytes, gid: int) -> None:
    """Put *content* at *path* in one step, with its final owner and mode from the start."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(descriptor, 0, gid)
            os.fchmod(descriptor, MODE)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def digest(contents: dict[str, bytes]) -> str:
    """One short digest of several files together."""
    state = hashlib.sha256()
    for name, content in sorted(contents.items()):
        state.update(f"{name}\0{len(content)}\0".encode())
        state.update(content)
    return state.hexdigest()[:16]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "group": {"type": "str", "required": True},
            "files": {"type": "dict", "default": {}, "no_log": True},
            "copies": {"type": "dict", "default": {}},
            "readers": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    parameters: dict[str, Any] = module.params
    folder = Path(parameters["path"])
    group: str = parameters["group"]
    gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid

    contents = {name: str(content).encode() for name, content in parameters["files"].items()}
    for name, source in parameters["copies"].items():
        try:
            contents[name] = Path(source).read_bytes()
        except FileNotFoundError:
            if not module.check_mode:
                module.fail_json(msg=f"{source} is missing; {folder / name} is a copy of it")
            contents[name] = b""  # a check of a bare host: an earlier step would have made it
    wrong = sorted(name for name in contents if not name or "/" in name or name.startswith("."))
    unknown = sorted({name for names in parameters["readers"].values() for name in names} - set(contents))
    if wrong or unknown:
        module.fail_json(msg=f"not names of files in one folder: {wrong}; read but not written: {unknown}")

    written = sorted(name for name in contents if not as_it_should_be(folder / name, contents[name], gid))
    removed = sorted(set(os.listdir(folder)) - set(contents)) if folder.is_dir() else []
    folder_differs = not folder.is_dir() or stat.S_IMODE(folder.stat().st_mode) != FOLDER_MODE
    if not module.check_mode:
        if folder_differs:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(FOLDER_MODE)
        for name in written:
            replace(folder / name, contents[name], gid)
        for name in removed:
            (folder / name).unlink()
    module.exit_json(
        changed=bool(written or removed or folder_differs),
        written=written,
        removed=removed,
        digests={
            reader: digest({name: contents[name] for name in names}) for reader, names in parameters["readers"].items()
        },
    )


if __name__ == "__main__":
    main()
