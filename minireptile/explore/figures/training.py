"""Meta-training of the sine network while one watches: a question goes some iterations on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import algorithms
from ...errors import InputError
from ...loops import Loops, Snapshot
from ...networks import sine_mlp
from ...optim import SGD
from ...tasks.sine import Sine
from ..answer import Figure, call, figure
from ..values import count, maybe, one_of
from .sine import ITERATIONS, LIVE, THETA, X, outputs, training, unseen, wave, way

MOST = 20  # iterations a question
SHOWN, STEPS, RATE = 10, 8, 0.02  # unseen waves, and the steps on each
LEARNER = sine_mlp(64)


@call(
    algorithm=one_of(*LIVE),
    seed=count(0, 9999),
    start=count(0, ITERATIONS),
    iteration=count(0, ITERATIONS),
    theta=maybe(THETA),
)
def meta_train(
    algorithm: str, seed: int, start: int, iteration: int, theta: NDArray | None
) -> dict[str, Any]:
    """Go on from theta after `start` iterations to theta after `iteration`, and adapt it to waves
    that no training draws.

    Returns
    -------
    dict
        algorithm, seed, iteration : as asked for; theta (P,) there.
        loss : (iteration - start,), of each meta-batch before its last inner step.
        errors : mean squared ones on the unseen waves, without a step and after the last.
        curves : (STEPS + 1, 101), of the first of them; x, y: its points; true: the wave at X.
    """
    if not 0 <= iteration - start <= MOST:
        raise InputError(f"a question goes 0 to {MOST} iterations on, not {iteration - start}")
    if theta is None and start:
        raise InputError(f"there is no theta to go on from at iteration {start}: press reset")
    loops = Loops(ITERATIONS, meta_batch=5, train_shots=50, seed=seed, state="fresh")
    theta = LEARNER.init(seed) if theta is None else theta
    run = Snapshot(start, theta, {}, np.empty((0, 0)))
    losses = []
    runs = algorithms.ALGORITHMS[algorithm].run(LEARNER, Sine(), SGD(RATE), loops, run)
    for run in islice(runs, iteration - start):
        losses.append(run.loss[-1].mean())
    return {
        "algorithm": algorithm,
        "seed": seed,
        "iteration": iteration,
        "theta": run.theta,
        "loss": np.array(losses),
        **tried(run.theta),
    }


def tried(theta: NDArray) -> dict[str, Any]:
    """What theta makes of the unseen waves."""
    x, y, true = shown()
    phi = way(np.repeat(theta[None], SHOWN, 0), x, y, STEPS, RATE)
    before, after = (np.square(outputs(p, X) - true).mean() for p in (phi[0, :1], phi[-1]))
    return {
        "errors": np.array([before, after]),
        "curves": outputs(phi[:, 0], X),
        "x": x[0, :, 0],
        "y": y[0, :, 0],
        "true": true[0],
    }


@cache
def shown() -> tuple[NDArray, NDArray, NDArray]:
    """Ten points x, y (SHOWN, 10, 1) of each unseen wave, and the waves at X (SHOWN, 101)."""
    found = []
    for t in range(SHOWN):
        amplitude, phase, x = unseen(t, 10)
        found.append((x, wave(amplitude, phase, x), wave(amplitude, phase, X)[:, 0]))
    x, y, true = (np.array(a) for a in zip(*found, strict=True))
    return x, y, true


def lines(state: Mapping[str, Any]) -> str:
    """The same, in the open."""
    return f"""
from itertools import islice
import minireptile as mr
{training(state["algorithm"], state["seed"], state["iteration"])}"""


figure(
    Figure(
        "training",
        ("meta_train",),
        {"algorithm": "reptile", "seed": 0, "start": 0, "iteration": 0, "theta": None},
        lines,
        {"theta": "theta"},
        own={"speed": 5},
    )
)
