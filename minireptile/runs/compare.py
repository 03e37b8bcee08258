"""Runs side by side: what a folder of them holds, and in which settings some of them differ."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import checkpoint, metrics
from .folder import CHECKPOINT, METRICS
from .measures import MEASURES, Measure, Values
from .settings import Settings
from .sources import SOURCES


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it."""

    folder: Path
    settings: Settings
    iteration: int  # how many are done
    saved: datetime  # when its checkpoint was written
    # The figures of the last evaluation in its metrics, if there was one.
    test: Mapping[str, Any] | None

    @property
    def measure(self) -> Measure:
        """How its tasks are measured."""
        return MEASURES[SOURCES[self.settings.dataset].kind]

    @property
    def values(self) -> Values:
        """The figures to show; none without a test."""
        return self.measure.values(self.test) if self.test else {}

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "folder": str(self.folder), "iteration": self.iteration,
            "saved": self.saved.isoformat(timespec="seconds"), "test": self.test,
            "settings": asdict(self.settings),
        }  # fmt: skip


def task_of(s: Settings) -> tuple[int | None, int]:
    """Way and shot; no way where there are no classes."""
    return s.way if SOURCES[s.dataset].kind == "classification" else None, s.shot


def read(folder: Path) -> Run:
    """The run in a folder; `InputError` if there is none, or one that cannot be read."""
    path = folder / CHECKPOINT
    snapshot, settings = checkpoint.load(path)
    measure = MEASURES[SOURCES[settings.dataset].kind]
    tests = [r["test"] for r in metrics.read(folder / METRICS, measure.values) if "test" in r]
    saved = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    return Run(folder, settings, snapshot.iteration, saved, tests[-1] if tests else None)


def read_all(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs in these folders, and what is to be said of those that could not be read."""
    runs, left_out = [], []
    for folder in folders:
        try:
            runs.append(read(folder))
        except InputError as error:
            left_out.append(f"{folder} is left out: {error}")
    return runs, left_out


def folders_in(folder: Path) -> list[Path]:
    """The folders of runs in a folder, or itself if it is one; `InputError` if it is no folder."""
    if (folder / CHECKPOINT).exists():
        return [folder]
    try:
        return sorted(path.parent for path in folder.glob(f"*/{CHECKPOINT}"))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}): check its rights") from None


def listed(runs: Sequence[Run]) -> list[list[str]]:
    """A table of runs, a line each; the first is the head."""
    rows = [["folder", "data", "way", "shot", "algorithm", "iterations", "test", "saved"]]
    for run in runs:
        s, (way, shot) = run.settings, task_of(run.settings)
        done = f"{run.iteration:,}" + (f" of {s.iterations:,}" * (run.iteration < s.iterations))
        rows.append([
            str(run.folder), s.dataset, str(way or "-"), str(shot), s.algorithm, done,
            run.measure.short(run.values), f"{run.saved:%Y-%m-%d %H:%M}",
        ])  # fmt: skip
    return rows


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The settings in which runs differ: by name, the value of each."""
    values = {f.name: [getattr(run.settings, f.name) for run in runs] for f in fields(Settings)}
    return {name: each for name, each in values.items() if any(v != each[0] for v in each)}


def compared(runs: Sequence[Run]) -> list[list[str]]:
    """A table of settings and figures, a column for each run; the first line is the head."""
    rows = [["", *names(len(runs))]]
    rows += [
        [name.replace("_", "-"), *map(_shown, each)] for name, each in differences(runs).items()
    ]
    rows.append(["iterations done", *(f"{run.iteration:,}" for run in runs)])
    figures = [run.values for run in runs]
    for name in dict.fromkeys(name for values in figures for name in values):
        rows.append([name, *(_figure(values.get(name)) for values in figures)])
    return rows


def names(count: int) -> list[str]:
    """A, B, C, ..., and numbers from 27 on."""
    return [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(count)]


def _shown(value: Any) -> str:
    if type(value) is bool:
        return "yes" if value else "no"
    return str(value) or "-"


def _figure(value: tuple[float, float | None] | None) -> str:
    """A mean and half its interval."""
    if value is None:
        return "-"
    return " ± ".join(f"{n:.2f}" if n < 1e4 else f"{n:.3g}" for n in value if n is not None)
