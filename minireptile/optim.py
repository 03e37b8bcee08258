"""Inner optimizers, and what becomes of their state from one task to the next.

An optimizer is a record of numbers, and names the kernel that takes a step with them. Its state is
explicit: a dictionary of arrays shaped like phi, (T, P), or (T,) for the steps taken, made by
`init` and updated in place by `step`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .backend import Kernels, kernels
from .checks import number, settle

State = dict[str, NDArray]

POLICIES = ("carry", "mean", "fresh")
OUTER = "outer."  # the outer optimizer's arrays lie beside the inner one's under such names

NUMPY = kernels("numpy")


class Optimizer:
    """What every optimizer is; one of your own derives from it.

    Attributes
    ----------
    lr : float
        The inner learning rate, alpha.
    weight_decay_rate : float
        What phi is multiplied by before each step's gradient.
    kernel : str
        The operation that takes a step: kernel(phi, *slots, grad, *numbers).
    slots : tuple of str
        The arrays of its state in the kernel's order; "t" counts steps, others are like phi.
    """

    lr: float
    weight_decay_rate: float = 1.0
    kernel: ClassVar[str] = ""
    slots: ClassVar[tuple[str, ...]] = ()

    @property
    def numbers(self) -> tuple[float, ...]:
        """The kernel's numbers, in its order."""
        return (self.lr,)

    @property
    def heavy_ball(self) -> float | None:
        """The momentum mu, if a step is phi - lr velocity with velocity = mu velocity + grad."""
        return None

    @property
    def operation(self) -> str:
        """The kernel that `step` calls; "" for a step of one's own.

        Nothing compiled can stand in for that.
        """
        return self.kernel if type(self).step is Optimizer.step else ""

    def keeps(self, slot: str) -> bool:
        """Whether these numbers need a slot: it is None in the kernel's call if not.

        Parameters
        ----------
        slot : str
            One of `slots`.

        Returns
        -------
        bool
            True, unless a class says otherwise.
        """
        return True

    def init(self, phi: NDArray) -> State:
        """Make the state before the first step.

        Parameters
        ----------
        phi : array (T, P), or (P,)
            What the steps will be taken on.

        Returns
        -------
        dict of arrays (T, P), or (P,)
            Zeros for each of `slots` that these numbers need, of phi's type; for "t", the steps
            taken, (T,) or () of int64.
        """
        return {
            slot: np.zeros(phi.shape[:-1], np.int64) if slot == "t" else np.zeros_like(phi)
            for slot in self.slots
            if self.keeps(slot)
        }

    def step(self, phi: NDArray, grad: NDArray, state: State, k: Kernels = NUMPY) -> None:
        """Take one step: update phi and the state in place.

        Parameters
        ----------
        phi : array (T, P), or (P,)
            The parameters, float32 or float64.
        grad : array (T, P), or (P,)
            The gradient of the loss by phi.
        state : dict of arrays
            As `init` makes it.
        k : namespace of kernels
            Those of the model's backend; by default NumPy's.
        """
        phi, grad, state = _with_task_axis(phi, grad, state)
        getattr(k, self.kernel)(phi, *(state.get(slot) for slot in self.slots), grad, *self.numbers)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent (kernels/sgd.md).

    Parameters
    ----------
    lr : float
        The inner learning rate, alpha.
    momentum : float
        In [0, 1): the part of the velocity that a step keeps.
    weight_decay_rate : float
        In (0, 1]: what phi is multiplied by before each step's gradient; 1 in the paper's runs.

    Raises
    ------
    InputError
        If a number is out of range or of another kind.

    Notes
    -----
    ``velocity = momentum velocity + grad``, and phi moves by ``-lr velocity``.
    """

    lr: float
    momentum: float = 0.0
    weight_decay_rate: float = 1.0

    def __post_init__(self) -> None:
        _check(self, {"lr": "positive", "momentum": "fraction", "weight_decay_rate": "rate"})

    kernel = "sgd_step"
    slots = ("velocity",)

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.lr, self.momentum

    @property
    def heavy_ball(self) -> float:
        return self.momentum

    def keeps(self, slot: str) -> bool:
        return self.momentum > 0


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (kernels/adam.md). The paper's inner optimizer is Adam with beta1 = 0.

    Parameters
    ----------
    lr : float
        The inner learning rate, alpha.
    beta1 : float
        In [0, 1): decay of the first moment.
    beta2 : float
        In [0, 1): decay of the second moment.
    eps : float
        Added to the square root of the second moment.
    weight_decay_rate : float
        In (0, 1]: what phi is multiplied by before each step's gradient; 1 in the paper's runs.

    Raises
    ------
    InputError
        If a number is out of range or of another kind.

    Notes
    -----
    Source: Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, Algorithm 1.

    Examples
    --------
    >>> import numpy as np, minireptile as mr
    >>> optimizer, phi = mr.Adam(lr=0.1, beta1=0.0), np.zeros(3)
    >>> state = optimizer.init(phi)
    >>> sorted(state)
    ['t', 'v']
    >>> optimizer.step(phi, np.ones(3), state)
    >>> phi.round(6)
    array([-0.1, -0.1, -0.1])
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay_rate: float = 1.0

    def __post_init__(self) -> None:
        kinds = {"lr": "positive", "beta1": "fraction", "beta2": "fraction", "eps": "positive"}
        _check(self, {**kinds, "weight_decay_rate": "rate"})

    kernel = "adam_step"
    slots = ("m", "v", "t")

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.lr, self.beta1, self.beta2, self.eps

    def keeps(self, slot: str) -> bool:
        return slot != "m" or self.beta1 > 0


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}


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


def _with_task_axis(phi: NDArray, grad: NDArray, state: State) -> tuple[NDArray, NDArray, State]:
    """Views with a task axis, so that what the kernel writes arrives in the originals."""
    if phi.ndim == 2:
        return phi, grad, state
    return phi[None], grad[None], {name: array[None] for name, array in state.items()}


def _check(optimizer: object, kinds: dict[str, str]) -> None:
    for name, kind in kinds.items():
        settle(optimizer, number, name, kind=kind)
