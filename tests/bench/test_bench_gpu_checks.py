"""The checks that a GPU decides, without one: their reports, and how they are run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.gpu import checks as gpu_checks

from .bench_gpu_helpers import TINY

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
    ],
    ids=["clean", "error", "error but no code", "tests fail"],
)
def test_the_sanitizer_is_run_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, failed: bool, words: str
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f"#!{sys.executable}\n{program}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    row = gpu_checks.sanitized("memcheck", "", 600)
    assert bool(row["failed"]) == failed
    assert words in row["note"]


@pytest.mark.parametrize(
    ("said", "failed", "words"),
    [
        (b"", False, "ended after 20 s; until then: nothing found"),
        (RACECHECK.encode(), True, "ended after 20 s; until then: Error: Race"),
    ],
    ids=["nothing", "an error"],
)
def test_what_a_slow_sanitizer_had_said_counts(
    monkeypatch: pytest.MonkeyPatch, said: bytes, failed: bool, words: str
) -> None:
    def run(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout, output=said)

    monkeypatch.setattr(gpu_checks.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(gpu_checks.subprocess, "run", run)
    row = gpu_checks.sanitized("memcheck", "", 20)
    assert row["failed"] == failed
    assert row["note"].startswith(words)


def test_without_the_sanitizer_a_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert gpu_checks.sanitized("memcheck", "", 20)["note"].endswith("is not installed")


def test_two_runs_are_compared_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "QUICK", TINY)
    assert not gpu_checks.twice("numpy", quick=True)["failed"]
    drift = iter(range(10))
    monkeypatch.setattr(gpu_checks, "learned", lambda *_: np.array([0.0, next(drift)]))
    assert gpu_checks.twice("numpy", quick=True)["failed"]
