"""Lookup ``app_tree_digest``: a name for the content of a source tree on the controller."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: app_tree_digest
author: SDLC agents appliance
short_description: Digest of the files from which an image is built
description:
  - Hashes names, execute bits and contents of the given files and folders below one root.
  - Two checkouts with the same content have the same digest, whatever their times and owners are.
    Hidden files and what Python leaves behind (C(__pycache__), C(*.egg-info)) do not count.
options:
  _terms:
    description: Files and folders, relative to O(root). Each has to exist.
    required: true
  root:
    description: The folder that holds them, on the controller.
    type: path
    required: true
  salt:
    description: Further facts that the name depends on, such as the identity of a base image.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the digest of a tree
  ansible.builtin.debug:
    msg: "{{ lookup('app_tree_digest', 'Dockerfile', 'src', root='/srv/app') }}"
"""

RETURN = r"""
_raw:
  description: One string of 16 hexadecimal digits.
  type: list
  elements: str
"""


def files_below(path: Path) -> list[Path]:
    """All files at or below *path* that count, sorted."""
    if path.is_file():
        return [path]
    return sorted(
        found
        for found in path.rglob("*")
        if found.is_file()
        and not any(
            part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info")
            for part in found.relative_to(path).parts
        )
    )


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup; see DOCUMENTATION."""

    def run(self, terms: list[str], variables: dict[str, object] | None = None, **kwargs: object) -> list[str]:
        """Digest of the files and folders in *terms*."""
        self.set_options(var_options=variables, direct=kwargs)
        root = Path(str(self.get_option("root")))
        digest = hashlib.sha256(str(self.get_option("salt")).encode())
        for term in sorted(terms):
            if not (root / term).exists():
                raise AnsibleLookupError(f"{root / term} does not exist; the image is built from it")
            for file in files_below(root / term):
                content = file.read_bytes()
                executable = bool(file.stat().st_mode & 0o100)
                name = file.relative_to(root).as_posix()
                digest.update(f"{name}\0{executable}\0{len(content)}\0".encode())
                digest.update(content)
        return [digest.hexdigest()[:16]]
