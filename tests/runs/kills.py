"""Workers killed at random moments: python -m tests.runs.kills [50]. Two workers compute a run, one
of them is killed now and then, and the run must end with the bits of one process."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from minireptile.runs.folder import METRICS

from .run_helpers import assert_same_run, small_run, wait_for_lines
from .worker_helpers import all_ended, in_group, python

RUN = ["--test-tasks", "0", "--eval-every", "10"]


def workers_of(group: int) -> list[int]:
    """The processes that compute lots, of a run's group."""
    found = []
    for pid in in_group(group):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in words:
            found.append(pid)
    return found


def lines_of(folder: Path) -> int:
    """How far a run's metrics have come."""
    path = folder / METRICS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(whole: Path, folder: Path, iterations: int, kills: int, rng: random.Random) -> int:
    """Kill up to so many workers of a run; how many it were. AssertionError if the run has other
    bits than `whole`, or a process remains."""
    done = 0
    process = python("-m", "minireptile", *small_run(iterations, folder), *RUN, "--workers", "2")
    while process.poll() is None and done < kills:
        if rng.random() < 0.75:  # else perhaps while others start
            wait_for_lines(folder, lines_of(folder) + 1, process)
        time.sleep(rng.uniform(0.0, 1.0))
        if victims := workers_of(process.pid):
            os.kill(rng.choice(victims), signal.SIGKILL)
            done += 1
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert all_ended(process.pid)
    assert_same_run(folder, whole)
    return done


def main() -> None:
    """Run after run, until there were enough kills."""
    wanted, iterations, rng = int((sys.argv[1:] or ["50"])[0]), 1500, random.Random(0)
    done = runs = 0
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        process = python("-m", "minireptile", *small_run(iterations, whole), *RUN)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        while done < wanted:
            done += killed(whole, Path(place) / str(runs), iterations, wanted - done, rng)
            runs += 1
            print(f"{done} workers killed in {runs} runs, each with the same bits", flush=True)


if __name__ == "__main__":
    main()
