"""Inner optimizers, and what becomes of their state from one task to the next.

An optimizer is a record of numbers. Its state is explicit: a dictionary of arrays shaped like phi,
(T, P), or (T,) for step counts, made by `init` and updated in place by `step`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .backend import Kernels, kernels
from .errors import InputError

State = dict[str, NDArray]

POLICIES = ("carry", "mean", "fresh")
OUTER = "outer."  # the outer optimizer's arrays lie beside the inner one's under such names

NUMPY = kernels("numpy")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent (kernels/sgd.md).

    Parameters
    ----------
    lr : float
        The inner learning rate, alpha.
    momentum : float
        In [0, 1).
    weight_decay_rate : float
        phi is multiplied by it before each step's gradient; 1 in the paper's runs.
    """

    lr: float
    momentum: float = 0.0
    weight_decay_rate: float = 1.0

    def __post_init__(self) -> None:
        _check(self, {"lr": "positive", "momentum": "fraction", "weight_decay_rate": "rate"})

    def init(self, phi: NDArray) -> State:
        """The state before the first step on phi."""
        return {"velocity": np.zeros_like(phi)} if self.momentum else {}

    def step(self, phi: NDArray, grad: NDArray, state: State, k: Kernels = NUMPY) -> None:
        """Update phi (T, P), or (P,), and state in place."""
        phi, grad, state = _with_task_axis(phi, grad, state)
        k.sgd_step(phi, state.get("velocity"), grad, self.lr, self.momentum)


@dataclass(frozen=True)
class Adam:
    """Adam (kernels/adam.md). The paper's inner optimizer is Adam with beta1 = 0.

    Parameters
    ----------
    lr : float
        The inner learning rate, alpha.
    beta1, beta2, eps : float
        Decay of the first and of the second moment; added to the square root.
    weight_decay_rate : float
        phi is multiplied by it before each step's gradient; 1 in the paper's runs.
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay_rate: float = 1.0

    def __post_init__(self) -> None:
        kinds = {"lr": "positive", "beta1": "fraction", "beta2": "fraction", "eps": "positive"}
        _check(self, {**kinds, "weight_decay_rate": "rate"})

    def init(self, phi: NDArray) -> State:
        """The state before the first step on phi. Without beta1, no first moment is kept."""
        state = {"v": np.zeros_like(phi), "t": np.zeros(phi.shape[:-1], np.int64)}
        return {**state, "m": np.zeros_like(phi)} if self.beta1 else state

    def step(self, phi: NDArray, grad: NDArray, state: State, k: Kernels = NUMPY) -> None:
        """Update phi (T, P), or (P,), and state in place."""
        phi, grad, state = _with_task_axis(phi, grad, state)
        numbers = self.lr, self.beta1, self.beta2, self.eps
        k.adam_step(phi, state.get("m"), state["v"], state["t"], grad, *numbers)


Optimizer = SGD | Adam


def spread(shared: State, tasks: int) -> State:
    """The state that each of several parallel tasks starts from: copies of the shared one."""
    inner = {name: array for name, array in shared.items() if not name.startswith(OUTER)}
    return {name: np.repeat(array[None], tasks, axis=0) for name, array in inner.items()}


def merge(states: State) -> State:
    """One shared state from those of parallel tasks: moments averaged, step counts kept."""
    return {
        name: np.asarray(array[0]) if array.dtype.kind == "i" else array.mean(0)
        for name, array in states.items()
    }


def hand_out(
    optimizer: Optimizer, phi: NDArray, shared: State, policy: str
) -> list[tuple[slice, State]]:
    """Which tasks of phi (T, P) run side by side, and the state that they start from, in turn.

    "carry" hands the same state to one task after another; otherwise all run at once, from copies
    of the shared one ("mean") or from nothing ("fresh").
    """
    if policy == "carry":
        state = spread(shared, 1)
        return [(slice(t, t + 1), state) for t in range(len(phi))]
    return [(slice(None), spread(shared, len(phi)) if policy == "mean" else optimizer.init(phi))]


def take_back(lots: list[tuple[slice, State]], shared: State, policy: str) -> State:
    """The state to share from now on, when the tasks of `hand_out` have run."""
    return shared if policy == "fresh" else merge(lots[-1][1])


def _with_task_axis(phi: NDArray, grad: NDArray, state: State) -> tuple[NDArray, NDArray, State]:
    """Views with a task axis, so that what the kernel writes arrives in the originals."""
    if phi.ndim == 2:
        return phi, grad, state
    return phi[None], grad[None], {name: array[None] for name, array in state.items()}


def _check(optimizer: object, kinds: dict[str, str]) -> None:
    tests = {
        "positive": (lambda x: 0 < x < np.inf, "be positive"),
        "fraction": (lambda x: 0 <= x < 1, "lie in [0, 1)"),
        "rate": (lambda x: 0 < x <= 1, "lie in (0, 1]"),
    }
    for name, kind in kinds.items():
        test, words = tests[kind]
        value = getattr(optimizer, name)
        if not test(value):
            raise InputError(f"{type(optimizer).__name__}: {name} must {words}, not {value}")
