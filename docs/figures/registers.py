"""The pictures of kernels/registers.md: python docs/figures/registers.py

Each is drawn from the tables that the compiled kernels read (kernels/tiles.py) and from eq. 4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.errors import require
from minireptile.kernels.tiles import classes, forward_taps
from minireptile.kernels.window import output_size
from minireptile.runs import plot

HERE = Path(__file__).parent
LATENCY, STARTED, LOADED = 4, 2, 2  # cycles; multiply-adds and loads that start in a cycle
FITS, SPILLS, WAITS, STARVES = range(4)
WORDS = ("fits all three", "more registers than there are", "sums wait for themselves",
         "loads are what counts")  # fmt: skip
COLOURS = ("#8fbf8f", "#e0e0e0", "#f2d7a0", "#e8b4a8")
# Pastels on which black is read; pixels inside the image come first.
PASTELS = ("#dfe8f5", "#f6d9c8", "#d5ead6", "#f3e3b0", "#e3d5ee", "#cfe9ea", "#f4d3dc", "#e4e4cf",
           "#d9d9e6")  # fmt: skip


def limit_of(h: int, v: int, registers: int) -> int:
    """Which of eq. 4's limits a tile of h pixels times v vectors meets first, or FITS."""
    if h * v + v + 1 > registers:
        return SPILLS
    if h * v < STARTED * LATENCY:
        return WAITS
    return FITS if STARTED * (h + v) <= LOADED * h * v else STARVES


def class_map(n: int, kernel: int, stride: int) -> tuple[NDArray, NDArray]:
    """The class of each output pixel of a square image, and how many taps it has inside."""
    n_out, pad = output_size(n, kernel, stride, "same")
    axis = forward_taps(n, kernel, stride, pad, n_out)
    number, taps = np.zeros((2, n_out * n_out), int)
    for i, found in enumerate(classes(axis, axis, n, 1, kernel)):
        number[found.targets] = i
        taps[found.targets] = found.runs[:, 2].sum()
    return number.reshape(n_out, n_out), taps.reshape(n_out, n_out)


def draw_tile(ax: Any, h: int = 5, v: int = 2) -> None:
    """One term: v vectors of w from above, a number of x for each row, h v multiply-adds."""
    for i in range(h):
        _load(ax, -0.5, i + 0.5, f"$x_{i + 1}$", PASTELS[3])
        ax.annotate("", (0, i + 0.5), (-0.3, i + 0.5), arrowprops={"arrowstyle": "->"})
        for j in range(v):
            ax.add_patch(_box(j + 0.03, i + 0.08, 0.94, 0.84, PASTELS[0]))
            words = f"$a_{{{i + 1}{j + 1}}}$ += $x_{i + 1}\\,w_{j + 1}$"
            ax.text(j + 0.5, i + 0.5, words, ha="center", va="center", fontsize=9)
    for j in range(v):
        _load(ax, j + 0.5, -0.75, f"$w_{j + 1}$", PASTELS[2])
        ax.annotate("", (j + 0.5, 0.02), (j + 0.5, -0.42), arrowprops={"arrowstyle": "->"})
    ax.set(xlim=(-0.8, v + 0.05), ylim=(h + 0.1, -1.15))
    ax.set_title(f"a term: {h + v} loads, {h * v} multiply-adds", fontsize=10)
    ax.axis("off")


def _load(ax: Any, x: float, y: float, words: str, colour: str) -> None:
    box = {"boxstyle": "round", "fc": colour, "ec": "#777777"}
    ax.text(x, y, words, ha="center", va="center", fontsize=11, bbox=box)


def draw_limits(ax: Any, registers: int, chosen: tuple[int, int]) -> None:
    """Every tile by what limits it."""
    hs, vs = range(1, 13), range(1, 5)
    for h in hs:
        for v in vs:
            limit = limit_of(h, v, registers)
            ax.add_patch(_box(h - 0.46, v - 0.46, 0.92, 0.92, COLOURS[limit]))
            ax.text(h, v, f"{h * v}", ha="center", va="center", fontsize=8,
                    weight="bold" if (h, v) == chosen else "normal")  # fmt: skip
    h, v = chosen
    ax.add_patch(_box(h - 0.46, v - 0.46, 0.92, 0.92, "none", edge="black", line=2))
    ax.set(xlim=(0.4, 12.6), ylim=(0.4, 4.6), xticks=hs, yticks=vs, ylabel="vectors v",
           xlabel="pixels h")  # fmt: skip
    ax.set_title(f"{registers} registers", fontsize=10)
    ax.set_aspect("equal")
    ax.grid(False)
    ax.tick_params(length=0, labelsize=8)
    for side in ax.spines.values():
        side.set_visible(False)


def draw_classes(ax: Any, n: int) -> None:
    """Output pixels by class, with their taps; the paper's kernel of 3 and stride of 2."""
    number, taps = class_map(n, 3, 2)
    n_out = len(taps)
    middle = number[n_out // 2, n_out // 2]
    order = [middle, *(c for c in dict.fromkeys(number.ravel().tolist()) if c != middle)]
    for o in range(n_out):
        for p in range(n_out):
            colour = PASTELS[order.index(number[o, p])]
            ax.add_patch(_box(p + 0.03, o + 0.03, 0.94, 0.94, colour))
            ax.text(p + 0.5, o + 0.5, f"{taps[o, p]}", ha="center", va="center", fontsize=8)
    ax.set(xlim=(0, n_out), ylim=(n_out + 0.6, 0))
    ax.set_title(f"{n} → {n_out}: {number.max() + 1} classes", fontsize=10)
    words = f"{taps.sum()} of {9 * n_out**2} taps"
    ax.text(n_out / 2, n_out + 0.12, words, ha="center", va="top", fontsize=9)
    ax.set_aspect("equal")
    ax.axis("off")


def _box(
    x: float, y: float, width: float, height: float, colour: str,
    edge: str = "#999999", line: float = 0.6,
) -> Any:  # fmt: skip
    patches: Any = require("matplotlib.patches", "cli")
    return patches.Rectangle((x, y), width, height, fc=colour, ec=edge, lw=line)


def draw(folder: Path = HERE) -> list[Path]:
    """Draw all of them; where they are."""
    patches: Any = require("matplotlib.patches", "cli")
    tile, axes = plot.figure(ncols=3, width_ratios=(4.6, 6, 6))
    tile.set_size_inches(11, 3.4)
    draw_tile(axes[0])
    draw_limits(axes[1], 16, (5, 2))
    draw_limits(axes[2], 32, (10, 2))
    keys = [patches.Patch(fc=c, ec="#999999", label=w)
            for c, w in zip(COLOURS, WORDS, strict=True)]  # fmt: skip
    tile.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    edges, axes = plot.figure(ncols=3, width_ratios=(7, 4, 2))
    edges.set_size_inches(9, 3.3)
    for ax, n in zip(axes, (14, 7, 4), strict=True):
        draw_classes(ax, n)
    paths = [folder / "registers-tile.png", folder / "registers-classes.png"]
    for figure, path in zip((tile, edges), paths, strict=True):
        figure.savefig(path, dpi=110, metadata={"Software": None})
    return paths


if __name__ == "__main__":
    for path in draw():
        print(f"wrote {path}")
