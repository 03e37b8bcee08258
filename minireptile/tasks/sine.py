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
    Source: Finn, Abbeel & Levine, 2017, section 5.1; Nichol, Achiam & Schulman, 2018, section 4.

    Attributes
    ----------
    input_shape : tuple of int
        Of one point: (1,).
    n_out : int
        Outputs that a model needs: 1.

    Examples
    --------
    >>> import numpy as np, minireptile as mr
    >>> mr.Sine().draw(np.random.default_rng(0), shot=10, query=1)
    Task(support (10, 1) -> (10, 1), query (50, 1) -> (50, 1))
    """

    input_shape = (1,)
    n_out = 1

    def draw(self, rng: np.random.Generator, shot: int, query: int = 0) -> Task:
        """Draw a task.

        Parameters
        ----------
        rng : numpy.random.Generator
            What decides.
        shot : int
            Support points, 1 to 50.
        query : int
            Above 0, the whole grid is the query set.

        Returns
        -------
        Task
            With x (shot, 1) and y (shot, 1) of float32.

        Raises
        ------
        InputError
            If a number is out of range or of another kind.
        """
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
