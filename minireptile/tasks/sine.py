"""Sine waves: the one-dimensional regression of the MAML and Reptile papers."""

from __future__ import annotations

from dataclasses import dataclass
from math import sin

import numpy as np

from ..checks import whole
from ..errors import InputError
from ..rng import drawing
from .base import Task

POINTS = 50
GRID = np.linspace(-5, 5, POINTS)
X = GRID.tolist()


@dataclass(frozen=True)
class Sine:
    """Tasks f(x) = a sin(x + b), with a from U[0.1, 5] and b from U[0, 2 pi].

    The inputs are a grid of 50 points over [-5, 5], as in the code that accompanies the paper. The
    support set is `shot` of them in random order; the query set, if any, is the whole grid.
    """

    input_shape = (1,)
    n_out = 1

    def draw(self, rng: np.random.Generator, shot: int, query: int = 0) -> Task:
        """Draw a task with `shot` support points; any `query` above 0 asks for the grid."""
        rng, shot = drawing(rng, "Sine.draw"), whole(shot, "Sine.draw: shot", 0)
        query = whole(query, "Sine.draw: query", 0)
        if not 1 <= shot <= POINTS:
            raise InputError(f"a sine task has {POINTS} points: shots must be 1 to {POINTS}")
        amplitude, phase = rng.uniform(0.1, 5.0), rng.uniform(0, 2 * np.pi)
        # The C library's sine: NumPy's own, on vectors, rounds as the processor's width has it.
        y = amplitude * np.array([sin(x + phase) for x in X])
        grid_x, grid_y = (a.astype(np.float32)[:, None] for a in (GRID, y))
        order = rng.permutation(POINTS)[:shot]
        rest = slice(None) if query else slice(0)
        return Task(grid_x[order], grid_y[order], grid_x[rest], grid_y[rest])
