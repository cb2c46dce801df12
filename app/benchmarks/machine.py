"""What the run was done on."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """Cores, memory, kernel."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    memory = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1]) // 2**20
    return f"{os.cpu_count()} cores ({model}), {memory} GiB, Linux {platform.release()}"
