"""What every meta-algorithm shares: the numbers of the two loops, and a snapshot of a run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import changed, choice, flag, number, settle, shown, whole
from .doors import check_parts, check_snapshot
from .errors import InputError
from .optim import OPTIMIZERS, OUTER, POLICIES, Optimizer, State
from .rng import SEEDS, Stream, generator
from .tasks.base import Tasks, minibatches, sample
from .tasks.images import FewShot, sample_indices

TAILS = ("shared", "separate")


class TailBatches(NamedTuple):
    """The mini-batches of an iteration, the last of the k, the tail, apart."""

    x: NDArray  # (k - 1, T, B, ...)
    y: NDArray  # (k - 1, T, B) or (k - 1, T, B, n_out)
    tail_x: NDArray  # (T, B', ...)
    tail_y: NDArray  # (T, B') or (T, B', n_out)


@dataclass(frozen=True)
class Loops:
    """The numbers of the outer and the inner loop, with the names of the paper.

    Parameters
    ----------
    iterations : int
        Outer iterations.
    meta_batch : int
        Tasks in each outer iteration, T.
    epsilon, epsilon_final : float
        Outer step size at the start and at the end, linear in between.
    inner_steps : int
        Gradient steps on each task, k.
    inner_batch : int
        Examples in each of them, B.
    train_shots : int
        Examples of each class that a training task has (of the task, without classes).
    replacement : bool
        Draw each mini-batch anew, instead of dealing the examples out in turn.
    state : {"carry", "mean", "fresh"}
        The optimizer's state between tasks. "carry": the tasks run one after another and hand it
        on, never reset, as in the paper's code. "mean": they run in parallel from a shared state,
        averaged after. "fresh": each task starts from zero.
    seed : int
        Of the tasks and the initial parameters.
    tail : {"shared", "separate"}
        FOMAML, MAML and iMAML judge theta by the last of the k mini-batches, the tail. "shared": it
        is drawn as the others are, from the same examples. "separate": it is all the examples
        that were held out.
    tail_shots : int
        Examples of each class held out for a separate tail, of the train_shots.
    prox : float
        Lambda of iMAML, the weight of lambda / 2 |phi - theta|^2 in the inner loop.
    cg_steps : int
        Of iMAML: steps of conjugate gradients, at most.
    cg_tolerance : float
        The relative residual that they must reach; 0: take cg_steps of them and ask no more.
    outer : Optimizer or None
        What moves theta, with the negative update as a gradient; epsilon scales its step. None:
        theta + epsilon update, as in the paper.

    Raises
    ------
    InputError
        If a number is out of range or of another kind.

    Notes
    -----
    Source: Nichol, Achiam & Schulman, 2018, Algorithm 2; the tail, sections 5 and 6.3.

    Examples
    --------
    >>> import minireptile as mr
    >>> loops = mr.Loops(iterations=1000, inner_steps=3)
    >>> loops
    Loops(iterations=1000, inner_steps=3)
    >>> loops.epsilon_at(250)
    0.75
    """

    iterations: int
    meta_batch: int = 5
    epsilon: float = 1.0
    epsilon_final: float = 0.0
    inner_steps: int = 5
    inner_batch: int = 10
    train_shots: int = 10
    replacement: bool = False
    state: str = "mean"
    seed: int = 0
    tail: str = "shared"
    tail_shots: int = 5
    prox: float = 1.0
    cg_steps: int = 5
    cg_tolerance: float = 0.0
    outer: Optimizer | None = None

    __repr__ = changed

    def __post_init__(self) -> None:
        counts = "meta_batch", "inner_steps", "inner_batch", "train_shots", "tail_shots", "cg_steps"
        settle(self, whole, "iterations", least=0)
        settle(self, whole, *counts)
        settle(self, whole, "seed", least=0, most=SEEDS)
        settle(self, number, "epsilon", "epsilon_final")
        settle(self, number, "prox", kind="positive")
        settle(self, number, "cg_tolerance", kind="fraction")
        settle(self, flag, "replacement")
        settle(self, choice, "state", choices=POLICIES)
        settle(self, choice, "tail", choices=TAILS)
        if self.tail == "separate" and self.tail_shots >= self.train_shots:
            raise InputError(
                f"a separate tail of {self.tail_shots} examples a class leaves none of "
                f"{self.train_shots} to adapt on: lower tail_shots or raise train_shots"
            )
        outer = self.outer
        if isinstance(outer, dict):  # from dataclasses.asdict, by way of JSON
            for kind in reversed(OPTIMIZERS.values()) if "lr" in outer else ():
                with suppress(TypeError):  # other names
                    object.__setattr__(self, "outer", kind(**outer))
        if not isinstance(self.outer, Optimizer | None):
            raise InputError(
                f"Loops: outer must be SGD(...), Adam(...) or None, not {shown(outer)}"
            )

    def epsilon_at(self, iteration: int) -> float:
        """Give the outer step size of an iteration.

        Parameters
        ----------
        iteration : int
            From 0 to iterations - 1.

        Returns
        -------
        float
            On the line from epsilon to epsilon_final (kernels/reptile.md, eq. 2); as
            supervised_reptile/train.py:54-55.
        """
        done = iteration / self.iterations
        return done * self.epsilon_final + (1 - done) * self.epsilon

    def direction(self, run: Snapshot, update: NDArray) -> tuple[NDArray, State]:
        """Give the way that theta goes, before epsilon scales it (kernels/reptile.md, eq. 1 and 7).

        Parameters
        ----------
        run : Snapshot
            With theta (P,), and what an outer optimizer keeps in its state.
        update : array (P,)
            What the algorithm would add to theta.

        Returns
        -------
        direction : array (P,)
            The update itself, or what the outer optimizer's step on the gradient -update adds.
        kept : dict of arrays (P,) or ()
            What that optimizer keeps, under names that begin with "outer.".
        """
        if not self.outer:
            return update, {}
        kept = {n: array.copy() for n, array in run.state.items() if n.startswith(OUTER)}
        theta = run.theta * self.outer.weight_decay_rate
        self.outer.step(theta, -update, {n.removeprefix(OUTER): a for n, a in kept.items()})
        return theta - run.theta, kept

    def sample(
        self, tasks: Tasks, iteration: int, which: range | None = None
    ) -> tuple[NDArray, NDArray]:
        """Draw the mini-batches of an iteration.

        Parameters
        ----------
        tasks : FewShot, Sine, or anything with their `draw`
            Where the T tasks come from.
        iteration : int
            Task t depends on (seed, iteration, t) alone.
        which : range, optional
            Some of its T tasks, neighbours, in the place of all.

        Returns
        -------
        x : array (k, T, B, ...), float32
            The examples.
        y : array (k, T, B) of int64, or (k, T, B, n_out) of float32
            Labels or targets.

        Raises
        ------
        InputError
            If a task has fewer examples than are asked for.
        """
        sizes = self._sizes()
        if which is not None:
            sizes |= {"meta_batch": len(which), "first": which.start}
        return sample(tasks, self.seed, iteration, **sizes)

    def sample_tail(self, tasks: Tasks, iteration: int, which: range | None = None) -> TailBatches:
        """Draw the mini-batches of an iteration, with the tail apart.

        Parameters
        ----------
        tasks : FewShot, Sine, or anything with their `draw`
            Where the T tasks come from.
        iteration : int
            Task t depends on (seed, iteration, t) alone.
        which : range, optional
            Some of its T tasks, neighbours, in the place of all.

        Returns
        -------
        TailBatches
            The arrays x (k - 1, T, B, ...), y, tail_x (T, B', ...) and tail_y. B' is B, or if
            ``tail="separate"`` the number of examples held out, which the others do not have.

        Raises
        ------
        InputError
            If a task has fewer examples than are asked for.
        """
        if self.tail == "shared":
            x, y = self.sample(tasks, iteration, which)
            return TailBatches(x[:-1], y[:-1], x[-1], y[-1])
        drawn = []
        for t in range(self.meta_batch) if which is None else which:
            rng = generator(self.seed, Stream.TRAIN, iteration, t)
            task = tasks.draw(rng, self.train_shots, 0)
            x, y, held = task.support_x, task.support_y, held_out(task.support_y, self.tail_shots)
            steps, batch, rest = self.inner_steps - 1, self.inner_batch, np.flatnonzero(~held)
            i = rest[minibatches(rng, len(rest), steps, batch, self.replacement)]
            drawn.append((x[i], y[i], x[held], y[held]))
        xs, ys, tail_xs, tail_ys = zip(*drawn, strict=True)
        return TailBatches(np.stack(xs, 1), np.stack(ys, 1), np.stack(tail_xs), np.stack(tail_ys))

    def sample_indices(self, tasks: FewShot, iteration: int) -> tuple[NDArray, NDArray]:
        """Draw the mini-batches of an iteration as numbers of images.

        Parameters
        ----------
        tasks : FewShot
            Where the T tasks come from.
        iteration : int
            Task t depends on (seed, iteration, t) alone.

        Returns
        -------
        indices : array (k, T, B), int32
            Rows of ``tasks.data.images``: those that `sample` gives.
        labels : array (k, T, B), int64
            The labels.

        Raises
        ------
        InputError
            If a task has fewer examples than are asked for.
        """
        return sample_indices(tasks, self.seed, iteration, **self._sizes())

    def _sizes(self) -> dict[str, Any]:
        return {
            "meta_batch": self.meta_batch, "steps": self.inner_steps, "batch": self.inner_batch,
            "shot": self.train_shots, "replacement": self.replacement,
        }  # fmt: skip


def held_out(y: NDArray, shots: int) -> NDArray[np.bool_]:
    """Marks the last `shots` examples of each class of y (n,), or of all where y is (n, n_out)."""
    held = np.zeros(len(y), bool)
    classes = [np.flatnonzero(y == c) for c in np.unique(y)] if y.ndim == 1 else [np.arange(len(y))]
    for examples in classes:
        held[examples[-shots:]] = True
    return held


@dataclass(frozen=True)
class Snapshot:
    """A run between two outer iterations: all that is needed to continue it.

    Parameters
    ----------
    iteration : int
        Outer iterations done.
    theta : array (P,)
        The initialisation learned so far, float32 or float64.
    state : dict of arrays (P,), and () for a count of steps
        The optimizer's shared state, empty for one that keeps none; an outer optimizer's too, under
        names that begin with "outer.".
    loss : array (k, T)
        Losses of the iteration just done, before each inner step; (0, 0) before the first.
    """

    iteration: int
    theta: NDArray
    state: State
    loss: NDArray

    def __repr__(self) -> str:
        loss = f"loss of the last step {self.loss[-1].mean():.4g}" if self.loss.size else "no loss"
        return (
            f"Snapshot(iteration {self.iteration}, theta {self.theta.shape} {self.theta.dtype}, "
            f"{loss}, state: {', '.join(sorted(self.state)) or 'none'})"
        )


def check_finite(run: Snapshot) -> Snapshot:
    """The run itself; `InputError` if a loss, a parameter or the state is NaN or infinite."""
    if not all(np.isfinite(a).all() for a in (run.loss, run.theta, *run.state.values())):
        raise Diverged(run.iteration)
    return run


class Diverged(InputError):
    """A run gave NaN or infinity in this iteration."""

    what = "the run diverged: a loss or parameter became NaN or infinite in iteration"

    def __init__(self, iteration: int) -> None:
        super().__init__(f"{self.what} {iteration}; lower --inner-lr or --epsilon")
        self.iteration = iteration


def check_run(
    model: Any, tasks: Any, optimizer: Any, loops: Any, start: Snapshot | None = None
) -> None:  # fmt: skip
    """`InputError` if one of the arguments of `reptile` and its relatives is something else."""
    check_parts(model, tasks, optimizer)
    if not isinstance(loops, Loops):
        raise InputError(f"loops must be Loops(...), not {shown(loops)}")
    if start is not None:
        check_snapshot(start, model.size, optimizer, loops)
