"""For the tests of workers: tasks that end one, a scheduler, which processes remain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from minireptile import Sine
from minireptile.runs import metrics
from minireptile.runs.folder import METRICS
from minireptile.runs.measures import MEASURES
from minireptile.runs.settings import Settings

from .run_helpers import ROOT, assert_same_run

MINUTE = 60.0  # for what ends at once, on however slow a machine


class Fatal(Sine):
    """Sine tasks of which some end the process that draws them, unless it is the one that made
    them: as many as there are files in a folder, which go with them."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__()
        self.folder, self.own = folder, os.getpid()
        for i in range(times):
            (folder / f"{i}.fatal").touch()

    def draw(self, *arguments: Any) -> Any:
        if os.getpid() != self.own:
            for path in self.folder.glob("*.fatal"):
                path.unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(*arguments)


def records(folder: Path, s: Settings) -> list[dict]:
    """A run's metrics, but for the seconds."""
    kind = "regression" if s.dataset == "sine" else "classification"
    found = metrics.read(folder / METRICS, MEASURES[kind].values)
    return [{k: v for k, v in r.items() if k != "seconds"} for r in found]


def assert_same_folder(folder: Path, other: Path, s: Settings) -> None:
    """The same parameters, state and metrics, bit for bit."""
    assert_same_run(folder, other)
    assert records(folder, s) == records(other, s)


def in_group(group: int) -> list[int]:
    """The processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, own = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(own) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


def all_ended(group: int) -> bool:
    """Whether every process of a group ends, soon."""
    until = time.monotonic() + MINUTE
    while in_group(group) and time.monotonic() < until:
        time.sleep(0.05)
    return not in_group(group)


def hears_signals() -> None:
    """In a new process: a shell's background jobs are born with Ctrl-C ignored."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def python(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """This Python in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=hears_signals, cwd=ROOT,
        **{"env": ENVIRONMENT, **more},
    )  # fmt: skip


@contextmanager
def dask(folder: Path, workers: int = 2) -> Iterator[tuple[Path, list[subprocess.Popen[str]]]]:
    """Dask as a person starts it: the scheduler's file, and its process before its workers'."""
    file = folder / "scheduler.json"
    own = ["--no-dashboard", "--scheduler-file", str(file)]
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    commands = [["scheduler", "--host", "127.0.0.1", "--port", "0"]]
    commands += [["worker", "--nthreads", "1", "--local-directory", str(folder)]] * workers
    processes = []
    try:
        for command in commands:
            started = subprocess.Popen(
                [sys.executable, "-m", "dask", *command, *own], env=ENVIRONMENT, cwd=ROOT,
                start_new_session=True, preexec_fn=hears_signals, **quiet,
            )  # fmt: skip
            processes.append(started)
            until = time.monotonic() + MINUTE
            while not file.exists() and time.monotonic() < until:
                time.sleep(0.05)
        if workers:
            with import_module("distributed").Client(scheduler_file=str(file)) as client:
                client.wait_for_workers(workers)
        yield file, processes
    finally:
        for process in processes:
            for pid in in_group(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()
