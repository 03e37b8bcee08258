"""The tests that a GPU decides: the kernel contract, the inner loop on the GPU, the compile gate.

Each file runs in a process of its own; a row says how many passed and names what did not.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from ..results import Row
from ..tables import TIME, Columns
from .part import Context

COLUMNS: Columns = {
    **TIME,
    "passed": ("passed", "tests that passed"),
    "failures": ("failures", "tests that failed"),
    "skipped": ("skipped", "tests that were skipped"),
}

ROOT = Path(__file__).parents[2]
# A file, and which of its tests; the most important first.
SELECTION = {
    "tests/kernels/test_contract.py": "cupy",
    "tests/gpu/test_gpu.py": "",
    "tests/gpu/test_cu_compiles.py": "nvrtc",
    "tests/kernels/test_contract.py numba-cuda": "cuda and v1 and float32",
}
NAMED = 5  # failures that a row names


def run(context: Context) -> Iterator[Row]:
    """A row for each file."""
    for name, keyword in SELECTION.items():
        if context.left() < 10:
            yield {"case": f"pytest {name}", "variant": "", "note": "skipped: no time was left"}
            continue
        yield tested(name, keyword, context.left())


def tested(name: str, keyword: str, seconds: float) -> Row:
    """Run pytest on a file."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [*pytest_on(name.split()[0], keyword), f"--junitxml={report}"]
        start = time.perf_counter()
        try:
            done = subprocess.run(
                command, cwd=ROOT, stdout=sys.stderr, timeout=seconds,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = -1
        taken = time.perf_counter() - start
        counts = counted(report.read_text(encoding="utf-8")) if report.exists() else {}
    row: Row = {"case": f"pytest {name}", "variant": keyword, **counts}
    row |= {"seconds": taken, "low": taken, "high": taken, "failed": code not in (0, 5)}
    if code == -1:
        row["note"] = f"ended after {seconds:.0f} s"
    elif code == 5:
        row["note"] = "no such tests"
    elif code and not row.get("note"):
        row["note"] = f"pytest ended with code {code}: see gpu.log"
    return row


def pytest_on(file: str, keyword: str = "") -> list[str]:
    """pytest without its cache; warnings of other packages are not errors here."""
    command = [sys.executable, "-m", "pytest", file, "-W", "default", "-p", "no:cacheprovider"]
    return command + (["-k", keyword] if keyword else [])


def counted(text: str) -> Row:
    """How many tests passed, failed and were skipped in a JUnit report, and which failed."""
    cases = list(ElementTree.fromstring(text).iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None]
    failed += [case for case in cases if case.find("error") is not None and case not in failed]
    skipped = [case for case in cases if case.find("skipped") is not None]
    row: Row = {
        "passed": len(cases) - len(failed) - len(skipped),
        "failures": len(failed),
        "skipped": len(skipped),
    }
    names = [str(case.get("name")) for case in failed]
    if names:
        more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
        row["note"] = "failed: " + ", ".join(names[:NAMED]) + more
    elif skipped and len(skipped) == len(cases):
        row["note"] = str(skipped[0].find("skipped").get("message", ""))[:200]  # type: ignore[union-attr]
    return row
