"""A small sweep over sine waves: its words, its runs, and what lies in their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import minireptile as mr
from minireptile.cli import grid as options_of
from minireptile.cli import main
from minireptile.runs import checkpoint
from minireptile.runs.folder import CHECKPOINT, LOG, METRICS
from minireptile.runs.sweep import Cell

from .run_helpers import SMALL


def asked(*more: str, iterations: int = 3, out: Path | None = None) -> list[str]:
    """A small sweep over sine waves."""
    words = [w for w in SMALL[1:] if w not in ("--inner-lr", "0.002")]
    return [
        "sweep",
        *words,
        "--iterations",
        str(iterations),
        *more,
        *(["--out", str(out)] if out else []),
    ]


def alone(folder: Path, rate: str, seed: int, iterations: int = 3) -> Path:
    """One of its runs, by `train`."""
    words = asked("--inner-lr", rate, "--seed", str(seed), iterations=iterations, out=folder)
    assert main(["train", *words[1:]]) == 0
    return folder


def cells(folder: Path, **options: Any) -> list[Cell]:
    """Those of a sweep, without a process."""
    given = {"dataset": "sine", "backend": "numpy", "iterations": 3, "seeds": 3, **options}
    return options_of.cells_of(given, folder)


def made(all: list[Cell], tests: dict[int, Any]) -> list[Cell]:
    """Complete runs, of these test records by their order; None: begun; a text: failed, and why."""
    for i, test in tests.items():
        cell = all[i]
        cell.folder.mkdir(parents=True)
        if isinstance(test, str):
            (cell.folder / LOG).write_text(f"header\nminireptile: {test}\n")
            continue
        done = 1 if test is None else cell.settings.iterations
        run = mr.Snapshot(done, np.ones(1), {}, np.empty(0))
        checkpoint.save(cell.folder / CHECKPOINT, run, cell.settings)
        records: list[dict[str, Any]] = [{"iteration": 1, "loss": 0.5}]
        records += [{"iteration": n, "test": test} for n in (0, done) if test]
        (cell.folder / METRICS).write_text("".join(json.dumps(r) + "\n" for r in records))
    return all


def error(mse: float) -> dict[str, Any]:
    return {"steps": [0, 32], "mse": [3.0, mse], "mse_ci95": [0.5, None], "tasks": 2}


def accuracy(plain: float, transductive: float) -> dict[str, Any]:
    return {"accuracy": plain, "accuracy_ci95": 0.01, "transductive_accuracy": transductive,
            "transductive_accuracy_ci95": 0.01, "tasks": 5}  # fmt: skip
