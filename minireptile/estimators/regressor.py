"""The regressor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..loops import Loops, Snapshot
from ..tasks.rows import GroupRows
from .base import FewShotEstimator
from .inputs import finite


class FewShotRegressor(FewShotEstimator):
    """Learns a function from a few points, from an initialisation that was trained for it.

    Parameters
    ----------
    start : str, path, Trained or None
        What to start from: the folder of a run, or a `Trained`. None: `model` as it begins, or a
        small dense network.
    model : Model or None
        For ``start=None``.
    steps, batch : int or None
        Gradient steps of `fit`, and examples in each; None: as the initialisation was trained for.
    lr : float or None
        Of the steps; None: likewise.
    transductive : bool
        Predict all queries as one batch, or each on its own beside the points of `fit`.
    seed : int
        Of the order of the points and, without a start, of the network.
    backend : str
        Who computes.

    Attributes
    ----------
    n_features_in_ : int
    loss_ : array (steps,)
        The loss before each step.
    adapted_ : Adapted
    meta_ : Trained
        After `meta_fit`: see `FewShotClassifier`.
    """

    kind, loss = "regressor", "squared_error"

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> FewShotRegressor:
        """Go on from where `fit` or the last call left, on other points.

        Parameters
        ----------
        X : array (n, features)
            Where.
        y : array (n,) or (n, n_out)
            The function's values there.

        Returns
        -------
        FewShotRegressor
            Itself.
        """
        if not hasattr(self, "adapted_"):
            return self.fit(X, y)
        self._queries(X)
        x, y = self._read(X, y)
        return self._keep(self.adapted_.adapt(x, y))

    def meta_fit(
        self, X: ArrayLike, y: ArrayLike, groups: ArrayLike, loops: Loops | None = None,
        report: Callable[[Snapshot], Any] = lambda run: None,
    ) -> FewShotRegressor:  # fmt: skip
        """Train the initialisation itself, by Reptile, on many functions.

        Parameters
        ----------
        X : array (n, features)
            Points of all the functions.
        y : array (n,) or (n, n_out)
            The values there.
        groups : array (n,)
            The function that each row belongs to.
        loops : Loops, optional
            The numbers of the two loops; 1,000 iterations if they are left out.
        report : callable, optional
            Called with the `Snapshot` of every iteration.

        Returns
        -------
        FewShotRegressor
            Itself: `fit` starts from ``meta_`` from now on.
        """
        x, y = self._read(X, y)
        trained = self._trained(y.shape[1])
        tasks = GroupRows(trained.examples(x), y.astype(np.float32), np.asarray(groups))
        return self._train(trained, tasks, loops, min(10, tasks.smallest), report)

    def predict(self, X: ArrayLike) -> NDArray:
        x = self._queries(X)
        out = np.float64(self.adapted_.predict(x, self.transductive))
        return out[:, 0] if self._single else out

    def _read(self, X: ArrayLike, y: Any) -> tuple[NDArray, NDArray]:
        x, y = self._begin(X, y)
        y = np.asarray(y, np.float64)
        finite(y)
        self._single = y.ndim == 1
        return x, y.reshape(len(y), -1)

    def _outputs(self, y: NDArray) -> int:
        return y.shape[1]

    def _score(self, y: NDArray, predicted: NDArray, weights: NDArray) -> float:
        y = np.float64(y)
        residual = np.average((y - predicted) ** 2, axis=0, weights=weights)
        spread = np.average((y - np.average(y, 0, weights)) ** 2, axis=0, weights=weights)
        return float(np.mean(1 - residual / np.where(spread > 0, spread, 1)))
