"""Memory that the inner loop takes, in a process of its own.

    python -m bench.memory NETWORK STEPS BACKEND

Prints JSON: the setting (of Mini-ImageNet with one task); `resident_bytes`, by how much the largest
resident set exceeds the one before the loop; `traced_bytes`, the largest sum of what Python and
NumPy held at a time. The first includes what compiled code allocates and what the allocator keeps,
the second memory that was asked for and never touched. The mini-batches and phi were there before
and do not count.
"""

import gc
import json
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np

import minireptile as mr

from .machine import blas_threads
from .settings import MINIIMAGENET, OMNIGLOT, SINE, Setting

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(peak: bool) -> int | None:
    """Bytes of the resident set, now or at its largest since `forget_peak`; None if unknown."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    key = "VmHWM:" if peak else "VmRSS:"
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def forget_peak() -> bool:
    """Start the largest resident set anew; whether the system can."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def adapt(setting: Setting, backend: str, trace: bool) -> tuple[int | None, int | None]:
    """The largest resident set above the start, and the largest traced sum if asked for."""
    model = setting.model(backend)
    x, y = setting.data()
    phi = np.repeat(model.init(0)[None], setting.tasks, axis=0)
    gc.collect()
    if trace:  # tracing takes memory itself, so the resident set is measured without it
        tracemalloc.start()
        mr.adapt(model, phi, x, y, setting.optimizer)
        traced = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return None, traced
    known = forget_peak()
    before = resident(peak=False)
    mr.adapt(model, phi, x, y, setting.optimizer)
    after = resident(peak=True)
    return (after - before if known and before and after else None), None


def main(arguments: list[str]) -> None:
    network, steps, backend = arguments
    settings = OMNIGLOT, replace(MINIIMAGENET, tasks=1), SINE
    known = {setting.network: setting for setting in settings}
    setting = replace(known[network], steps=int(steps))
    with blas_threads(1):
        # Imports and compilation happen on a loop so small that what it leaves does not matter.
        adapt(replace(setting, tasks=2, batch=2, steps=1), backend, trace=False)
        above, _ = adapt(setting, backend, trace=False)
        _, traced = adapt(setting, backend, trace=True)
    print(json.dumps({"of": str(setting), "resident_bytes": above, "traced_bytes": traced}))


if __name__ == "__main__":
    main(sys.argv[1:])
