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
LABELS = 12  # lines that a legend has room for
ASIDE = 5.0  # typographic points between lines, where several are at one place


def draw(found: Sequence[Row], measure: Measure, usual: Settings, folder: Path) -> Path:
    """Draw it, and return its path. `usual` are settings of any of the runs."""
    names = list(dict.fromkeys(name for row in found for name in row.figures))
    along = _along(found)
    picture, axes = figure(ncols=len(names), sharey=True, squeeze=False)
    picture.set_size_inches(4.2 * len(names) + 1.6, 4)
    lines: dict[str, list[Row]] = {}
    for row in found:
        if row.seeds:
            lines.setdefault(_label(row, along), []).append(row)
    for ax, name in zip(axes[0], names, strict=True):
        _panel(ax, name, along, lines, measure)
        chance = measure.chance(usual)
        if chance is not None and "way" not in found[0].values and _near(ax, chance):
            ax.axhline(chance, color="0.5", lw=1, ls="--")
    unit = measure.figure[2].strip() if measure.scale == "linear" else ""
    axes[0, 0].set_ylabel(unit or names[0])
    if len(lines) > 1:
        axes[0, -1].legend(
            frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1),
            ncols=-(-len(lines) // LABELS),
        )  # fmt: skip
    seeds = sorted({len(row.seeds) for row in found if row.seeds})
    count = "-".join(map(str, {seeds[0]: 0, seeds[-1]: 0}))
    failed = sum(len(row.failed) for row in found)
    picture.suptitle(
        f"{usual.algorithm if 'algorithm' not in found[0].values else 'a sweep'} on "
        f"{usual.dataset}: mean over {count} seeds, 95 % interval (Student), and each seed"
        + f"; {failed} failed"
        * bool(failed),
        fontsize=10,
    )
    return save_figure(picture, folder / SWEPT)


def _along(found: Sequence[Row]) -> str:
    """The setting along the axis: of the numbers that vary, the one with most values; else the
    first that varies."""
    values = {name: {row.values[name] for row in found} for name in found[0].values}
    numbers = [n for n, v in values.items() if all(type(x) in (int, float) for x in v)]
    return max(numbers or values, key=lambda name: len(values[name]), default="")


def _label(row: Row, along: str) -> str:
    """What sets its line apart."""
    others = {n: v for n, v in row.values.items() if n != along}
    return ", ".join(f"{n.replace('_', '-')} {v}" for n, v in others.items())


def _panel(ax: Any, name: str, along: str, lines: dict[str, list[Row]], measure: Measure) -> None:
    every = [row.values.get(along, "") for rows in lines.values() for row in rows]
    places = sorted(set(every)) if all(type(x) in (int, float) for x in every) else []
    words = [] if places else list(dict.fromkeys(every))
    logarithmic = bool(places) and places[0] > 0 and places[-1] / places[0] > SPAN
    shift = require("matplotlib.transforms", "cli").ScaledTranslation
    for i, (label, rows) in enumerate(lines.items()):
        color = f"C{i % 10}"
        aside = shift(ASIDE * (i - (len(lines) - 1) / 2) / 72, 0, ax.figure.dpi_scale_trans)
        at = [words.index(row.values.get(along, "")) if words else row.values[along]
              for row in rows]  # fmt: skip
        means, halves = zip(*(row.means[name] for row in rows), strict=True)
        halves = np.array([half or 0.0 for half in halves])
        low = (
            np.maximum(np.subtract(means, halves), 0) if measure.scale == "log" else means - halves
        )
        where = ax.transData + aside
        ax.errorbar(
            at, means, [np.subtract(means, low), halves], fmt="o" if words else "o-", ms=6,
            capsize=4, color=color, mec="white", label=label, zorder=3, transform=where,
        )  # fmt: skip
        for x, row in zip(at, rows, strict=True):
            each = row.figures[name]
            ax.plot([x] * len(each), each, ".", color=color, alpha=0.45, ms=7, mew=0,
                    transform=where + shift(4 / 72, 0, ax.figure.dpi_scale_trans))  # fmt: skip
            ends = [*each, *np.add(row.means[name][0], [-(row.means[name][1] or 0),
                                                        row.means[name][1] or 0])]  # fmt: skip
            ax.update_datalim([(x, end) for end in ends if measure.scale == "linear" or end > 0])
    ax.set(xscale="log" if logarithmic else "linear", yscale=measure.scale)
    ax.autoscale_view()
    ax.set(title=name, xlabel=along.replace("_", "-"))
    if words:
        ax.set_xticks(range(len(words)), [str(word) for word in words])
        ax.set_xlim(-0.5, len(words) - 0.5)
    elif places:
        ax.set_xticks(places, [f"{place:g}" for place in places])
        ax.minorticks_off()


def _near(ax: Any, level: float) -> bool:
    low, high = ax.get_ylim()
    return bool(level > low - 0.3 * (high - low))
