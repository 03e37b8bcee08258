"""Small runs for the tests of the command line and of run folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.runs import checkpoint
from minireptile.runs.folder import CHECKPOINT

ROOT = Path(__file__).parents[2]


class Asked:
    """A function in place of another: notes what it is asked for, and has one answer."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls: list[Any] = []

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls.append((arguments, options))
        return self.answer


# Adam with carried state: everything that a checkpoint must hold is in play.
SMALL = [
    "train", "sine", "--backend", "numpy",
    "--optimizer", "adam", "--beta1", "0.5", "--inner-lr", "0.002",
    "--state", "mean", "--meta-batch", "2", "--checkpoint-every", "7", "--eval-every", "20",
    "--eval-tasks", "2", "--test-tasks", "3", "--eval-steps", "5",
]  # fmt: skip


def small_run(iterations: int, folder: Path) -> list[str]:
    """Arguments of a sine run that takes a second or two."""
    return [*SMALL, "--iterations", str(iterations), "--out", str(folder)]


def start(arguments: list[str], **options: object) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "minireptile", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # type: ignore[call-overload] # fmt: skip


def arrays(folder: Path) -> dict[str, NDArray]:
    """Everything numerical that a run's checkpoint holds."""
    run, _ = checkpoint.load(folder / CHECKPOINT)
    return {"theta": run.theta, "iteration": np.array(run.iteration), **run.state}


def assert_same_run(folder: Path, other: Path) -> None:
    """Bit for bit the same parameters, state and iteration."""
    a, b = arrays(folder), arrays(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
