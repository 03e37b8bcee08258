"""The inner loop as one compiled call: a plan as a program, memory for it, and threads.

`Compiled.adapt`, `gradients`, `outputs` and `products` differ in their programs alone
(program.py in this folder); kernels/adapt_numba.py follows them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import program as p
from ..loops import Loops, Snapshot
from ..optim import Optimizer, State
from ..plan import Plan
from ..tasks.base import Tasks
from .base import Engine
from .compiled_outer import reptile
from .memory import DTYPES, Memory, address, memory, numbers_of, plain, told, update_of
from .program import Layout, Program, has_update, knows, layout, program, work
from .threads import members_for, run

__all__ = ["Compiled", "knows"]

# A mini-batch's parts, where the network is large enough for threads to share them: sums depend on
# their number, so it depends on the mini-batch alone. With fewer images than a register tile has
# pixels, tiles would be filled up (kernels/registers.md).
SLICES, IMAGES = 5, 5
WORTH_SLICES = 10**6  # multiply-adds of one forward pass
HVP_PRODUCTS = 8  # of a layer, in a Hessian-vector product (kernels/loss_and_grad.md)


class Ready(NamedTuple):
    """What a call of certain sizes (k, T, B) needs beside its data."""

    program: Program
    members: int
    plan: NDArray  # (n,) int64, what the call is told, but for its arguments
    fields: NDArray  # (members, FIELDS) int64
    arrived: NDArray  # (members + 1, 8) int64
    memory: Memory
    layout: Layout
    steps: NDArray  # (T,) of an optimizer that does not count


class Compiled(Engine):
    """A plan's compiled calls, with the memory of the last mini-batch sizes they saw."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._layouts: dict[int, Layout] = {}
        self._programs: dict[tuple, Program] = {}
        self._memories: dict[tuple, Memory] = {}
        self._readies: dict[tuple, Ready] = {}

    def adapt(
        self, phi: NDArray, x: NDArray, y: NDArray, optimizer: Optimizer, state: State
    ) -> NDArray:
        """The inner loop in one call; declined for an optimizer that has not been compiled in."""
        if not has_update(optimizer.operation):
            return NotImplemented
        loss = np.empty(x.shape[:2], phi.dtype)
        self._call(update_of(optimizer), phi, x, y, loss, None, optimizer, state)
        return loss

    def gradients(self, phi: NDArray, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        loss, grad = np.empty((1, len(phi)), phi.dtype), np.empty_like(phi)
        self._call("gradient", phi, x[None], y[None], loss, grad)
        return loss[0], grad

    def outer(
        self, algorithm: str, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot
    ) -> Iterator[Snapshot]:
        """Reptile's outer loop, many iterations a call, for tasks that can be drawn inside."""
        if algorithm != "reptile":
            return NotImplemented
        return reptile(self.plan, self._layout(loops.inner_batch), tasks, optimizer, loops, start)

    def outputs(self, phi: NDArray, x: NDArray) -> NDArray:
        T, B = x.shape[:2]
        out = np.empty((T, B * self.plan.n_out), phi.dtype)
        self._call("forward", phi, x[None], None, None, out)
        return out.reshape(T, B, -1)

    def products(self, phi: NDArray, x: NDArray, y: NDArray, v: NDArray) -> NDArray:
        """In one call; declined where the first layer with parameters is a batch normalisation,
        or where none has any."""
        if not self._layout(x.shape[1]).has_product:
            return NotImplemented
        hv = np.empty_like(phi)
        self._call("product", phi, x[None], y[None], None, hv, v=v)
        return hv

    def _layout(self, B: int) -> Layout:
        if B not in self._layouts:
            large = work(self.plan, B) >= WORTH_SLICES
            slices = max(1, min(SLICES, B // IMAGES)) if large else 1
            self._layouts[B] = layout(self.plan, B, slices)
        return self._layouts[B]

    def _ready(
        self, what: str | tuple, k: int, T: int, B: int, dtype: np.dtype, classes: bool
    ) -> Ready:
        """What a call of these sizes needs, from the last such call if there was one."""
        key = (what, k, T, B, dtype, classes)
        if key in self._readies:
            return self._readies[key]
        if dtype not in DTYPES:
            raise InputError(f"the numba backend computes in float32 or float64, not {dtype}")
        l, second = self._layout(B), what == "product"
        products = HVP_PRODUCTS if second else 3
        members = members_for(products * work(self.plan, B) * k * T, T * l.slices)
        room = self._memory(B, members, dtype, second)
        plan, fields, arrived = told(self.plan.size, l, room, k, T, dtype)
        steps = np.zeros(T, np.int64)
        if (what, B, dtype, classes) not in self._programs:
            self._programs[what, B, dtype, classes] = program(l, what, classes, dtype)
        code = self._programs[what, B, dtype, classes]
        ready = Ready(code, members, plan, fields, arrived, room, l, steps)
        self._readies[key] = ready
        return ready

    def _memory(self, B: int, members: int, dtype: np.dtype, second: bool) -> Memory:
        """The memory of these sizes, from the last call that had some; with tangents from the
        first on that wants them."""
        key = (B, members, dtype)
        if key not in self._memories or (second and not self._memories[key].second):
            self._readies.clear()
            self._memories.pop(key, None)
            if len(self._memories) == 4:  # training and evaluation take turns with a few
                self._memories.pop(next(iter(self._memories)))
            size = self.plan.size
            self._memories[key] = memory(self._layout(B), members, size, dtype, second)
        return self._memories[key]

    def _call(
        self, what: str | tuple, phi: NDArray, x: NDArray, y: NDArray | None,
        loss: NDArray | None, out: NDArray | None, optimizer: Optimizer | None = None,
        state: State | None = None, v: NDArray | None = None,
    ) -> None:  # fmt: skip
        """phi, v (T, P), x (k, T, B, ...), y likewise, loss (k, T), out (T, ...)."""
        k, T, B = x.shape[:3]
        classes = y is None or y.dtype.kind != "f"
        r = self._ready(what, k, T, B, phi.dtype, classes)
        if y is not None:
            y = plain(y, np.int64 if classes else phi.dtype)
        x, v = plain(x, phi.dtype), None if v is None else plain(v, phi.dtype)
        if loss is None:
            loss = np.empty((k, T), phi.dtype)
        changed = {"phi": phi, **(state or {})}
        arrays = {name: plain(a, a.dtype) for name, a in changed.items()}
        numbers, plan = numbers_of(optimizer), r.plan.copy()  # other threads may be calling
        given = {
            p.THETAS: arrays["phi"], p.ADAPTED: arrays["phi"], p.VECTORS: v, p.XS: x, p.YS: y,
            p.LOSSES: loss, p.OUTS: out,
            p.MOMENTS_1: arrays.get("m", arrays.get("velocity")), p.MOMENTS_2: arrays.get("v"),
            p.COUNTS: arrays.get("t", r.steps), p.NUMBERS_AT: numbers,
        }  # fmt: skip
        plan[list(given)] = [address(array) for array in given.values()]
        for array, task, step in ((x, p.X_BYTES, p.X_STEP), (y, p.Y_BYTES, p.Y_STEP)):
            plan[step] = 0 if array is None else array.nbytes // k
            plan[task] = plan[step] // T
        plan[p.OUT_BYTES] = 0 if out is None else out.nbytes // T
        plan[p.COUNTED], plan[p.WRITTEN] = "t" in arrays, optimizer is not None
        arguments = (r.program.code, plan, r.fields, phi.dtype.type(1), r.arrived)
        run("adapt_numba", arguments, r.members)
        if optimizer is not None:
            for name, array in changed.items():
                if arrays[name] is not array:
                    array[...] = arrays[name]
