"""The picture of a sweep: figures over one setting, a line for each combination of the others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import require
from .folder import SWEPT
from .measures import Measure
from .plot import figure, save_figure
from .settings import Settings
from .sweep_table import Row

SPAN = 10  # from which on an axis is logarithmic
FAR = 1000  # an error so many times the median diverged, and would leave no room for the others
LINES = 12  # that a column of the legend has room for
TICKS = 8  # values that an axis has room for
ASIDE = 5.0  # typographic points between lines, where several are at one place


def draw(found: Sequence[Row], measure: Measure, usual: Settings, folder: Path) -> Path:
    """Draw it, and return its path. `usual` are settings of any of the runs."""
    names = list(dict.fromkeys(name for row in found for name in row.figures))
    each = np.concatenate([row.figures[names[0]] for row in found if row.seeds])
    far = FAR * float(np.median(each))
    beyond = int((each > far).sum())
    along = _along(found)
    lines: dict[str, list[Row]] = {}
    for row in found:
        if row.seeds:
            lines.setdefault(_label(row, along), []).append(row)
    picture, axes = figure(ncols=len(names), sharey=True, squeeze=False)
    picture.set_size_inches(4.2 * len(names) + 1.8, 4)
    for ax, name in zip(axes[0], names, strict=True):
        _panel(ax, name, along, lines, far)
        ax.set(title=name if len(names) > 1 else "", xlabel=along.replace("_", "-"))
    _limit(axes[0, 0], found, measure, usual, far)
    axis, unit = measure.axis.format(**vars(usual)), measure.figure[2].strip()
    axes[0, 0].set_ylabel(unit if found[0].values.keys() & {"way", "shot"} else axis)
    if len(lines) > 1:
        axes[0, -1].legend(
            frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1),
            ncols=-(-len(lines) // LINES),
        )  # fmt: skip
    counts = sorted({len(row.seeds) for row in found if row.seeds})
    seeds = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
    failed = sum(len(row.failed) for row in found)
    notes = [f"{failed} failed"] * bool(failed) + [f"{beyond} beyond the axis"] * bool(beyond)
    algorithm = "" if "algorithm" in found[0].values else f"{usual.algorithm} on "
    picture.suptitle(
        f"{algorithm}{usual.dataset}\n"
        + "; ".join([f"each of {seeds} seeds, their mean and its 95 % interval", *notes]),
        fontsize=9,
    )
    return save_figure(picture, folder / SWEPT)


def _along(found: Sequence[Row]) -> str:
    """The setting along the axis: of the numbers that vary, the one with most values; else the
    first that varies."""
    values = {name: {row.values[name] for row in found} for name in found[0].values}
    numbers = [name for name, each in values.items() if _numbers(each)]
    return max(numbers or values, key=lambda name: len(values[name]), default="")


def _numbers(values: Any) -> bool:
    return all(type(value) in (int, float) for value in values)


def _label(row: Row, along: str) -> str:
    """What sets its line apart."""
    others = {name: value for name, value in row.values.items() if name != along}
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in others.items())


def _panel(ax: Any, name: str, along: str, lines: dict[str, list[Row]], far: float) -> None:
    every = list(
        dict.fromkeys(row.values.get(along, "") for rows in lines.values() for row in rows)
    )
    words = [] if _numbers(every) else every
    moved = require("matplotlib.transforms", "cli").ScaledTranslation
    for i, (label, rows) in enumerate(lines.items()):
        aside = moved(ASIDE * (i - (len(lines) - 1) / 2) / 72, 0, ax.figure.dpi_scale_trans)
        values = [row.values.get(along, "") for row in rows]
        places = [words.index(value) if words else value for value in values]
        means = np.array([row.means[name][0] for row in rows])
        means[means > far] = np.nan  # else its line would lead there
        halves = np.array([row.means[name][1] or 0.0 for row in rows])
        ax.errorbar(
            places, means, halves, fmt="o" if words else "o-", ms=6, capsize=4, color=f"C{i % 10}",
            mec="white", label=label, zorder=3, transform=ax.transData + aside,
        )  # fmt: skip
        for place, row in zip(places, rows, strict=True):
            each = row.figures[name]
            ax.plot(
                [place] * len(each), each, ".", color=f"C{i % 10}", alpha=0.45, ms=7, mew=0,
                transform=ax.transData + aside + moved(4 / 72, 0, ax.figure.dpi_scale_trans),
            )  # fmt: skip
    if words:
        ax.set_xticks(range(len(words)), [str(word) for word in words])
        ax.set_xlim(-0.5, len(words) - 0.5)
        return
    low, high = min(every), max(every)
    if low > 0 and high > SPAN * low:
        edge = (high / low) ** 0.06
        ax.set(xscale="log", xlim=(low / edge, high * edge))
    else:
        edge = 0.06 * (high - low) or abs(high) or 1.0
        ax.set_xlim(low - edge, high + edge)
    if len(every) <= TICKS:
        ax.set_xticks(every, [f"{value:g}" for value in every])
        ax.xaxis.set_minor_locator(require("matplotlib.ticker", "cli").NullLocator())


def _limit(ax: Any, found: Sequence[Row], measure: Measure, usual: Settings, far: float) -> None:
    """What the axis of the figures shows: all that are not too far, and chance where it is near.
    What is drawn moved aside does not count where axes find their own."""
    each = np.concatenate([values for row in found for values in row.figures.values()])
    least = 0.0 if measure.scale == "log" else -np.inf
    means = [mean for row in found for mean in row.means.values()]
    ends = [mean + sign * (half or 0.0) for mean, half in means if mean <= far for sign in (-1, 1)]
    shown = np.array([*each[each <= far], *(min(max(end, least), far) for end in ends)])
    low, high = shown.min(), shown.max()
    lowest = each.min()
    if measure.scale == "log" and lowest > 0 and high > SPAN * lowest:
        ax.set_yscale("log")
        ax.set_ylim(lowest / 1.5, high * 1.3)
        return
    chance = measure.chance(usual)
    if chance is not None and "way" not in found[0].values and low - chance < high - low:
        low = min(low, chance)
        for panel in ax.figure.axes:
            panel.axhline(chance, color="0.5", lw=1, ls="--")
    edge = 0.05 * (high - low) or 1.0
    ax.set_ylim(low - edge, high + edge)
