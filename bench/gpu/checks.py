"""What timing does not show: memory errors and races in the kernels, and the same bits twice.

compute-sanitizer watches the contract tests of a few operations. CuPy's memory pool is switched off
for that: inside the pool's large blocks, an access beyond an array is one to memory of the
program's own.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.backend import why_not

from ..results import Row
from ..runs import images
from ..settings import OMNIGLOT, QUICK
from ..tables import TIME, Columns
from .part import Context

COLUMNS: Columns = TIME

ROOT = Path(__file__).parents[2]
TOOL = "compute-sanitizer"
FOUND = 9  # the exit code that it is asked for when it finds something
CONTRACT = "test_numbers_of_the_reference and float32 and cupy"
# What each tool is worth most on: races need shared memory.
SELECTION = {
    "memcheck": CONTRACT,
    "racecheck": f"{CONTRACT} and (conv2d or dense or batchnorm or softmax) and not v1",
}
MORE = {"memcheck": ("--report-api-errors", "no")}  # asking what a card can do is no error
COMPLAINT = re.compile(r"Invalid|Misaligned|Race reported|hazard|Out-of-range", re.I)
PROGRAM = """
import sys
import cupy
cupy.cuda.set_allocator(None)
cupy.cuda.set_pinned_memory_allocator(None)
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def run(context: Context) -> Iterator[Row]:
    """Rows of determinism, then of each tool."""
    for backend in ("cupy", "numba-cuda"):
        if not why_not(backend):
            yield twice(backend, context.quick)
    for i, (tool, keyword) in enumerate(SELECTION.items()):
        yield sanitized(tool, keyword, context.left() / (len(SELECTION) - i) - 2)


def twice(backend: str, quick: bool) -> Row:
    """Whether two runs in one process, each with a model of its own, end in the same bits."""
    small = quick or backend == "numba-cuda"
    thetas = [learned(backend, "mean", small), learned(backend, "mean", small)]
    thetas += [learned(backend, "carry", small), learned(backend, "carry", small)]
    same = all(a.tobytes() == b.tobytes() for a, b in (thetas[:2], thetas[2:]))
    note = "the same bits" if same else "the bits differ"
    return {"case": "two runs", "variant": backend, "failed": not same, "note": note}


def learned(backend: str, state: str, small: bool) -> NDArray:
    """Theta after a few outer iterations."""
    setting = QUICK if small else OMNIGLOT
    loops = mr.Loops(
        3 if small else 50, meta_batch=setting.tasks, inner_steps=setting.steps,
        inner_batch=setting.batch, train_shots=10, state=state,
    )  # fmt: skip
    tasks = images(20, 20, (setting.size, setting.size), bool)
    *_, last = mr.reptile(setting.model(backend), tasks, setting.optimizer, loops)
    return np.array(last.theta)


def sanitized(tool: str, keyword: str, seconds: float) -> Row:
    """Run the contract tests under a tool of compute-sanitizer's, for so many seconds at most."""
    row: Row = {"case": f"{TOOL} {tool}", "variant": keyword}
    if shutil.which(TOOL) is None:
        return {**row, "note": f"{TOOL} is not installed"}
    if seconds < 10:
        return {**row, "note": "skipped: no time was left"}
    command = [
        TOOL, "--tool", tool, "--target-processes", "all", "--error-exitcode", str(FOUND),
        "--print-limit", "20", *MORE.get(tool, ()),
        sys.executable, "-c", PROGRAM, "tests/kernels/test_contract.py", "-W", "default",
        "-p", "no:cacheprovider", "-k", keyword,
    ]  # fmt: skip
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=seconds,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        found = errors_in(text)
        note = f"ended after {seconds:.0f} s; until then: {found or 'nothing found'}"
        return {**row, "failed": bool(found), "note": note}
    print(done.stdout[-20000:], done.stderr[-5000:], file=sys.stderr)
    taken = time.perf_counter() - start
    row |= {"seconds": taken, "low": taken, "high": taken}
    found = errors_in(done.stdout)
    note = found or summary(done.stdout) or f"exit code {done.returncode}"
    return {**row, "failed": bool(done.returncode or found), "note": note}


def errors_in(text: str) -> str:
    """The first thing that the tool complains about; "" for none."""
    for line in text.splitlines():
        if line.startswith("=====") and "SUMMARY" not in line and COMPLAINT.search(line):
            return line.lstrip("= ")[:200]
    return ""


def summary(text: str) -> str:
    """What the tool and pytest say at the end."""
    lines = [line.lstrip("= ") for line in text.splitlines()]
    last = [line for line in lines if "SUMMARY" in line or re.search(r"\d+ (passed|failed)", line)]
    return "; ".join(last)[:200]
