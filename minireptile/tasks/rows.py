"""Tasks from arrays as scikit-learn has them: examples X, and what belongs to each, y."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..checks import whole
from ..errors import InputError
from ..rng import drawing
from .base import Task


class ClassRows:
    """Tasks of `way` of the classes in y (n,), numbered anew, on x (n, ...); as `FewShot`."""

    def __init__(self, x: NDArray, y: NDArray, way: int) -> None:
        self.x, self.n_out, self.input_shape = x, whole(way, "way", 2), x.shape[1:]
        classes, counts = np.unique(y, return_counts=True)
        if len(classes) < way:
            raise InputError(
                f"{way}-way tasks need {way} classes, and y has {len(classes)}: lower way"
            )
        self.rows = [np.flatnonzero(y == label) for label in classes]
        self.smallest = int(counts.min())

    def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
        """A task with `shot` support and `query` query examples of each class."""
        if shot + query > self.smallest:
            raise InputError(
                f"a class has {self.smallest} examples, and a task takes {shot + query} of each: "
                "lower train_shots"
            )
        chosen = drawing(rng, "ClassRows.draw").choice(len(self.rows), self.n_out, replace=False)
        picks = np.stack([rng.choice(self.rows[c], shot + query, replace=False) for c in chosen])
        labels = np.arange(self.n_out)
        support, rest = picks[:, :shot].ravel(), picks[:, shot:].ravel()
        ys = np.repeat(labels, shot), np.repeat(labels, query)
        return Task(self.x[support], ys[0], self.x[rest], ys[1])


class GroupRows:
    """Tasks of regression, x (n, ...) to y (n, n_out): each is a group of rows, those of one
    function, which groups (n,) names."""

    def __init__(self, x: NDArray, y: NDArray, groups: NDArray) -> None:
        self.x, self.y, self.n_out, self.input_shape = x, y, y.shape[1], x.shape[1:]
        names, counts = np.unique(groups, return_counts=True)
        self.rows = [np.flatnonzero(groups == name) for name in names]
        self.smallest = int(counts.min())

    def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
        """A task with `shot` support and `query` query examples."""
        if shot + query > self.smallest:
            raise InputError(
                f"a group has {self.smallest} examples, and a task takes {shot + query}: "
                "lower train_shots"
            )
        rows = self.rows[drawing(rng, "GroupRows.draw").integers(len(self.rows))]
        picks = rng.choice(rows, shot + query, replace=False)
        support, rest = picks[:shot], picks[shot:]
        return Task(self.x[support], self.y[support], self.x[rest], self.y[rest])
