"""A trained model in use: adapt to a few examples, then say what others are.

The steps are those of the evaluation (evaluate.py): from theta and from the optimizer state that
training left, on mini-batches dealt out in the same way; and a query is classified as there, on its
own beside the support set, or with all others as one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import array, flag, settle, shown, whole
from .doors import check_model, check_optimizer, initialisation
from .errors import InputError
from .head import with_outputs
from .model import Model
from .optim import Optimizer, State
from .reptile import adapt
from .rng import SEEDS, Stream, generator
from .tasks.base import minibatches

SQUARED = "squared_error"


@dataclass(frozen=True, eq=False, repr=False)
class Trained:
    """An initialisation that was learned, and how it is adapted to a task.

    Parameters
    ----------
    model : Model
        The network, and its loss.
    theta : array (P,)
        The initialisation.
    state : dict of arrays (P,) or scalars
        The optimizer's shared state when training ended; {} for a fresh one. Adam needs it: from
        nothing, its first steps are too long.
    optimizer : SGD or Adam
        Takes the steps.
    steps : int
        Gradient steps on a support set.
    batch : int
        Examples in each of them; at most as many as there are, if drawn with replacement.
    replacement : bool
        As in training: see `minireptile.tasks.base.minibatches`.
    seed : int
        Of the order in which the examples are dealt out.
    card : mapping
        What is known of the training: "dataset", "way", "shot", "algorithm", "iteration", ...
    """

    model: Model
    theta: NDArray
    state: State
    optimizer: Optimizer
    steps: int = 50
    batch: int = 5
    replacement: bool = False
    seed: int = 0
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model(self.model)
        check_optimizer(self.optimizer)
        settle(self, whole, "steps", least=0)
        settle(self, whole, "batch")
        settle(self, flag, "replacement")
        settle(self, whole, "seed", least=0, most=SEEDS)
        given = self.model, self.theta, self.state, self.optimizer
        theta, state = initialisation(*given, "Trained: theta")
        object.__setattr__(self, "theta", theta)
        object.__setattr__(self, "state", state)

    def __repr__(self) -> str:
        card, model = self.card, self.model
        trained = f"on {card['dataset']}" if "dataset" in card else "by hand"
        if "algorithm" in card:
            trained += f" by {card['algorithm']}, {card.get('iteration', 0):,} iterations"
        if "way" in card:
            trained += f", {card['way']}-way"
        return "\n".join(
            [
                f"Trained {trained}",
                f"  {model.size:,} parameters, from {model.input_shape} to {model.n_out} outputs",
                f"  adapts in {self.steps} steps of {self.batch} examples by {self.optimizer}",
            ]
        )

    @property
    def classifies(self) -> bool:
        """Whether it tells classes apart; otherwise, it predicts numbers."""
        return self.model.loss != SQUARED

    def examples(self, x: ArrayLike, what: str = "x") -> NDArray:
        """Examples as the network takes them, (n, *input_shape).

        Parameters
        ----------
        x : array (n, *input_shape), or (n, features)
            They may come flattened, and grey images without the axis of channels.
        what : str
            Their name in a sentence.

        Returns
        -------
        array (n, *input_shape)
            In theta's type.

        Raises
        ------
        InputError
            If the shape is another, or they hold NaN or what training had not.
        """
        shape = self.model.input_shape
        found = array(x, what)
        grey = [shape[:-1]] if shape[-1] == 1 else []
        if not found.ndim or found.shape[1:] not in [shape, (prod(shape),), *grey]:
            rows = ", ".join(["n", *map(str, shape)])
            raise InputError(
                f"{what} must be ({rows}) or (n, {prod(shape)}), as the network takes it, "
                f"got {found.shape}"
            )
        if not np.isfinite(found).all():
            raise InputError(f"{what} holds NaN or infinity: clean the data first")
        low, high = self.card.get("range", (-np.inf, np.inf))
        if len(found) and not low <= found.min() <= found.max() <= high:
            raise InputError(
                f"{what} must lie between {low:g} and {high:g}, as what the network was trained "
                f"on, and goes from {found.min():g} to {found.max():g}: scale it first"
            )
        return found.reshape(-1, *shape).astype(self.theta.dtype)

    def adapt(
        self, x: ArrayLike, y: ArrayLike, rng: np.random.Generator | None = None,
        classes: ArrayLike | None = None,
    ) -> Adapted:  # fmt: skip
        """Adapt to a support set.

        Parameters
        ----------
        x : array (n, *input_shape), or (n, features)
            The examples.
        y : array (n,)
            A class for each: numbers or strings. For a regression, targets (n,) or (n, n_out).
            Where there are more classes than the network has outputs, it gets a last layer of
            that size; of more outputs than classes, the first are used (`minireptile.head`).
        rng : numpy.random.Generator, optional
            Deals out the examples in place of `seed`.
        classes : array, optional
            All there are, where y has not examples of each.

        Returns
        -------
        Adapted
            Says what others are.

        Raises
        ------
        InputError
            If shapes disagree, x holds NaN, or there are fewer than two classes.
        """
        if not self.classifies:
            return _begin(self, None).adapt(x, y, rng)
        labels = labels_of(y)
        every = np.unique(labels if classes is None else labels_of(classes))
        if len(every) < 2:
            raise InputError(
                f"the support set has one class alone, {shown(every[0])}: give examples of two"
                if len(every)
                else "the support set is empty: give an example of each class"
            )
        return _begin(self, every).adapt(x, labels, rng)


@dataclass(frozen=True, eq=False, repr=False)
class Adapted:
    """A trained model after its steps on a support set.

    Attributes
    ----------
    trained : Trained
        What it started from, with at least as many outputs as there are classes.
    phi : array (P,)
        The adapted parameters.
    state : dict of arrays
        The optimizer's, after the steps.
    x : array (n, *input_shape)
        The support set, beside which queries are classified.
    loss : array (k,)
        Of the mini-batch of each step, before the step.
    classes : array (n_classes,), or None for a regression
        Column c of the probabilities belongs to classes[c].
    """

    trained: Trained
    phi: NDArray
    state: State
    x: NDArray
    loss: NDArray
    classes: NDArray | None

    def __repr__(self) -> str:
        of = "" if self.classes is None else f" of {len(self.classes)} classes"
        loss = f", loss {self.loss[0]:.3f} to {self.loss[-1]:.3f}" if len(self.loss) else ""
        return f"Adapted to {len(self.x)} examples{of} in {len(self.loss)} steps{loss}"

    def adapt(
        self, x: ArrayLike, y: ArrayLike, rng: np.random.Generator | None = None
    ) -> Adapted:  # fmt: skip
        """Go on from here, by as many steps again, on other examples of the same classes."""
        trained, model = self.trained, self.trained.model
        x = trained.examples(x)
        y = self._targets(y)
        if len(x) != len(y):
            raise InputError(f"x has {len(x)} examples and y has {len(y)}: give one for each")
        if not len(x):
            raise InputError("the support set is empty: give some examples")
        rng = rng or generator(trained.seed, Stream.EXAMPLE, len(self.x))
        batch = min(trained.batch, len(x)) if trained.replacement else trained.batch
        order = minibatches(rng, len(x), trained.steps, batch, trained.replacement)
        phi, state = self.phi.copy(), {n: np.array(a) for n, a in self.state.items()}
        loss = adapt(model, phi, x[order], y[order], trained.optimizer, state)
        if not (np.isfinite(loss).all() and np.isfinite(phi).all()):
            raise InputError("the steps diverged, to NaN or infinity: lower the learning rate")
        seen, losses = np.concatenate([self.x, x]), np.concatenate([self.loss, loss])
        return Adapted(trained, phi, state, seen, losses, self.classes)

    def _targets(self, y: ArrayLike) -> NDArray:
        if self.classes is None:
            found = array(y, "y")
            if not np.isfinite(found).all():
                raise InputError("y holds NaN or infinity: clean the data first")
            return found[:, None] if found.ndim == 1 else found
        labels = labels_of(y)
        at = np.searchsorted(self.classes, labels).clip(0, len(self.classes) - 1)
        if (unknown := np.unique(labels[self.classes[at] != labels])).size:
            raise InputError(f"there is no class {shown(unknown[0])} among those adapted to")
        return at

    def outputs(self, x: ArrayLike, transductive: bool = False) -> NDArray:
        """The network's outputs for queries, (m, n_classes); (m, n_out) for a regression.

        Parameters
        ----------
        x : array (m, *input_shape), or (m, features)
        transductive : bool
            All queries as one batch, so that batch norm sees them; or each beside the support set.
        """
        x, model = self.trained.examples(x), self.trained.model
        used = model.n_out if self.classes is None else len(self.classes)
        if flag(transductive, "transductive") and len(x):
            return model.forward(self.phi, x)[:, :used]
        out = np.empty((len(x), used), self.phi.dtype)
        batch = np.concatenate([self.x, self.x[:1]])
        for i, query in enumerate(x):
            batch[-1] = query
            out[i] = model.forward(self.phi, batch)[-1, :used]
        return out

    def probabilities(self, x: ArrayLike, transductive: bool = False) -> NDArray:
        """The probability of each class for queries, (m, n_classes), float64; as `outputs`."""
        if self.classes is None:
            raise InputError("a regression has no classes to tell probabilities of")
        logits = np.float64(self.outputs(x, transductive))
        odds = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
        return odds / odds.sum(1, keepdims=True)

    def predict(self, x: ArrayLike, transductive: bool = False) -> NDArray:
        """The class of each query, (m,), or the targets of a regression, (m, n_out)."""
        out = self.outputs(x, transductive)
        return out if self.classes is None else self.classes[out.argmax(1)]


def labels_of(y: Any) -> NDArray:
    """Labels, (n,), as they were given: numbers, strings or booleans; `InputError` if others."""
    found = np.asarray(y)
    if found.dtype.kind == "O":
        kinds = {str if isinstance(label, str) else type(label) for label in found.ravel()}
        if len(kinds) == 1 and kinds <= {str, int, bool}:
            found = np.array(found.tolist())
    if found.ndim != 1 or found.dtype.kind not in "biuUSf":
        raise InputError(f"y must be a list of labels, numbers or strings, not {shown(y)}")
    if found.dtype.kind == "f" and not (np.isfinite(found).all() and (found % 1 == 0).all()):
        raise InputError("y must hold labels, and it holds fractions, NaN or infinity")
    return found


def _begin(trained: Trained, classes: NDArray | None) -> Adapted:
    """Before any step, with an output for each class at least."""
    model, theta, state = trained.model, trained.theta, trained.state
    if classes is not None:
        model, theta, state = with_outputs(model, theta, state, len(classes))
    here = replace(trained, model=model, theta=theta, state=state)
    nothing = np.empty((0, *model.input_shape), theta.dtype)
    state = state or trained.optimizer.init(theta)
    return Adapted(here, theta, state, nothing, np.empty(0), classes)
