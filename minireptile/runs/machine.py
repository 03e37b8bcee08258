"""The machine that a command runs on: its processor, its cores, the threads of its BLAS."""

import os
import platform
from pathlib import Path

from ..errors import require


def processor() -> str:
    """The processor's name, as the system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return named[0] if named else platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))


def blas_threads() -> int:
    """How many threads BLAS has now; `MissingPackage` where nobody can tell."""
    pools = require("threadpoolctl", "cli").threadpool_info()
    return max((pool["num_threads"] for pool in pools if pool["user_api"] == "blas"), default=1)
