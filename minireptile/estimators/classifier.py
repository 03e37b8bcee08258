"""The classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..head import with_outputs
from ..loops import Loops, Snapshot
from ..model import Model
from ..tasks.rows import ClassRows
from ..trained import labels_of
from .base import FewShotEstimator
from .inputs import column, finite


class FewShotClassifier(FewShotEstimator):
    """Learns classes from a few examples of each, from an initialisation that was trained for it.

    Parameters
    ----------
    start : str, path, Trained or None
        What to start from: the name of a trained model that ships with the package; the folder of
        a run; a `Trained`, such as another's ``meta_``. None: `model` as it begins, or a small
        dense network for the features there are, which has learned nothing before.
    model : Model or None
        For ``start=None``.
    steps, batch : int or None
        Gradient steps of `fit`, and examples in each; None: as the initialisation was trained for.
    lr : float or None
        Of the steps; None: likewise.
    transductive : bool
        Classify all queries as one batch, or each on its own beside the examples of `fit`.
    seed : int
        Of the order of the examples and, without a start, of the network.
    backend : str
        Who computes.

    Attributes
    ----------
    classes_ : array (n_classes,)
        In the order of the columns of `predict_proba`.
    n_features_in_ : int
    loss_ : array (steps,)
        The loss before each step.
    adapted_ : Adapted
    meta_ : Trained
        After `meta_fit`: what `fit` then starts from. scikit-learn's `clone` drops it as it drops
        all that was learned: for a pipeline, pass ``start=estimator.meta_``.
    """

    kind, loss = "classifier", "softmax_cross_entropy"

    def __init__(
        self, start: Any = "glyphs", *, model: Model | None = None, steps: int | None = None,
        batch: int | None = None, lr: float | None = None, transductive: bool = False,
        seed: int = 0, backend: str = "numpy",
    ) -> None:  # fmt: skip
        super().__init__(
            start, model=model, steps=steps, batch=batch, lr=lr, transductive=transductive,
            seed=seed, backend=backend,
        )  # fmt: skip

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None
    ) -> FewShotClassifier:
        """Go on from where `fit` or the last call left, on other examples.

        Parameters
        ----------
        X : array (n, features), or images (n, H, W, C) or (n, H, W)
            As in `fit`.
        y : array (n,)
            Labels.
        classes : array (n_classes,), optional
            All there will be, in the first call; those of its y if it is left out.

        Returns
        -------
        FewShotClassifier
            Itself.
        """
        if hasattr(self, "adapted_"):
            self._queries(X)
            return self._keep(self.adapted_.adapt(*self._read(X, y)))
        x, labels = self._read(X, y)
        every = labels if classes is None else labels_of(classes)
        return self._keep(self._trained(self._outputs(every)).adapt(x, labels, classes=every))

    def meta_fit(
        self, X: ArrayLike, y: ArrayLike, way: int = 5, loops: Loops | None = None,
        report: Callable[[Snapshot], Any] = lambda run: None,
    ) -> FewShotClassifier:  # fmt: skip
        """Train the initialisation itself, by Reptile, on tasks made of many classes.

        Parameters
        ----------
        X : array (n, features), or images (n, H, W, C) or (n, H, W)
            Examples of other classes than those to come.
        y : array (n,)
            Their labels.
        way : int
            Classes of a task.
        loops : Loops, optional
            The numbers of the two loops; 1,000 iterations if they are left out.
        report : callable, optional
            Called with the `Snapshot` of every iteration.

        Returns
        -------
        FewShotClassifier
            Itself: `fit` starts from ``meta_`` from now on.
        """
        x, labels = self._read(X, y)
        trained = self._trained(way)
        tasks = ClassRows(trained.examples(x), labels, way)
        model, theta, state = with_outputs(trained.model, trained.theta, trained.state, way)
        trained = replace(trained, model=model, theta=theta, state=state)
        return self._train(trained, tasks, loops, min(10, tasks.smallest), report)

    def predict(self, X: ArrayLike) -> NDArray:
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """The probability of each class for each query.

        Parameters
        ----------
        X : array (m, features), or images (m, H, W, C) or (m, H, W)
            Queries.

        Returns
        -------
        array (m, n_classes)
            Its columns are in the order of ``classes_``.
        """
        x = self._queries(X)
        return self.adapted_.probabilities(x, self.transductive)

    def _read(self, X: ArrayLike, y: Any) -> tuple[NDArray, NDArray]:
        x, y = self._begin(X, y)
        y = column(y)
        if y.dtype.kind == "f":
            finite(y)
            if (y % 1 != 0).any():
                raise InputError("Unknown label type: continuous. y must hold labels, no fractions")
        return x, labels_of(y)

    def _outputs(self, y: NDArray) -> int:
        return len(np.unique(y))

    def _score(self, y: NDArray, predicted: NDArray, weights: NDArray) -> float:
        return float(np.average(predicted == y, weights=weights))
