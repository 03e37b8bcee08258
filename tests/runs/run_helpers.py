"""Small runs for the tests of the command line and of run folders."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import minireptile as mr
from minireptile.cli import main
from minireptile.cli.arguments import parse
from minireptile.cli.options import settings_from
from minireptile.runs import checkpoint
from minireptile.runs.folder import CHECKPOINT, METRICS
from minireptile.runs.settings import Settings

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


def wait_for_lines(folder: Path, lines: int, process: subprocess.Popen[str]) -> None:
    """Until the run has written so many lines of metrics, or has ended; a slow machine may take
    its time."""
    path = folder / METRICS
    while process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.01)


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


TINY = [
    "--iterations", "3", "--filters", "4", "--meta-batch", "2", "--inner-batch", "5",
    "--inner-steps", "2", "--eval-steps", "2", "--eval-every", "2", "--eval-tasks", "2",
    "--test-tasks", "2", "--backend", "numpy",
]  # fmt: skip


def settings(*arguments: str) -> Settings:
    return settings_from(vars(parse(["train", *arguments])))


def saved(folder: Path, settings: Settings) -> None:
    """A run's checkpoint, of any parameters."""
    snapshot = mr.Snapshot(1, np.ones(1), {}, np.empty(0))
    checkpoint.save(folder / "checkpoint.safetensors", snapshot, settings)


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """Exit code 2, and one sentence."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err


def picture_folder(folder: Path, classes: int, images: int) -> Path:
    rng = np.random.default_rng(0)
    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        for i in range(images):
            pixels = rng.integers(0, 256, (30, 30), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class{c}" / f"{i}.png")
    return folder
