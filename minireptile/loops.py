"""What every meta-algorithm shares: the numbers of the two loops, and a snapshot of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .model import Model
from .optim import POLICIES, Optimizer, State
from .tasks.base import Tasks, sample
from .tasks.images import FewShot, sample_indices


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

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise InputError(f"iterations must not be negative, and is {self.iterations}")
        for name in ("meta_batch", "inner_steps", "inner_batch", "train_shots"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("epsilon", "epsilon_final"):
            if not np.isfinite(getattr(self, name)):
                raise InputError(f"{name} must be a finite number, not {getattr(self, name)}")
        if self.state not in POLICIES:
            raise InputError(f"state must be one of {', '.join(POLICIES)}, not {self.state!r}")

    def epsilon_at(self, iteration: int) -> float:
        """The outer step size of an iteration (supervised_reptile/train.py:54-55)."""
        done = iteration / self.iterations
        return done * self.epsilon_final + (1 - done) * self.epsilon

    def sample(self, tasks: Tasks, iteration: int) -> tuple[NDArray, NDArray]:
        """The mini-batches of an iteration: x (k, T, B, ...), y (k, T, B) or (k, T, B, n_out)."""
        return sample(tasks, self.seed, iteration, **self._sizes())

    def sample_indices(self, tasks: FewShot, iteration: int) -> tuple[NDArray, NDArray]:
        """The same mini-batches, x as numbers of images: (k, T, B), and y (k, T, B)."""
        return sample_indices(tasks, self.seed, iteration, **self._sizes())

    def _sizes(self) -> dict[str, Any]:
        return {
            "meta_batch": self.meta_batch,
            "steps": self.inner_steps,
            "batch": self.inner_batch,
            "shot": self.train_shots,
            "replacement": self.replacement,
        }


@dataclass(frozen=True)
class Snapshot:
    """A run between two outer iterations: all that is needed to continue it.

    Attributes
    ----------
    iteration : int
        Outer iterations done.
    theta : (P,)
    state : dict of arrays (P,) or scalars
        The optimizer's shared state; empty for one that keeps none.
    loss : (k, T)
        Losses of the iteration just done, before each inner step; (0, 0) before the first.
    """

    iteration: int
    theta: NDArray
    state: State
    loss: NDArray


def begin(model: Model, optimizer: Optimizer, loops: Loops) -> Snapshot:
    """The run before its first iteration."""
    theta = model.init(loops.seed)
    return Snapshot(0, theta, optimizer.init(theta), np.empty((0, 0)))


def check_finite(run: Snapshot) -> Snapshot:
    """The run itself; `InputError` if a loss, a parameter or the state is NaN or infinite."""
    if not all(np.isfinite(a).all() for a in (run.loss, run.theta, *run.state.values())):
        raise diverged(run.iteration)
    return run


def diverged(iteration: int) -> InputError:
    """What to say of a run that gave NaN or infinity in an iteration."""
    return InputError(
        f"the run diverged: a loss or parameter became NaN or infinite in iteration "
        f"{iteration}; lower --inner-lr or --epsilon"
    )
