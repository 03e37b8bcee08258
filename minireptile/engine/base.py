"""What an engine is: it computes a plan. Arguments arrive checked, with a task axis."""

from collections.abc import Iterator
from typing import Any

from ..devices.base import Array, Device
from ..devices.host import HOST
from ..loops import Loops, Snapshot
from ..optim import Optimizer, State
from ..plan import Plan
from ..tasks.base import Tasks


class Engine:
    """What every engine answers. What it declines, it answers with NotImplemented: then `Model`
    walks through the layers, and the loops are taken as they are written.

    Attributes
    ----------
    plan : Plan
    device : Device
        Where its arrays lie, and those that a caller may hand in beside the host's.
    """

    plan: Plan
    device: Device = HOST

    def outputs(self, phi: Array, x: Array) -> Array:
        """The last outputs (T, B, n_out), of phi (T, P) and x (T, B, ...)."""
        raise NotImplementedError

    def gradients(self, phi: Array, x: Array, y: Array) -> tuple[Array, Array]:
        """The losses (T,) and their gradients (T, P); y (T, B), or (T, B, n_out)."""
        raise NotImplementedError

    def products(self, phi: Array, x: Array, y: Array, v: Array) -> Array:
        """The Hessians of the losses times v (T, P), by tangents."""
        return NotImplemented

    def adapt(self, phi: Array, x: Array, y: Array, optimizer: Optimizer, state: State) -> Array:
        """`reptile.adapt`: the inner loop, phi (T, P) and state in place; the losses (k, T)."""
        return NotImplemented

    def outer(
        self, algorithm: str, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot
    ) -> Iterator[Snapshot]:
        """The outer loop of an algorithm, from a snapshot to the end."""
        return NotImplemented

    def check_memory(self, k: int, T: int, B: int, dtype: Any, second: bool = False) -> None:
        """`InputError` if T tasks of k mini-batches of B do not fit into the device's memory;
        `second`: with the tangents of a Hessian-vector product."""
