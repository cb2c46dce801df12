"""Nothing that a job starts gets away. The checks run in a process of their own, as the runner is one."""

import subprocess
import sys
import textwrap
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
PREAMBLE = """
import asyncio, os, subprocess, sys, time
from pathlib import Path
from sdlc_agents.kernel.processes import descendants, hold_descendants, kill_descendants, reap_orphans

hold_descendants()

async def wait_for(path, seconds=10):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        await asyncio.sleep(0.01)

def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False
"""


def run(script: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)],
        cwd=directory,
        env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_grandchild_that_left_its_session_is_killed(tmp_path: Path) -> None:
    run(
        """
        async def main():
            # Parent and session gone: what `nohup setsid … &` leaves behind.
            subprocess.run(["sh", "-c", "setsid sh -c 'echo $$ > pid; sleep 300' >/dev/null 2>&1 &"])
            await wait_for(Path("pid"))
            while not (text := Path("pid").read_text().strip()):
                await asyncio.sleep(0.01)
            process = int(text)
            assert alive(process) and process in descendants()
            assert await kill_descendants()
            assert not alive(process)
        asyncio.run(main())
        """,
        tmp_path,
    )


def test_processes_that_fork_as_fast_as_they_can_are_killed(tmp_path: Path) -> None:
    run(
        """
        FORKER = '''
import os, resource, time
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
open("up", "w").close()
end = time.time() + 60
while time.time() < end:
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
    else:
        time.sleep(0.002)
'''
        async def main():
            subprocess.Popen([sys.executable, "-c", FORKER], stderr=subprocess.DEVNULL)
            await wait_for(Path("up"))
            while len(descendants()) < 20:
                await asyncio.sleep(0)
            assert await kill_descendants(30)
            assert all(state in "ZX" for state in descendants().values())
        asyncio.run(main())
        """,
        tmp_path,
    )


def test_dead_orphans_are_collected_and_awaited_children_are_not_stolen(tmp_path: Path) -> None:
    run(
        """
        async def main():
            reaper = asyncio.create_task(reap_orphans())
            subprocess.run(["sh", "-c", "(sleep 0.1; exit 3) & exit 0"])
            mine = await asyncio.create_subprocess_exec("sh", "-c", "sleep 2.5; exit 7")
            assert await mine.wait() == 7
            deadline = time.monotonic() + 10
            while descendants():
                assert time.monotonic() < deadline, descendants()
                await asyncio.sleep(0.05)
            reaper.cancel()
        asyncio.run(main())
        """,
        tmp_path,
    )


def test_a_process_of_the_same_user_cannot_read_the_runners_memory(tmp_path: Path) -> None:
    run(
        """
        import ctypes
        if os.getuid() == 0:
            # Root may read everything: the check needs an ordinary user, as in the container.
            os.setgid(10001)
            os.setuid(10001)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        look = ["cat", f"/proc/{os.getpid()}/environ"]
        assert subprocess.run(look, stdout=subprocess.DEVNULL).returncode == 0, "the check itself is blind"
        hold_descendants()
        refused = subprocess.run(look, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert b"Permission denied" in refused.stderr
        """,
        tmp_path,
    )
