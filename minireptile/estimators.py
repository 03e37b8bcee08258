"""Few-shot learners that behave as scikit-learn's estimators do, and do not need scikit-learn.

``fit`` adapts a trained initialisation to a few examples; ``meta_fit`` trains one. What
scikit-learn asks of an estimator is here by its names: parameters are those of ``__init__``, what
is learned ends in an underscore, wrong input is a ValueError. scikit-learn itself is imported when
it asks for its tags, and an error or warning is of its kind where it is loaded.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import shown
from .errors import InputError
from .head import with_outputs
from .layers import Dense, Tanh
from .loops import Loops, Snapshot
from .model import Model
from .optim import Adam
from .reptile import reptile
from .tasks.base import Tasks
from .tasks.rows import ClassRows, GroupRows
from .trained import Adapted, Trained, labels_of

Self = TypeVar("Self", bound="_FewShot")

# Of a network that starts from nothing, where there is nothing to start from.
FRESH = {"steps": 200, "batch": 16}
FRESH_LR = 0.01


class _FewShot:
    """What both estimators share. `loss_` is the loss before each step of `fit`."""

    kind, loss = "", ""
    classes_: Any

    def __init__(
        self, start: Any = None, *, model: Model | None = None, steps: int | None = None,
        batch: int | None = None, lr: float | None = None, transductive: bool = False,
        seed: int = 0, backend: str = "numpy",
    ) -> None:  # fmt: skip
        self.start = start
        self.model = model
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.transductive = transductive
        self.seed = seed
        self.backend = backend

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of ``__init__``, by name.

        Parameters
        ----------
        deep : bool
            Of no account here: none of them is an estimator.

        Returns
        -------
        dict
            As they were given.
        """
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self: Self, **params: Any) -> Self:
        """Set parameters of ``__init__``; `InputError` if there is none of a name.

        Parameters
        ----------
        **params : dict
            By name.

        Returns
        -------
        estimator
            Itself.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise InputError(
                    f"{type(self).__name__} has no parameter {name!r}: choose of {', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        usual = signature(type(self)).parameters
        given = {n: v for n, v in self.get_params().items() if v is not usual[n].default}
        return f"{type(self).__name__}({', '.join(f'{n}={shown(v)}' for n, v in given.items())})"

    def __sklearn_tags__(self) -> Any:
        from sklearn import utils

        regression = self.kind == "regressor"
        return utils.Tags(
            estimator_type=self.kind,
            target_tags=utils.TargetTags(required=True, multi_output=regression),
            classifier_tags=None if regression else utils.ClassifierTags(),
            regressor_tags=utils.RegressorTags() if regression else None,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "adapted_")

    # ------------------------------------------------------------------------- what both are asked

    def fit(self: Self, X: ArrayLike, y: ArrayLike) -> Self:
        """Adapt to a few examples.

        Parameters
        ----------
        X : array (n, features), or images (n, H, W, C) or (n, H, W)
            As the network was trained: characters are 0 where there is ink and 1 where there is
            paper.
        y : array (n,), or (n, n_out) of a regression's values
            Of a classifier, labels: numbers or strings.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        InputError
            A ValueError: if X or y holds NaN, there is one class, or as many features as do not
            fit.
        """
        x, y = self._read(X, y)
        return self._keep(self._trained(self._outputs(y)).adapt(x, y))

    def predict(self, X: ArrayLike) -> NDArray:
        """The most probable class of each query, or a regression's values there.

        Parameters
        ----------
        X : array (m, features), or images (m, H, W, C) or (m, H, W)
            Queries.

        Returns
        -------
        array (m,), or (m, n_out)
            Of ``classes_``; values as y was in `fit`.
        """
        raise NotImplementedError

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The fraction that is right, or R squared, 0 of which is no better than the mean.

        Parameters
        ----------
        X : array (m, features), or images (m, H, W, C) or (m, H, W)
            Queries.
        y : array (m,), or (m, n_out)
            What they are.
        sample_weight : array (m,), optional
            How much each counts.

        Returns
        -------
        float
            At most 1.
        """
        y = np.asarray(y)
        weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        return self._score(y, self.predict(X), weights)

    # ---------------------------------------------------------------------------------- fitting

    def _read(self, X: ArrayLike, y: Any) -> tuple[NDArray, NDArray]:
        """X (n, features), and labels (n,) or values (n, n_out)."""
        raise NotImplementedError

    def _outputs(self, y: NDArray) -> int:
        """The outputs that a network for such labels or values needs."""
        raise NotImplementedError

    def _score(self, y: NDArray, predicted: NDArray, weights: NDArray) -> float:
        raise NotImplementedError

    def _begin(self, X: ArrayLike, y: Any) -> tuple[NDArray, NDArray]:
        """X (n, features), and y; from now on, X must have so many features."""
        if y is None:
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        x, y = _table(X), np.asarray(y)
        if y.shape[:1] != (len(x),):
            raise InputError(f"X has {len(x)} examples, and y has shape {y.shape}: one for each")
        self.n_features_in_ = x.shape[1]
        return x, y

    def _trained(self, n_out: int) -> Trained:
        """What `fit` adapts: from `meta_fit`, from `start`, or a fresh network."""
        start: Any = getattr(self, "meta_", self.start)
        options: dict[str, Any] = {}
        if isinstance(start, str | Path):
            from .runs import trained as stored

            known = start in stored.names()
            start = (stored.pretrained if known else stored.load)(str(start), self.backend)
        if start is None:
            model, options = self.model or self._network(n_out), FRESH
            start = Trained(model, model.init(self.seed), {}, Adam(FRESH_LR, beta1=0.0))
        if not isinstance(start, Trained):
            raise InputError(
                "start must be a Trained, the name of one that ships with the package, the folder "
                f"of a run or None, not {shown(start)}"
            )
        if start.model.loss != self.loss:
            raise InputError(
                f"{type(self).__name__} needs a model with the loss {self.loss}, and this one has "
                f"{start.model.loss}"
            )
        needed = int(np.prod(start.model.input_shape))
        if needed != self.n_features_in_:
            raise InputError(
                f"X has {self.n_features_in_} features, and the network takes {needed}, "
                f"{start.model.input_shape}: resize X, or use start=None and a model for it"
            )
        numbers = {"steps": self.steps, "batch": self.batch, "seed": self.seed}
        options = {**options, **{n: v for n, v in numbers.items() if v is not None}}
        if self.lr is not None:
            options["optimizer"] = replace(start.optimizer, lr=self.lr)  # type: ignore[type-var]
        return replace(start, **options)

    def _network(self, n_out: int) -> Model:
        """A small network for whatever features there are."""
        layers = [Dense(32), Tanh(), Dense(n_out)]
        return Model(layers, (self.n_features_in_,), self.loss, backend=self.backend)

    def _keep(self: Self, adapted: Adapted) -> Self:
        self.adapted_, self.loss_ = adapted, adapted.loss
        if adapted.classes is not None:
            self.classes_ = adapted.classes
        return self

    def _train(self: Self, trained: Trained, tasks: Tasks, loops: Any, shots: int,
               report: Callable[[Snapshot], Any]) -> Self:  # fmt: skip
        """The outer loop, from where `trained` is."""
        if loops is None:
            loops = Loops(iterations=1000, train_shots=shots)
        model, optimizer = trained.model, trained.optimizer
        state = trained.state or optimizer.init(trained.theta)
        run = start = Snapshot(0, trained.theta, state, np.empty((0, 0)))
        for run in reptile(model, tasks, optimizer, loops, start):
            report(run)
        known = {n: v for n, v in trained.card.items() if n in ("range", "ink")}
        told = {"dataset": "examples of one's own", "algorithm": "reptile"}
        card = {**known, **told, "iteration": run.iteration, "way": tasks.n_out}
        self.meta_ = replace(trained, theta=run.theta, state=run.state, card=card)
        return self

    def _queries(self, X: ArrayLike) -> NDArray:
        if not hasattr(self, "adapted_"):
            raise _kind("NotFittedError", InputError)(
                f"this {type(self).__name__} is not fitted yet: call fit with a few examples first"
            )
        x = _table(X)
        if x.shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {x.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return x


class FewShotClassifier(_FewShot):
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
        y = _column(y)
        if y.dtype.kind == "f":
            _finite(y)
            if (y % 1 != 0).any():
                raise InputError("Unknown label type: continuous. y must hold labels, no fractions")
        return x, labels_of(y)

    def _outputs(self, y: NDArray) -> int:
        return len(np.unique(y))

    def _score(self, y: NDArray, predicted: NDArray, weights: NDArray) -> float:
        return float(np.average(predicted == y, weights=weights))


class FewShotRegressor(_FewShot):
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
        _finite(y)
        self._single = y.ndim == 1
        return x, y.reshape(len(y), -1)

    def _outputs(self, y: NDArray) -> int:
        return y.shape[1]

    def _score(self, y: NDArray, predicted: NDArray, weights: NDArray) -> float:
        y = np.float64(y)
        residual = np.average((y - predicted) ** 2, axis=0, weights=weights)
        spread = np.average((y - np.average(y, 0, weights)) ** 2, axis=0, weights=weights)
        return float(np.mean(1 - residual / np.where(spread > 0, spread, 1)))


def _table(X: Any) -> NDArray:
    """X as (n, features) of finite numbers, as scikit-learn would have it."""
    if hasattr(X, "toarray"):
        raise InputError("sparse X is not supported: pass X.toarray()")
    x = np.asarray(X)
    if x.dtype.kind == "c":
        raise InputError("Complex data not supported: X must hold real numbers")
    if x.dtype.kind not in "biuf":
        x = x.astype(np.float64)
    if x.ndim < 2:
        raise InputError(
            f"X must be 2-D, (n, features), and has shape {x.shape}. Reshape your data: "
            "X.reshape(1, -1) if it is one example"
        )
    if not len(x):
        raise InputError(f"Found array with 0 sample(s) (shape={x.shape}), and X needs some")
    if not x.size:
        raise InputError(
            f"Found array with 0 feature(s) (shape={x.shape}) while a minimum of 1 is required."
        )
    if not np.isfinite(x).all():
        raise InputError("X holds NaN or infinity: clean the data first")
    return x.reshape(len(x), -1)


def _finite(y: NDArray) -> None:
    if not np.isfinite(y).all():
        raise InputError("Input y contains NaN or infinity: clean the data first")


def _column(y: NDArray) -> NDArray:
    """Labels (n,) from (n, 1), with scikit-learn's warning."""
    if y.ndim != 2 or y.shape[1] != 1:
        return y
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected",
        _kind("DataConversionWarning", UserWarning), stacklevel=4,
    )  # fmt: skip
    return y[:, 0]


def _kind(name: str, otherwise: type) -> Any:
    """scikit-learn's error or warning of that name, if it is loaded."""
    return getattr(sys.modules.get("sklearn.exceptions"), name, otherwise)
