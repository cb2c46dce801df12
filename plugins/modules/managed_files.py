#!/usr/bin/python
"""Module ``managed_files``: keep several small configuration files in one step."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: managed_files
author: SDLC AI Agents
short_description: Keep several small configuration files in one step
description:
  - Does for a list of files what M(ansible.builtin.copy) does for one, in one connection to the host, and
    says which of them it changed, so that each handler can tell whether it is meant.
  - Files are checked by their own program before they are put in place, and replaced in one step. When one
    does not pass its check, none is changed.
options:
  files:
    description: The files.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is. Missing directories above it are made, mode 0755.
        type: path
        required: true
      content:
        description: What it holds.
        type: str
        required: true
      mode:
        description: Its permissions.
        type: str
        default: "0644"
      owner:
        description: Whose it is.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
      validate:
        description: A command that must succeed with the new file, whose name stands for C(%s).
        type: str
  directories:
    description: Directories that are to hold nothing but the listed files; others in them are removed.
    type: list
    elements: path
    default: []
  absent:
    description: Files that are not to be there.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    support: full
    details: Programs that check a file are run in check mode too, where they are installed.
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Write the settings of the proxy
  managed_files:
    files:
      - path: /etc/proxy/proxy.conf
        content: "{{ lookup('ansible.builtin.template', 'proxy.conf.j2') }}"
        validate: proxy --check %s
      - path: /etc/systemd/system/proxy.service.d/limits.conf
        content: "{{ lookup('ansible.builtin.template', 'proxy.service.conf.j2') }}"
  register: __proxy_files
  notify: Reload proxy # when: "'/etc/proxy/proxy.conf' in __proxy_files.changed_paths"
"""

RETURN = r"""
changed_paths:
  description: The files that were written, set right or removed.
  type: list
  elements: str
  returned: always
modified:
  description: When each listed file was last written, in seconds since 1970, by path; without those that are not there.
  type: dict
  returned: always
"""


class RejectedError(Exception):
    """A file did not pass the check of its own program."""


class Wanted:
    """One file as it is to be."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.path = Path(options["path"])
        self.content: bytes = options["content"].encode()
        self.mode = int(options["mode"], 8)
        self.owner: str = options["owner"]
        self.group: str = options["group"]
        self.validate: str | None = options["validate"]
        self.staged = Path()

    def ids(self) -> tuple[int, int]:
        """The numbers of owner and group, which a package may have just made."""
        return pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.group).gr_gid

    def present(self) -> bytes | None:
        """The content that is there now, or None."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def fits(self) -> bool:
        """Whether content, permissions and owner are right as they are."""
        if self.present() != self.content:
            return False
        status = self.path.stat()
        return (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (self.mode, *self.ids())

    def stage(self, module: AnsibleModule) -> None:
        """Write the new file aside and let its program check it."""
        handle, staged = tempfile.mkstemp(dir=module.tmpdir, suffix=self.path.name)
        self.staged = Path(staged)
        with os.fdopen(handle, "wb") as file:
            file.write(self.content)
        if self.validate:
            command = [part.replace("%s", staged) for part in shlex.split(self.validate)]
            if module.check_mode and module.get_bin_path(command[0]) is None:
                # Its package would come with the same run.
                return
            status, out, error = module.run_command(command)
            if status != 0:
                raise RejectedError(f"{self.path} did not pass `{self.validate}`: {(error or out).strip()}")

    def place(self, module: AnsibleModule) -> None:
        """Put the staged file where it belongs."""
        self.path.parent.mkdir(0o755, parents=True, exist_ok=True)
        os.chown(self.staged, *self.ids())
        self.staged.chmod(self.mode)
        module.atomic_move(str(self.staged), str(self.path))
        # atomic_move keeps what a file that was there had.
        os.chown(self.path, *self.ids())
        self.path.chmod(self.mode)


def unwanted(directories: list[str], absent: list[str], wanted: set[Path]) -> list[Path]:
    """The files to remove."""
    found = [Path(path) for path in absent if os.path.lexists(path)]
    for directory in map(Path, directories):
        if directory.is_dir():
            found += [path for path in directory.iterdir() if path not in wanted and not path.is_dir()]
    return sorted(found)


def diff_of(path: Path, before: bytes | None, after: bytes | None) -> dict[str, str]:
    """One entry of the result's diff."""
    texts = {"before": (before or b"").decode(errors="replace"), "after": (after or b"").decode(errors="replace")}
    return texts | {"before_header": str(path), "after_header": str(path)}


def main() -> None:
    """Run the module."""
    file_options = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "validate": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "default": [], "options": file_options},
            "directories": {"type": "list", "elements": "path", "default": []},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    files = [Wanted(options) for options in module.params["files"]]
    removed = unwanted(module.params["directories"], module.params["absent"], {file.path for file in files})
    try:
        differing = [file for file in files if not file.fits()]
        for file in differing:
            file.stage(module)
    except (RejectedError, KeyError) as error:
        module.fail_json(msg=str(error))
    diff = [diff_of(file.path, file.present(), file.content) for file in differing]
    diff += [diff_of(path, b"present", None) for path in removed]
    if not module.check_mode:
        for file in differing:
            file.place(module)
        for path in removed:
            path.unlink()
    changed_paths = [str(path) for path in [file.path for file in differing] + removed]
    modified = {str(file.path): int(file.path.stat().st_mtime) for file in files if file.path.exists()}
    module.exit_json(changed=bool(changed_paths), changed_paths=changed_paths, modified=modified, diff=diff)


if __name__ == "__main__":
    main()
