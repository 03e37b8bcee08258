"""The inner loop: tasks one by one, all at once, or compiled; how it grows; what it must cost.

looped    NumPy, `adapt` for one task after another
batched   NumPy, `adapt` for all tasks at once
others    the backend of that name, all tasks at once

Each variant must first give the phi of the looped one after SGD, to rounding, in float64 for two
steps and in float32 for all. Adam's first steps are the sign of the gradient, and where a gradient
is nothing but rounding no two variants agree on its sign; SGD turns rounding errors of the gradient
into errors of phi of their own size. In float32 even these can put an input of a ReLU on the other
side of zero, and every later step makes more of it. So the steps are small.

`share` is how much of a meta-iteration its matrix products would take on cores that do nothing but
multiply and add (machine.py): the work really done, without taps on a convolution's padding.
`nominal` counts these as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.optim import Optimizer
from minireptile.runs.console import each
from minireptile.runs.plot import save_figure

from .child import ask
from .machine import blas_threads, compiled_threads, rates, usable
from .measure import close_phi, in_turns
from .plots import MARKERS, band, distinct, figure, logarithmic, ticks_at
from .products import products, work
from .results import Row, timed
from .settings import MINIIMAGENET, OMNIGLOT, QUICK, SINE, Setting
from .tables import TIME, Columns

COLUMNS: Columns = {
    **TIME,
    "ratio": ("ratio", "time over that of the batched one"),
    "over_products": ("products", "time over that of its matrix products alone, BLAS on one core"),
    "over_cores": ("on cores", "the same, if all threads shared these products"),
    "share": ("share", "the products' least time on the cores, for the work really done, over it"),
    "nominal": ("nominal", "the same with a convolution's taps on the padding"),
    "resident_mb": ("MB more", "by which the resident memory grows at most"),
    "traced_mb": ("MB asked", "that Python and NumPy ask for at most"),
    "bytes_per_step": ("B a step", "bytes asked for by each further inner step"),
}

GENTLE = mr.SGD(1e-4)
PRODUCTS = "its matrix products"

GROWTH = {
    "tasks": (1, 2, 3, 4, 5, 8, 16),
    "steps": (1, 2, 5, 10, 20),
    "size": (14, 28, 42, 56),
    "filters": (16, 32, 64, 128),
}
QUICK_GROWTH = {"tasks": (1, 2), "steps": (1, 2), "size": (14, 28), "filters": (8, 16)}

Adapt = Callable[[NDArray, Optimizer], object]  # phi (T, P) in place


def at_once(setting: Setting, backend: str) -> Adapt:
    """`adapt` for all tasks at once."""
    model, (x, y) = setting.model(backend), setting.data()
    return lambda phi, optimizer: mr.adapt(model, phi, x, y, optimizer)


def variants(setting: Setting) -> dict[str, Adapt]:
    """Every way to run the inner loop on the setting's data, the reference first."""
    x, y = setting.data()
    reference = setting.model()

    def looped(phi: NDArray, optimizer: Optimizer) -> None:
        for t in range(len(phi)):
            mr.adapt(reference, phi[t], x[:, t], y[:, t], optimizer)

    others = {
        "batched" if backend == "numpy" else backend: at_once(setting, backend)
        for backend in usable()
    }
    return {"looped": looped, **others}


def check(setting: Setting, adapts: dict[str, Adapt], dtype: type) -> None:
    """Compare what the variants make of phi with what the first one does. `Mismatch` if a task's
    phi is further from the reference's than rounding explains."""
    theta: NDArray = setting.model().init(0).astype(dtype)
    phis = {}
    for name, adapt in adapts.items():
        phi = np.repeat(theta[None], setting.tasks, axis=0)
        adapt(phi, GENTLE)
        phis[name] = phi
    wanted = phis[next(iter(phis))]
    for name, phi in phis.items():
        close_phi(f"{name} on {setting}", phi, wanted, theta, setting.steps)


def measure(setting: Setting, rounds: int, least: float, alone: bool) -> dict[str, Any]:
    """Check, then time a meta-iteration of every variant and, if `alone`, its products alone."""
    adapts = variants(setting)
    check(setting, adapts, np.float32)
    short = replace(setting, steps=min(setting.steps, 2))  # the exact check is the slow one
    check(short, variants(short), np.float64)
    theta = setting.model().init(0)

    def meta_iteration(adapt: Adapt) -> NDArray:
        phi = np.repeat(theta[None], setting.tasks, axis=0)
        adapt(phi, setting.optimizer)
        return theta + 0.5 * (phi.mean(0) - theta)

    calls: dict[str, Callable[[], object]] = {
        name: partial(meta_iteration, adapt) for name, adapt in adapts.items()
    }
    if alone:
        step = products(setting.model(), setting.tasks, setting.batch)
        calls[PRODUCTS] = lambda: [step() for _ in range(setting.steps)]
    return in_turns(calls, rounds, least)


def run(rounds: int, quick: bool, number: int | None = None) -> list[Row]:
    """Measure the inner loop; BLAS has one thread, as in a run. `Mismatch` if variants disagree."""
    number = compiled_threads(number)
    least = 0.002 if quick else 0.02
    heads = (QUICK, SINE) if quick else (OMNIGLOT, MINIIMAGENET, SINE)
    rows: list[Row] = []
    peak, _ = rates("float32", number, quick)
    with blas_threads(1):
        for setting in each(heads, "meta-iterations"):
            turns = -(-rounds // 3) if setting is MINIIMAGENET else rounds  # of many seconds each
            rows += _whole(setting, measure(setting, turns, least, alone=True), number, peak)
        for axis, value, setting in each(list(_growth(quick)), "growth"):
            timings = measure(setting, rounds, least, alone=False)
            rows += [
                timed(f"{axis}={value}", name, timing, axis=axis, value=value, threads=number,
                      ratio=timing.median / timings["batched"].median)
                for name, timing in timings.items()
            ]  # fmt: skip
    networks = ("sine",) if quick else ("omniglot", "mini-imagenet", "sine")
    for network in each(networks, "memory"):
        for backend in usable():
            rows += memory(network, backend)
    return rows


def _whole(setting: Setting, timings: dict[str, Any], number: int, peak: float) -> list[Row]:
    """Rows with each variant over its matrix products, on one core and shared by all threads, and
    over what these need at `peak` GFLOP/s."""
    alone = timings[PRODUCTS].median
    nominal, done = (setting.steps * w for w in work(setting.model(), setting.tasks, setting.batch))
    rows = []
    for name, timing in timings.items():
        over, most = timing.median / alone, 1e9 * peak * timing.median
        ratios = {
            "over_products": over, "over_cores": over * number, "flops": nominal,
            "share": done / most, "nominal": nominal / most, "peak_gflops": peak,
        }  # fmt: skip
        ratio = timing.median / timings["batched"].median
        more = {} if name == PRODUCTS else ratios
        rows.append(timed(str(setting), name, timing, threads=number, ratio=ratio, **more))
    return rows


def _growth(quick: bool) -> Iterator[tuple[str, int, Setting]]:
    base, growth = (QUICK, QUICK_GROWTH) if quick else (OMNIGLOT, GROWTH)
    for axis, values in growth.items():
        for value in values:
            change: Any = {axis: value}
            yield axis, value, replace(base, **change)


def memory(network: str, backend: str, short: int = 2, long: int = 20) -> list[Row]:
    """What the inner loop takes for few and for many steps, and for each step between them."""
    variant = "batched" if backend == "numpy" else backend
    found = {k: ask("bench.memory", network, k, backend) for k in (short, long)}
    rows: list[Row] = []
    for k, taken in found.items():
        row: Row = {"case": f"memory {taken['of']}", "variant": variant, "steps": k, **taken}
        for kind in ("resident", "traced"):
            size = taken[f"{kind}_bytes"]
            row[f"{kind}_mb"] = None if size is None else 1e-6 * size
        rows.append(row)
    traced = [found[k]["traced_bytes"] for k in (short, long)]
    resident = [found[k]["resident_bytes"] for k in (short, long)]
    rows[-1]["bytes_per_step"] = (traced[1] - traced[0]) / (long - short)
    if None not in resident:
        rows[-1]["resident_bytes_per_step"] = (resident[1] - resident[0]) / (long - short)
    return rows


def summary(rows: list[Row]) -> str:
    """The headline: meta-iterations over their matrix products."""
    return "\n".join(
        f"{row['case']}, {row['variant']}: {row['over_products']:.2f} times its matrix products, "
        f"on {row['threads']} cores {row['over_cores']:.2f}; {row['share']:.2f} of their peak"
        for row in rows
        if "over_products" in row
    )


def draw(rows: list[Row], folder: Path, where: str) -> list[Path]:
    """Draw how the meta-iteration's time grows; returns the picture's path."""
    title = "A meta-iteration over one size at a time, around the Omniglot setting"
    title += f", threads: {rows[0]['threads']}\n{where}"
    return [draw_growth([row for row in rows if "axis" in row], folder / "inner-growth.png", title)]


def draw_growth(rows: list[Row], path: Path, title: str) -> Path:
    """Draw the lines of all variants over each size."""
    axes_names, names = distinct(rows, "axis"), distinct(rows, "variant")
    labels = {"tasks": "tasks T", "steps": "inner steps k", "size": "image side, pixels",
              "filters": "filters of each layer"}  # fmt: skip
    new, axes = figure(title, max(3.4 * len(axes_names), 9), 4, ncols=len(axes_names), sharey=True)
    for ax, axis in zip(axes[0], axes_names, strict=True):
        here = [row for row in rows if row["axis"] == axis]
        for i, name in enumerate(names):
            line = [row for row in here if row["variant"] == name]
            band(ax, line, "value", 1e3, marker=MARKERS[i], ms=5, color=f"C{i}", label=name)
        ax.set(xlabel=labels[axis])
        logarithmic(ax, "y")
        ticks_at(ax, distinct(here, "value"))
    axes[0, 0].set_ylabel("ms")
    axes[0, 0].legend(frameon=False)
    return save_figure(new, path)
