"""What an experiment finds, and how it is kept: figures, a picture, and a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, require
from ..files import write_atomically
from ..runs.plot import figure, save_figure


@dataclass(frozen=True)
class Outcome:
    """The result of one experiment.

    Attributes
    ----------
    claim : str
        What is said, and who says it.
    holds : bool
        Whether it is so in this measurement.
    verdict : str
        The figures that decide, in one sentence.
    data : dict
        All figures; what JSON can hold.
    draw : callable
        Draws them on the axes that it is given, one for each panel.
    panels : int
        Axes side by side.
    """

    claim: str
    holds: bool
    verdict: str
    data: dict[str, Any]
    draw: Callable[..., None]
    panels: int = 1

    def sentence(self) -> str:
        """Claim and verdict, as the command line prints them."""
        return f"{self.claim}\n{'It holds' if self.holds else 'It does not hold'}: {self.verdict}"


def prepare(folder: Path) -> None:
    """Make the folder and see that figures and pictures can be kept, before the work begins.

    Raises
    ------
    InputError, MissingPackage
        If they cannot.
    """
    require("matplotlib.figure", "cli")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; choose another --out"
        ) from error


def keep(name: str, outcome: Outcome, folder: Path, quick: bool) -> list[Path]:
    """Write NAME.json and NAME.png; returns their paths.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    record = {
        "experiment": name, "quick": quick, "claim": outcome.claim, "holds": bool(outcome.holds),
        "verdict": outcome.verdict, "data": outcome.data,
    }  # fmt: skip
    paths = [folder / f"{name}.json", folder / f"{name}.png"]
    prepare(folder)
    write_atomically(paths[0], (json.dumps(record, indent=1, default=_plain) + "\n").encode())
    picture, axes = figure(ncols=outcome.panels)
    picture.set_size_inches(5.2 * outcome.panels, 3.8)
    outcome.draw(*np.atleast_1d(axes))
    save_figure(picture, paths[1])
    return paths


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON's."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be kept as JSON")


def interval(values: NDArray, axis: int = 0) -> tuple[NDArray, NDArray]:
    """Means and half-widths of their 95 % intervals along an axis, by the normal approximation."""
    n = values.shape[axis]
    return values.mean(axis), 1.96 * values.std(axis, ddof=1) / np.sqrt(n)
