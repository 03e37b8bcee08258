"""One sine wave, a few points of it, and a few steps from an initialisation of one's choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..answer import Figure, call, figure
from ..starts import STARTS, starts
from ..values import count, listed, maybe, one_of, real
from .sine import AMPLITUDE, PHASE, THETA, X, outputs, recipe, training, unseen, wave, way


@call(
    amplitude=real(*AMPLITUDE),
    phase=real(*PHASE),
    points=listed(real(-5, 5), 0, 10),
    steps=count(1, 20),
    rate=real(0, 0.1),
    start=one_of(*STARTS, "yours"),
    yours=maybe(THETA),
    recipe=recipe,
)
def wave_fit(
    amplitude: float, phase: float, points: list[float], steps: int, rate: float, start: str,
    yours: NDArray | None, recipe: tuple[str, int, int],
) -> dict[str, Any]:  # fmt: skip
    """The model's curve at X before and after each step, (steps + 1, 101), and its mean squared
    errors (steps + 1,) on the points and on the whole wave. Without points, before alone."""
    if start == "yours" and yours is None:
        raise InputError("there is no θ of yours yet: drag one here from the figure that trains")
    theta = yours if start == "yours" else starts()[start]
    x = np.array(points, float).reshape(1, -1, 1)
    y = wave(amplitude, phase, x)
    phi = way(np.asarray(theta)[None], x, y, steps, rate)[:, 0]
    curves = outputs(phi, X)
    whole = np.square(curves - wave(amplitude, phase, X)[:, 0]).mean(1)
    seen = np.square(outputs(phi, x[0]) - y[0, :, 0]).mean(1) if points else np.empty(0)
    return {"curves": curves, "whole": whole, "seen": seen}


@call(deal=count(1, 9999), shot=count(1, 10))
def wave_deal(deal: int, shot: int) -> dict[str, Any]:
    """An unseen task of `Sine`, by number: its amplitude and phase, and the x of its points."""
    amplitude, phase, x = unseen(deal, shot)
    return {"amplitude": amplitude, "phase": phase, "points": [round(float(v), 4) for v in x[:, 0]]}


def lines(state: Mapping[str, Any]) -> str:
    """The same, on the public API."""
    load = """
from importlib.resources import files

with (files("minireptile.explore") / "starts.npz").open("rb") as file:
    theta = np.load(file)["{start}"]                            # trained, 30,000 iterations
"""
    if state["start"] == "yours":
        load = "from itertools import islice\n" + training(*state["recipe"])
    return f"""
import numpy as np
import minireptile as mr
{load.format(start=state["start"])}
model = mr.sine_mlp(64, dtype="float64")
x = np.array({state["points"]}).reshape(-1, 1)
y = {state["amplitude"]} * np.sin(x + {state["phase"]})
phi, grid = theta.astype(float), np.linspace(-5, 5, 101)[:, None]
curves = [model.forward(phi, grid)[:, 0]]
for _ in range({state["steps"] if state["points"] else 0}):     # the inner loop
    mr.adapt(model, phi, x[None], y[None], mr.SGD({state["rate"]}))
    curves.append(model.forward(phi, grid)[:, 0])
"""


figure(
    Figure(
        "waves",
        ("wave_fit",),
        {
            "amplitude": 3.0,
            "phase": 0.9,
            "points": [-4.2, -2.6, -1.1, 1.9, 3.6],
            "steps": 5,
            "rate": 0.02,
            "start": "reptile",
            "yours": None,
            "recipe": ["reptile", 0, 0],
        },
        lines,
        {"curves": "curves"},
        own={"deal": 0},
    )
)
