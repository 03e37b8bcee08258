"""What both estimators share: parameters, `fit`, `score`, and where `fit` begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import shown
from ..errors import InputError
from ..layers import Dense, Tanh
from ..loops import Loops, Snapshot
from ..model import Model
from ..optim import Adam
from ..reptile import reptile
from ..tasks.base import Tasks
from ..trained import Adapted, Trained
from .inputs import kind_of, table

Self = TypeVar("Self", bound="FewShotEstimator")

# Of a network that starts from nothing, where there is nothing to start from.
FRESH = {"steps": 200, "batch": 16}
FRESH_LR = 0.01


class FewShotEstimator:
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
        x, y = table(X), np.asarray(y)
        if y.shape[:1] != (len(x),):
            raise InputError(f"X has {len(x)} examples, and y has shape {y.shape}: one for each")
        self.n_features_in_ = x.shape[1]
        return x, y

    def _trained(self, n_out: int) -> Trained:
        """What `fit` adapts: from `meta_fit`, from `start`, or a fresh network."""
        start: Any = getattr(self, "meta_", self.start)
        options: dict[str, Any] = {}
        if isinstance(start, str | Path):
            from ..runs import trained as stored

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
            raise kind_of("NotFittedError", InputError)(
                f"this {type(self).__name__} is not fitted yet: call fit with a few examples first"
            )
        x = table(X)
        if x.shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {x.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return x
