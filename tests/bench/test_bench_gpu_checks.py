"""The tests and checks that a GPU decides, without one: their reports, and how they are run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bench import gpu_checks, gpu_tests

from .bench_gpu_helpers import TINY

# ---------------------------------------------------------------------------------------- the tests

JUNIT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><failure message="x"/></testcase>
<testcase name="c"><error message="x"/></testcase>
<testcase name="d"><skipped message="s"/></testcase>
</testsuite></testsuites>"""


def test_a_report_of_tests_is_counted() -> None:
    row = gpu_tests.counted(JUNIT)
    assert (row["passed"], row["failures"], row["skipped"]) == (1, 2, 1)
    assert row["note"] == "failed: b, c"
    skipped = '<testsuite><testcase name="d"><skipped message="no GPU"/></testcase></testsuite>'
    assert gpu_tests.counted(skipped)["note"] == "no GPU"


def test_pytest_runs_in_a_process_of_its_own() -> None:
    good = gpu_tests.tested("tests/bench/test_bench_measure.py", "turn and not repeated", 60)
    assert not good["failed"]
    none = gpu_tests.tested("tests/bench/test_bench_measure.py", "no_such_test", 60)
    assert none["note"] == "no such tests"
    late = gpu_tests.tested("tests/bench/test_bench_measure.py", "", 0.01)
    assert late["failed"]
    assert "ended after" in late["note"]


def test_every_file_of_tests_is_there() -> None:
    for name in gpu_tests.SELECTION:
        assert (gpu_tests.ROOT / name.split()[0]).exists()


# --------------------------------------------------------------------------------------- the checks

MEMCHECK = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at conv2d_forward_v1+0x2f0
========= ERROR SUMMARY: 1 error
"""
RACECHECK = """========= Error: Race reported between Write access at product+0x80
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
CLEAN = """========= COMPUTE-SANITIZER
48 passed in 20.00s
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
"""


def test_what_the_sanitizer_says_is_read() -> None:
    assert gpu_checks.errors_in(MEMCHECK).startswith("Invalid __global__ read")
    assert gpu_checks.errors_in(RACECHECK).startswith("Error: Race reported")
    assert gpu_checks.errors_in(CLEAN) == ""
    assert gpu_checks.summary(CLEAN).startswith("48 passed")


@pytest.mark.parametrize(
    ("program", "failed", "words"),
    [
        (f"print({CLEAN!r})", False, "48 passed"),
        (f"print({MEMCHECK!r}); raise SystemExit(9)", True, "Invalid __global__"),
        (f"print({MEMCHECK!r})", True, "Invalid __global__"),
        ("raise SystemExit(1)", True, "exit code 1"),
        ("import time; time.sleep(60)", False, "nothing found"),
        (
            f"print({RACECHECK!r}, flush=True)\nimport time; time.sleep(60)",
            True,
            "until then: Error: Race",
        ),
    ],
    ids=["clean", "error", "error but no code", "tests fail", "slow", "slow with an error"],
)
def test_the_sanitizer_is_run_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, failed: bool, words: str
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f"#!{sys.executable}\n{program}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if "sleep" in program:
        real = gpu_checks.subprocess.run
        monkeypatch.setattr(
            gpu_checks.subprocess, "run", lambda *a, **k: real(*a, **{**k, "timeout": 2})
        )
    row = gpu_checks.sanitized("memcheck", "", 20)
    assert bool(row["failed"]) == failed
    assert words in row["note"]


def test_without_the_sanitizer_a_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert gpu_checks.sanitized("memcheck", "", 20)["note"].endswith("is not installed")


def test_two_runs_are_compared_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "QUICK", TINY)
    assert not gpu_checks.twice("numpy", quick=True)["failed"]
    drift = iter(range(10))
    monkeypatch.setattr(gpu_checks, "learned", lambda *_: np.array([0.0, next(drift)]))
    assert gpu_checks.twice("numpy", quick=True)["failed"]
