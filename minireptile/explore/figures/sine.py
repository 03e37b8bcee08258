"""What the two figures of sine waves share: the network of the paper, and a wave to adapt it to."""

from __future__ import annotations

from math import pi, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import shown
from ...errors import InputError
from ...networks import sine_mlp
from ...optim import SGD
from ...reptile import adapt
from ...rng import Stream, generator
from ...tasks.sine import Sine
from ..values import Check, count, numbers, one_of

LIVE = ("reptile", "fomaml", "maml", "joint")  # what a page can train: iMAML's solver is SciPy's
ITERATIONS = 3000
MODEL = sine_mlp(64, dtype="float64")  # adapts; no picture depends on how a sum is rounded
P = MODEL.size
THETA: Check = numbers(P)
X = np.linspace(-5, 5, 101)[:, None]  # where curves are drawn, and the error on the wave measured
AMPLITUDE, PHASE = (0.1, 5.0), (0.0, 2 * pi)  # as Sine draws them

# What a live training is: the figure that trains, and what makes its theta again elsewhere.
TRAINING = """
loops = mr.Loops({iterations}, meta_batch=5, train_shots=50, seed={seed}, state="fresh")
runs = mr.{algorithm}(mr.sine_mlp(64), mr.Sine(), mr.SGD(0.02), loops)
theta = mr.sine_mlp(64).init({seed})
for run in islice(runs, {iteration}):                           # the first of {iterations}
    theta = run.theta
"""


def recipe(value: Any, what: str) -> tuple[str, int, int]:
    """What trained a theta: [algorithm, seed, iteration]."""
    if not isinstance(value, list) or len(value) != 3:
        raise InputError(f"{what} must be [algorithm, seed, iteration], not {shown(value)}")
    algorithm, seed, iteration = value
    return (
        one_of(*LIVE)(algorithm, f"{what}[0]"),
        count(0, 9999)(seed, f"{what}[1]"),
        count(0, ITERATIONS)(iteration, f"{what}[2]"),
    )


def training(algorithm: str, seed: int, iteration: int) -> str:
    """The lines that train a theta."""
    return TRAINING.format(
        algorithm=algorithm, seed=seed, iteration=iteration, iterations=ITERATIONS
    )


def wave(amplitude: float, phase: float, x: NDArray) -> NDArray:
    """a sin(x + b), as `Sine` computes it."""
    return amplitude * np.vectorize(lambda v: sin(v + phase), otypes=[float])(x)


def unseen(number: int, shot: int) -> tuple[float, float, NDArray]:
    """Amplitude, phase and the x (shot, 1) of a task of `Sine` that no training draws."""
    x = Sine().draw(generator(0, Stream.EXAMPLE, task=number), shot).support_x
    amplitude, phase = generator(0, Stream.EXAMPLE, task=number).uniform([0.1, 0], [5, 2 * pi])
    return float(amplitude), float(phase), x.astype(float)


def way(theta: NDArray, x: NDArray, y: NDArray, steps: int, rate: float) -> NDArray:
    """theta (T, P) and where `steps` steps on all of x (T, B, 1) lead it: (steps + 1, T, P)."""
    phi = theta.astype(float)
    path = [phi.copy()]
    for _ in range(steps if x.size else 0):
        adapt(MODEL, phi, x[None], y[None], SGD(rate))
        path.append(phi.copy())
    return np.array(path)


def outputs(phi: NDArray, x: NDArray) -> NDArray:
    """What each of phi (n, P) says at x (G, 1): (n, G)."""
    return MODEL.forward(phi, np.repeat(x[None], len(phi), 0))[:, :, 0]
