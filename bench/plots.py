"""What all pictures of measurements share."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from minireptile.errors import require
from minireptile.runs import plot

from .results import Row

MARKERS = "osD^vP*X<>"


def figure(title: str, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure and its axes, an array of two dimensions."""
    new, axes = plot.figure(squeeze=False, **options)
    new.set_size_inches(width, height)
    new.set_dpi(100)
    new.suptitle(title, fontsize=11)
    return new, axes


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    """The values of a column, each once, in their order."""
    return list(dict.fromkeys(row[key] for row in rows))


def band(ax: Any, rows: list[Row], x: str, scale: float = 1.0, **options: Any) -> None:
    """A line through the medians over column `x`, and its quartiles as a band."""
    at = [row[x] for row in rows]
    median, low, high = (np.array([row[k] for row in rows]) * scale
                         for k in ("seconds", "low", "high"))  # fmt: skip
    (line,) = ax.plot(at, median, **options)
    ax.fill_between(at, low, high, color=line.get_color(), alpha=0.2, lw=0)


def logarithmic(ax: Any, name: str) -> None:
    """Make the "x" or "y" axis logarithmic, with plain numbers at 1, 2, 5, 10, ..."""
    ticker = require("matplotlib.ticker", "cli")
    ax.set(**{f"{name}scale": "log"})
    axis = getattr(ax, f"{name}axis")
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=20))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_tick_params(labelsize=8)


def ticks_at(ax: Any, values: list[Any]) -> None:
    """Label exactly these values on a logarithmic x axis."""
    ax.set_xscale("log")
    ax.set_xticks(values, [str(value) for value in values])
    ax.set_xticks([], minor=True)
