"""The runner's container as near as a test process gets to it, so that "the model does what the attacker says" is safe.

As in the container, the runner is process 1 of its process namespace, /job is a small file system in memory, and there
are no capabilities and no way to get any. What only the container has (its own user, network, read-only root, limits
of memory and processes) is tested on a host: molecule/default/tests/test_hostile_runs.py.
"""

import os
from contextlib import suppress
from pathlib import Path

JOB_MEGABYTES = 192
_MOUNT = 'mount -t tmpfs -o "size=$2m,mode=0700" job "$1" && shift 2 && exec "$@"'
_WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs")


def shut_in(job_directory: Path) -> tuple[str, ...]:
    """The command that runs a runner with this job directory; killing it kills everything in it."""
    user = () if os.getuid() == 0 else ("--user", "--map-root-user")
    namespaces = ("unshare", *user, "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
    mount = ("sh", "-c", _MOUNT, "sh", str(job_directory), str(JOB_MEGABYTES))
    return (*namespaces, *mount, *_WITHOUT_CAPABILITIES)


class Namespace:
    """The process namespace of the child of `unshare`; while it is open, no other gets its number."""

    def __init__(self, process: int) -> None:
        child = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()[0]
        self._descriptor = os.open(f"/proc/{child}/ns/pid", os.O_RDONLY)
        self._number = os.fstat(self._descriptor).st_ino

    def processes(self) -> list[int]:
        """Those that are in it."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and (entry / "ns/pid").stat().st_ino == self._number:
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Let it go."""
        os.close(self._descriptor)
