"""Pictures of the kernels: rooflines, ladders and the sweep."""

from pathlib import Path
from typing import Any

import numpy as np

from minireptile.kernels.operations import MODULES, OPERATIONS
from minireptile.runs.plot import save_figure

from .plots import MARKERS, band, distinct, figure, logarithmic, ticks_at
from .results import Row

# What somebody races against the versions: larger, and with an edge.
OWN: tuple[dict[str, Any], ...] = (
    {"marker": "*", "color": "crimson", "ms": 15, "mec": "black", "mew": 0.8, "zorder": 4},
    {"marker": "*", "color": "gold", "ms": 15, "mec": "black", "mew": 0.8, "zorder": 3},
)
RUNGS = MARKERS.replace("*", "h")
SWEPT = ("conv2d_forward", "conv2d_backward")


def draw_roofline(rows: list[Row], path: Path, where: str) -> Path:
    """GFLOP/s over operations a byte, below the machine's limits; a panel for each network.

    Both are of the work really done, without taps on the padding.
    """
    roof, calls = rows[0], _networks(rows)
    groups, variants = distinct(calls, "group"), distinct(calls, "variant")
    new, axes = figure(
        f"Kernels against the machine's limits, threads: {roof['threads']}\n{where}",
        5.2 * len(groups), 5.8, ncols=len(groups), sharex=True, sharey=True,
    )  # fmt: skip
    here = {OPERATIONS[row["operation"]].module for row in calls}
    modules = [module for module in MODULES if module in here]
    for ax, group in zip(axes[0], groups, strict=True):
        for row in (row for row in calls if row["group"] == group):
            module = OPERATIONS[row["operation"]].module
            forward = not row["operation"].endswith("backward")
            color = f"C{modules.index(module)}"
            ax.plot(
                row["intensity"], row["intensity"] * row["gbs"],
                MARKERS[variants.index(row["variant"]) % 10],
                color=color, mfc=color if forward else "none", ms=6, alpha=0.8, ls="none",
            )  # fmt: skip
        _roof(ax, roof, [row["intensity"] for row in calls])
        ax.set(title=group, xlabel="operations a byte", xscale="log", yscale="log")
    axes[0, 0].set_ylabel("GFLOP/s")
    keys = [("s", f"C{i}", module) for i, module in enumerate(modules)]
    keys += [(MARKERS[i % 10], "0.3", variant) for i, variant in enumerate(variants)]
    marks = [axes[0, 0].plot([], [], marker, color=color)[0] for marker, color, _ in keys]
    marks += axes[0, 0].plot([], [], "o", color="0.3", mfc="none")
    labels = [*(label for *_, label in keys), "hollow: backward"]
    new.legend(marks, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return save_figure(new, path)


def draw_ladders(rows: list[Row], path: Path, where: str, by: str = "operation") -> Path:
    """Time in one inner step of each operation, summed over the layers, or of each `case`, for
    every version. Somebody's own stand out."""
    calls = _networks(rows)
    groups, variants = distinct(calls, "group"), distinct(calls, "variant")
    own = distinct([row for row in calls if row.get("yours")], "variant")
    rungs = [variant for variant in variants if variant not in own]
    if own:  # the fastest came first
        rungs.sort()
    looks = {variant: {"marker": RUNGS[i % 10], "color": f"C{i % 10}", "alpha": 0.85}
             for i, variant in enumerate(rungs)}  # fmt: skip
    looks |= dict(zip(own, OWN, strict=False))
    words = "layer" if by == "case" else by
    most = max(len(distinct([r for r in calls if r["group"] == g], by)) for g in groups)
    new, axes = figure(
        f"One inner step, {words} by {words}, threads: {rows[0]['threads']}\n{where}",
        max(5.2 * len(groups), 7.5), 1.8 + 0.42 * most, ncols=len(groups),
    )  # fmt: skip
    for ax, group in zip(axes[0], groups, strict=True):
        here = [row for row in calls if row["group"] == group]
        lines = distinct(here, by)
        for variant in [*rungs, *own]:
            totals = [
                sum(r["seconds"] * r["times"] for r in here
                    if r[by] == line and r["variant"] == variant)
                for line in lines
            ]  # fmt: skip
            there = [(total, at) for at, total in enumerate(totals) if total]
            if there:
                seconds, y = zip(*there, strict=True)
                ax.plot(1e3 * np.array(seconds), y, label=variant, ls="none", **looks[variant])
        labels = [line.removeprefix(f"{group} ") for line in lines]
        ax.set_yticks(range(len(lines)), labels, fontsize=8)
        ax.set(title=group, xlabel="ms")
        ax.margins(y=0.5 / len(lines))
        logarithmic(ax, "x")
        ax.tick_params("x", labelrotation=45)
        ax.invert_yaxis()
    marks = {
        label: mark
        for ax in axes[0]
        for mark, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    shown = [*own, *rungs]
    new.legend(
        [marks[variant] for variant in shown], shown, loc="outside lower center",
        ncols=min(8, 4 * len(groups)), frameon=False, fontsize=8,
    )  # fmt: skip
    return save_figure(new, path)


def draw_sweep(rows: list[Row], path: Path, where: str) -> Path:
    """The convolution's time as one size grows and the others stay."""
    swept = [row for row in rows if row.get("value") and row["operation"] in SWEPT]
    axes_names, variants = distinct(swept, "group"), distinct(swept, "variant")
    new, axes = figure(
        f"The convolution over one size at a time, around the second block of Omniglot, "
        f"threads: {rows[0]['threads']}\n{where}",
        3.4 * len(axes_names), 6.4, nrows=2, ncols=len(axes_names),
    )  # fmt: skip
    for row_of_axes, operation in zip(axes, SWEPT, strict=True):
        for ax, group in zip(row_of_axes, axes_names, strict=True):
            here = [r for r in swept if r["group"] == group and r["operation"] == operation]
            for i, variant in enumerate(variants):
                line = [row for row in here if row["variant"] == variant]
                if line:
                    band(ax, line, "value", 1e3, marker=MARKERS[i % 10], ms=4, color=f"C{i}",
                         label=variant)  # fmt: skip
            ax.set(title=operation, xlabel=group.removeprefix("sweep "))
            logarithmic(ax, "y")
            ticks_at(ax, distinct(here, "value"))
        row_of_axes[0].set_ylabel("ms")
    new.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=8,
        frameon=False, fontsize=8,
    )  # fmt: skip
    return save_figure(new, path)


def _networks(rows: list[Row]) -> list[Row]:
    return [row for row in rows if "operation" in row and "value" not in row]


def _roof(ax: Any, roof: Row, intensities: list[float]) -> None:
    x = np.geomspace(min(intensities) / 2, max(intensities) * 2, 50)
    levels = {k.removeprefix("gbs_"): v for k, v in roof.items() if k.startswith("gbs_")}
    for style, (level, gbs) in zip((":", "--", "-", "-."), reversed(levels.items()), strict=False):
        ax.plot(
            x, np.minimum(roof["peak_gflops"], gbs * x), color="0.35", ls=style, lw=1.2,
            label=f"{level}, {gbs:.0f} GB/s",
        )  # fmt: skip
    ax.legend(loc="lower right", frameon=False, fontsize=7)
    # Where the roof begins: at its other end, Winograd's products are drawn above it.
    ax.annotate(
        f"{roof['peak_gflops']:.0f} GFLOP/s",
        (roof["peak_gflops"] / max(levels.values()), roof["peak_gflops"]), fontsize=7,
        color="0.35", xytext=(0, 3), textcoords="offset points",
    )  # fmt: skip
