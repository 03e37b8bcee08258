"""The inner loop as one compiled call: a plan as a program, memory for it, and threads.

`Compiled.adapt`, `gradients`, `outputs` and `products` differ in their programs alone
(program.py in this folder); kernels/adapt_numba.py follows them.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError
from ..kernels import program as p
from ..optim import Optimizer, State
from ..plan import Plan
from .base import Engine
from .program import Layout, Program, has_update, knows, layout, program, work
from .threads import run, threads

__all__ = ["Compiled", "knows"]

LINE = 64  # bytes of a cache line: where vectors begin on one, no load meets two
# A mini-batch's parts, where the network is large enough for threads to share them: sums depend on
# their number, so it depends on the mini-batch alone. With fewer images than a register tile has
# pixels, tiles would be filled up (kernels/registers.md).
SLICES, IMAGES = 5, 5
WORTH_SLICES = 10**6  # multiply-adds of one forward pass
WORTH_THREADS = 10**7  # multiply-adds of a whole call: about as long as waking threads takes
HVP_PRODUCTS = 8  # of a layer, in a Hessian-vector product (kernels/loss_and_grad.md)
DTYPES = np.dtype(np.float32), np.dtype(np.float64)


class Memory(NamedTuple):
    """A row of bytes for each thread, and where in it lies what, by the plan's fields."""

    rows: NDArray
    at: dict[int, int]
    second: bool  # with tangents


class Ready(NamedTuple):
    """What a call of certain sizes (k, T, B) needs beside its data."""

    program: Program
    members: int
    plan: NDArray  # (n,) int64, what the call is told, but for its arguments
    fields: NDArray  # (members, FIELDS) int64
    arrived: NDArray  # (members, 8) int64
    memory: Memory
    layout: Layout
    steps: NDArray  # (T,) of an optimizer that does not count


def address(array: NDArray | None) -> int:
    """Where an array begins; 0 for none."""
    return 0 if array is None else array.__array_interface__["data"][0]


def memory(layout: Layout, threads: int, P: int, dtype: np.dtype, second: bool) -> Memory:
    """Memory for so many threads; it does not grow with the inner steps."""
    size = dtype.itemsize
    pitch, n = rounded(P * size), rounded(layout.ws * size)
    parts = {
        None: pitch,  # phi
        p.OWN_V: pitch * second,
        p.OWN_WS: n,
        p.OWN_RWS: n * second,
        p.OWN_GRADS: pitch * layout.slices,
        p.OWN_WINNERS: rounded(4 * layout.winners),
        p.OWN_SCRATCH: rounded(layout.scratch * size),
        p.OWN_EXAMPLES: rounded(layout.B * size),
    }
    ends = np.cumsum([0, *parts.values()])
    at = {name: int(end) for name, end in zip(parts, ends, strict=False) if name is not None}
    raw = np.zeros(threads * int(ends[-1]) + LINE, np.uint8)
    start = -address(raw) % LINE
    rows = raw[start : start + threads * int(ends[-1])].reshape(threads, -1)
    at |= {p.OWN_PITCH: pitch, p.MEMORY_BYTES: int(ends[-1]), p.MEMORY: address(rows)}
    return Memory(rows, at, second)


def rounded(bytes_: int) -> int:
    """Up to whole cache lines."""
    return -(-bytes_ // LINE) * LINE


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
        update = optimizer.operation, numbers_of(optimizer)[p.DECAY] != 1
        self._call(update, phi, x, y, loss, None, optimizer, state)
        return loss

    def gradients(self, phi: NDArray, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        loss, grad = np.empty((1, len(phi)), phi.dtype), np.empty_like(phi)
        self._call("gradient", phi, x[None], y[None], loss, grad)
        return loss[0], grad

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
        forward = work(self.plan, B)
        worth = products * forward * k * T >= WORTH_THREADS
        members = min(threads(), T * l.slices) if worth else 1
        if (what, B, dtype, classes) not in self._programs:
            self._programs[what, B, dtype, classes] = program(l, what, classes, dtype)
        code, room = (
            self._programs[what, B, dtype, classes],
            self._memory(B, members, dtype, second),
        )
        plan = np.zeros(p.NUMBERS_AT + 1, np.int64)
        told = room.at | {
            p.TASKS: T, p.INNER_STEPS: k, p.IMAGES: B, p.CUT: l.slices, p.SIZE: self.plan.size,
            p.ITEM: dtype.itemsize, p.CONSTANTS_AT: address(l.constants),
            p.TABLES_AT: address(l.tables),
        }  # fmt: skip
        plan[list(told)] = list(told.values())
        fields, arrived = (np.zeros((members, n), np.int64) for n in (p.FIELDS, 8))
        steps = np.zeros(T, np.int64)
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
        told = {
            p.THETAS: arrays["phi"], p.VECTORS: v, p.XS: x, p.YS: y, p.LOSSES: loss, p.OUTS: out,
            p.MOMENTS_1: arrays.get("m", arrays.get("velocity")), p.MOMENTS_2: arrays.get("v"),
            p.COUNTS: arrays.get("t", r.steps), p.NUMBERS_AT: numbers,
        }  # fmt: skip
        plan[list(told)] = [address(array) for array in told.values()]
        plan[p.X_BYTES] = x.nbytes // (k * T)
        plan[p.Y_BYTES] = 0 if y is None else y.nbytes // (k * T)
        plan[p.OUT_BYTES] = 0 if out is None else out.nbytes // T
        plan[p.COUNTED], plan[p.WRITTEN] = "t" in arrays, optimizer is not None
        arguments = (r.program.code, plan, r.fields, phi.dtype.type(1), r.arrived)
        run("adapt_numba", arguments, r.members)
        if optimizer is not None:
            for name, array in changed.items():
                if arrays[name] is not array:
                    array[...] = arrays[name]


def plain(array: NDArray, dtype: DTypeLike) -> NDArray:
    """The array, or a contiguous copy of this type."""
    return np.ascontiguousarray(array, dtype)


@cache
def numbers_of(optimizer: Optimizer | None) -> NDArray:
    """An optimizer's numbers where kernels/program.py says."""
    names = {
        p.LR: "lr", p.MOMENTUM: "momentum", p.BETA1: "beta1", p.BETA2: "beta2", p.EPS: "eps",
        p.DECAY: "weight_decay_rate",
    }  # fmt: skip
    numbers = np.zeros(len(names))
    for at, name in names.items():
        numbers[at] = getattr(optimizer, name, name == "weight_decay_rate")
    return numbers
