"""Where the GPU is faster than the processor: `adapt` over the number of tasks and the image side.

Both get their arrays from the host and give them back, as a user of the library has them.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..inner_loop import Adapt, at_once, check, draw_growth
from ..machine import usable
from ..measure import in_turns
from ..results import Row, timed
from ..settings import OMNIGLOT, QUICK, Setting
from ..tables import TIME, Columns
from .part import Context

COLUMNS: Columns = {**TIME, "ratio": ("ratio", "time over that of the processor")}

GROWTH: dict[str, tuple[int, ...]] = {
    "tasks": (1, 2, 5, 10, 32, 100, 256),
    "size": (14, 28, 42, 56, 84),
}
QUICK_GROWTH: dict[str, tuple[int, ...]] = {"tasks": (1, 2), "size": (14, 28)}
TITLE = (
    "An inner loop on the processor and on the GPU, around the Omniglot setting\n"
    "arrays from the host and back"
)


def run(context: Context) -> Iterator[Row]:
    """Rows of every size, the picture at the end."""
    base, growth = (QUICK, QUICK_GROWTH) if context.quick else (OMNIGLOT, GROWTH)
    rows: list[Row] = []
    for axis, values in growth.items():
        for value in values:
            if context.left() < 5:
                yield {"case": f"{axis}={value}", "variant": "", "note": "no time was left"}
                continue
            change: Any = {axis: value}
            for row in measure(replace(base, **change), min(context.rounds, 5)):
                rows.append({**row, "case": f"adapt {axis}={value}", "axis": axis, "value": value})
                yield rows[-1]
    if rows:
        path = draw_growth(rows, context.folder / "gpu-crossover.png", TITLE)
        yield {"case": "picture", "variant": "", "note": path.name}


def backends() -> list[str]:
    """The processor's fastest, and CuPy's."""
    there = usable(gpu=True)
    return ["numba" if "numba" in there else "numpy", *(n for n in ("cupy",) if n in there)]


def measure(setting: Setting, rounds: int) -> Iterator[Row]:
    """Check and time the inner loop on each backend; the processor's is the reference."""
    adapts = {name: at_once(setting, name) for name in backends()}
    check(setting, adapts, np.float32)
    theta = setting.model().init(0)

    def adapted(adapt: Adapt) -> None:
        adapt(np.repeat(theta[None], setting.tasks, axis=0), setting.optimizer)

    calls = {name: partial(adapted, adapt) for name, adapt in adapts.items()}
    timings = in_turns(calls, rounds, least=0.01)
    for name, timing in timings.items():
        yield timed("", name, timing, ratio=timing.median / timings[next(iter(adapts))].median)
