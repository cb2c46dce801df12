#!/usr/bin/python
"""Module ``managed_files``: keep several small files in one step."""

from __future__ import annotations

import grp
import hashlib
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
short_description: Keep several small files in one step
description:
  - Does for a list of files what M(ansible.builtin.copy) does for one, in one connection to the host, and
    says which of them it changed, so that each handler can tell whether it is meant.
  - Files are checked by their own program before they are put in place, and replaced in one step, with their
    owner and permissions from the start. When one does not pass its check, none is changed.
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
        description: What it holds; either this or O(files[].copy_of).
        type: str
      copy_of:
        description: Path of a file on the host whose content it gets.
        type: path
      mode:
        description: Its permissions.
        type: str
        default: "0644"
      owner:
        description: Whose it is, by name or number.
        type: str
        default: root
      group:
        description: Its group, by name or number.
        type: str
        default: root
      validate:
        description:
          - A command that must succeed with the new file. C(%s) stands for the file, which keeps its name while it
            is checked, C(%d) for the directory in which it is alone.
          - Units of systemd and their drop-ins (below C(/etc/systemd/system)) need none, because C(systemd-analyze)
            checks each of them.
        type: str
  directories:
    description: Directories that are to hold nothing but the listed files; others in them are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is. It is made when a file is to be in it.
        type: path
        required: true
      mode:
        description: Its permissions.
        type: str
        default: "0755"
  absent:
    description: Files that are not to be there.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    support: full
    details:
      - In check mode a file is checked when it is there already; else its program may come with the same run.
      - In check mode a file that O(files[].copy_of) names may be missing; an earlier step would have made it.
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

- name: Write the secrets of a service
  managed_files:
    files:
      - {path: /etc/example/secrets/password, content: "{{ example_password }}", mode: "0440", group: "10001"}
      - {path: /etc/example/secrets/ca.crt, copy_of: /etc/ssl/certs/ca-certificates.crt, mode: "0440", group: "10001"}
    directories:
      - {path: /etc/example/secrets, mode: "0700"}
  no_log: true
"""

RETURN = r"""
changed_paths:
  description: The files that were written, set right or removed, and the directories that were made or set right.
  type: list
  elements: str
  returned: always
digests:
  description: A short digest of each listed file's content, by path.
  type: dict
  returned: always
"""


UNITS = Path("/etc/systemd/system")
VERIFY_UNIT = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]


class RejectedError(Exception):
    """A file cannot be had, or did not pass the check of its own program."""


class Wanted:
    """One file as it is to be."""

    def __init__(self, options: dict[str, Any], module: AnsibleModule) -> None:
        self.path = Path(options["path"])
        self.mode = int(options["mode"], 8)
        self.owner: str = options["owner"]
        self.group: str = options["group"]
        self.validate: str | None = options["validate"]
        self.content = self._content(options, module)

    def _content(self, options: dict[str, Any], module: AnsibleModule) -> bytes:
        if options["copy_of"] is None:
            return str(options["content"]).encode()
        try:
            return Path(options["copy_of"]).read_bytes()
        except FileNotFoundError:
            if module.check_mode:
                return b""
            raise RejectedError(f"{options['copy_of']} is missing; {self.path} is a copy of it") from None

    def ids(self) -> tuple[int, int]:
        """The numbers of owner and group, which a package may have just made."""
        uid = int(self.owner) if self.owner.isdigit() else pwd.getpwnam(self.owner).pw_uid
        return uid, int(self.group) if self.group.isdigit() else grp.getgrnam(self.group).gr_gid

    def present(self) -> bytes | None:
        """The content that is there now, or None."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def fits(self) -> bool:
        """Whether it is a plain file with the right content, permissions and owner."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return False
        return (
            stat.S_ISREG(status.st_mode)
            and (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (self.mode, *self.ids())
            and self.present() == self.content
        )

    def check(self, module: AnsibleModule) -> None:
        """Let its program check the new content, which stands aside for that."""
        unit = self.unit()
        if not (self.validate or unit) or (module.check_mode and not self.path.exists()):
            return
        with tempfile.TemporaryDirectory(dir=module.tmpdir) as folder:
            aside = Path(
                folder, *([self.path.parent.name] if unit and self.path.suffix == ".conf" else []), self.path.name
            )
            aside.parent.mkdir(exist_ok=True)
            aside.touch(mode=0o600)
            aside.write_bytes(self.content)
            if unit:
                by, told = "systemd-analyze verify", self._complaints(module, unit, folder)
            else:
                by = str(self.validate)
                command = [part.replace("%s", str(aside)).replace("%d", folder) for part in shlex.split(by)]
                status, out, error = module.run_command(command)
                told = ((error or out).strip() or f"it ended with status {status}") if status else ""
        if told:
            raise RejectedError(f"{self.path} did not pass `{by}`: {told}")

    def unit(self) -> str | None:
        """The name of the unit that it is, or is a drop-in of."""
        if self.path.parent == UNITS:
            return self.path.name
        if self.path.parent.parent == UNITS and self.path.suffix == ".conf":
            return self.path.parent.name.removesuffix(".d")
        return None

    def _complaints(self, module: AnsibleModule, unit: str, folder: str) -> str:
        """What systemd says against it; what it says against the vendor's part of the unit is not ours to mend."""
        environment = {"SYSTEMD_UNIT_PATH": f"{folder}:", "LC_ALL": "C"}
        _, out, error = module.run_command([*VERIFY_UNIT, unit], environ_update=environment)
        return "; ".join(line.replace(f"{folder}/", "") for line in (out + error).splitlines() if folder in line)

    def place(self) -> None:
        """Put the file where it belongs."""
        self.path.parent.mkdir(0o755, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchown(handle, *self.ids())
                os.fchmod(handle, self.mode)
                file.write(self.content)
                file.flush()
                os.fsync(handle)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def digest(self) -> str:
        """What tells this content from another."""
        return hashlib.sha256(self.content).hexdigest()[:16]


class Directory:
    """A directory that holds the listed files alone."""

    def __init__(self, options: dict[str, Any], wanted: set[Path]) -> None:
        self.path = Path(options["path"])
        self.mode = int(options["mode"], 8)
        self.wanted = {path for path in wanted if path.parent == self.path}

    def fits(self) -> bool:
        """Whether its permissions are right, or it is rightly not there."""
        if not self.path.is_dir():
            return not self.wanted
        return stat.S_IMODE(self.path.stat().st_mode) == self.mode

    def others(self) -> list[Path]:
        """The files in it that nobody listed."""
        found = self.path.iterdir() if self.path.is_dir() else ()
        return [path for path in found if path not in self.wanted and not path.is_dir()]

    def make(self) -> None:
        """Have it, with its permissions before any file is in it."""
        self.path.mkdir(self.mode, parents=True, exist_ok=True)
        self.path.chmod(self.mode)


def diff_of(path: Path, before: bytes | None, after: bytes | None) -> dict[str, str]:
    """One entry of the result's diff."""
    texts = {"before": (before or b"").decode(errors="replace"), "after": (after or b"").decode(errors="replace")}
    return texts | {"before_header": str(path), "after_header": str(path)}


def keep(module: AnsibleModule) -> dict[str, Any]:
    """Do the work.

    Returns: the module's result.
    Raises:
        RejectedError: Nothing was changed.
        KeyError: So too: an owner or a group does not exist.
    """
    files = [Wanted(options, module) for options in module.params["files"]]
    paths = {file.path for file in files}
    directories = [Directory(options, paths) for options in module.params["directories"]]
    removed = [Path(path) for path in module.params["absent"] if os.path.lexists(path)]
    removed = sorted({*removed, *(path for directory in directories for path in directory.others())})
    differing = [file for file in files if not file.fits()]
    for file in differing:
        file.check(module)
    wrong = [directory for directory in directories if not directory.fits()]
    diff = [diff_of(file.path, file.present(), file.content) for file in differing]
    diff += [diff_of(path, b"present", None) for path in removed]
    if not module.check_mode:
        for directory in wrong:
            directory.make()
        for file in differing:
            file.place()
        for path in removed:
            path.unlink()
    changed = [str(path) for path in [*(d.path for d in wrong), *(file.path for file in differing), *removed]]
    digests = {str(file.path): file.digest() for file in files}
    return {"changed": bool(changed), "changed_paths": changed, "digests": digests, "diff": diff}


def main() -> None:
    """Run the module."""
    file_options = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str"},
        "copy_of": {"type": "path"},
        "mode": {"type": "str", "default": "0644"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "validate": {"type": "str"},
    }
    directory_options = {"path": {"type": "path", "required": True}, "mode": {"type": "str", "default": "0755"}}
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": file_options,
                "mutually_exclusive": [("content", "copy_of")],
                "required_one_of": [("content", "copy_of")],
            },
            "directories": {"type": "list", "elements": "dict", "default": [], "options": directory_options},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = keep(module)
    except (RejectedError, KeyError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
