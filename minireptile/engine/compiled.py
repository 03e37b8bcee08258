"""The inner loop as one compiled call: a plan as a table, memory for it, and threads.

`Compiled.adapt`, `gradients` and `outputs` call kernels/adapt_numba.py, `products` calls
kernels/hvp_numba.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..devices.numba_setup import caching
from ..errors import InputError
from ..kernels import program as p
from ..kernels.tiles import Window, tables
from ..layers import BatchNorm, BatchNormReLU, Conv2D, Dense, Layer, MaxPool, ReLU, Tanh
from ..layers.base import pair, window_of
from ..optim import Optimizer, State
from ..plan import Plan
from .base import Engine
from .threads import run, threads

LINE = 64  # bytes of a cache line: where vectors begin on one, no load meets two
# A mini-batch's parts, where the network is large enough for threads to share them. The number
# depends on the machine but not on the threads in use: sums do not change with these.
SLICES = 2 if (os.cpu_count() or 1) <= 8 else 5
WORTH_SLICES = 10**6  # multiply-adds of one forward pass
WORTH_THREADS = 10**7  # multiply-adds of a whole call: about as long as waking threads takes
WORTH_BLAS_THREADS = 10**5  # multiply-adds of one forward pass: below, BLAS never takes a second
HVP_PRODUCTS = 8  # of a layer, in a Hessian-vector product (kernels/loss_and_grad.md)
DTYPES = np.dtype(np.float32), np.dtype(np.float64)
MODES = {"sgd_step": p.SGD, "adam_step": p.ADAM}  # of an optimizer, by its kernel
KNOWN = (Conv2D, Dense, BatchNorm, BatchNormReLU, ReLU, Tanh, MaxPool)


def knows(layer: Layer) -> bool:
    """Whether the compiled loop has a stage for a layer."""
    return type(layer) in KNOWN


@dataclass(frozen=True)
class Program:
    """A network as kernels/program.py describes it, for mini-batches of B."""

    table: NDArray  # (stages, COLUMNS)
    cuts: NDArray  # (stages, slices)
    tables: NDArray  # of the convolutions, those of each slice where `cuts` says
    eps: NDArray  # (stages,)
    ws: int  # elements of a task's workspace
    winners: int
    scratch: int
    work: int  # multiply-adds of a forward pass


@dataclass(frozen=True)
class Memory:
    """What the threads write between phi and phi: a row for each of them."""

    own: NDArray
    rown: NDArray  # tangents; of no rows until a Hessian-vector product wants them
    ws: NDArray
    rws: NDArray
    winners: NDArray
    scratch: NDArray
    grads: NDArray
    examples: NDArray
    arrived: NDArray


class Ready(NamedTuple):
    """What a call of certain sizes (k, T, B) needs beside its data; see `work` for the arrays."""

    program: Program
    members: int
    memory: Memory
    no_labels: NDArray
    no_targets: NDArray
    empty: NDArray
    steps: NDArray


def program(plan: Plan, B: int) -> Program:
    """The table of a fused plan, whose layers are among `KNOWN`."""
    rows: list[dict[int, int]] = []
    eps: list[float] = []
    windows: dict[int, Window] = {}
    size = winners = scratch = work = 0

    def room(elements: int) -> int:
        nonlocal size
        start, size = size, size + -(-elements // 16) * 16  # on a cache line of its own
        return start

    at, d_at = -1, -1  # where the last output and its gradient lie
    for step in plan.steps:
        layer, out = step.layer, prod(step.out_shape)
        h, w, c = step.in_shape if len(step.in_shape) == 3 else (1, 1, prod(step.in_shape))
        shape = step.out_shape if len(step.out_shape) == 3 else (1, 1, out)
        row = {p.X: at, p.DX: d_at, p.H: h, p.WIDTH: w, p.C: c}
        row |= dict(zip((p.H_OUT, p.W_OUT, p.N), shape, strict=True))
        row |= {p.W: -1, p.BIAS: -1, p.WT: -1}
        names = (p.W, p.BIAS)
        row |= {n: slot.start for n, slot in zip(names, step.slots.values(), strict=False)}
        at, d_at = room(B * out), room(B * out)
        row |= {p.Y: at, p.DY: d_at}
        if type(layer) is Conv2D or type(layer) is MaxPool:
            window = layer.kernel_size if type(layer) is Conv2D else layer.size  # type: ignore[union-attr]
            _, _, pad = window_of(layer, step.in_shape, window, layer.stride, layer.padding)
            numbers = *pair(window), *pair(layer.stride), *pad
            row |= dict(zip((p.KH, p.KW, p.SR, p.SC, p.PR, p.PC), numbers, strict=True))
        if type(layer) is Conv2D:
            row[p.KIND] = p.CONV
            patch = row[p.KH] * row[p.KW] * c
            windows[len(rows)] = Window(h, w, c, *shape, *numbers)
            if row[p.DX] >= 0:
                row[p.WT] = room(patch * row[p.N])
            work += B * out * patch
        elif type(layer) is Dense:
            row[p.KIND] = p.DENSE
            work += B * out * c
        elif isinstance(layer, BatchNorm):
            row[p.WITH_RELU] = type(layer) is BatchNormReLU
            row[p.SAVED] = room((2 + 4 * B) * c)
            rows.append(row | {p.KIND: p.MOMENTS, p.SYNC_BACK: 1})
            eps.append(layer.eps)
            row |= {p.KIND: p.NORMALISE, p.SYNC: 1}
            scratch = max(scratch, 4 * c)
        elif type(layer) is MaxPool:
            row |= {p.KIND: p.POOL, p.WINNER: winners}
            winners += B * out
        elif type(layer) is ReLU:
            row[p.KIND] = p.RELU
        elif type(layer) is Tanh:
            row[p.KIND] = p.TANH
        rows.append(row)
        eps.append(layer.eps if isinstance(layer, BatchNorm) else 0.0)
    table = np.zeros((len(rows), p.COLUMNS), np.int64)
    for l, row in enumerate(rows):
        table[l, list(row)] = list(row.values())
    slices = min(SLICES, B) if work >= WORTH_SLICES else 1
    cuts, parts = cut(windows, len(rows), B, slices)
    return Program(table, cuts, parts, np.array(eps), size, winners, max(scratch, 1), work)


def cut(
    windows: dict[int, Window], stages: int, B: int, slices: int
) -> tuple[NDArray, NDArray]:
    """The convolutions' tables, one after the other, and where those of each slice begin."""
    cuts, parts, size = np.zeros((stages, slices), np.int64), [np.zeros(1, np.int64)], 1
    for l, window in windows.items():
        begins: dict[int, int] = {}  # of so many images
        for s in range(slices):
            n = (s + 1) * B // slices - s * B // slices
            if n not in begins:
                begins[n], part = size, tables(window, n, *_tile())
                parts.append(part)
                size += part.size
            cuts[l, s] = begins[n]
    return cuts, np.concatenate(parts)


@cache
def _tile() -> tuple[int, int]:
    """Pixels of a register tile, and rows of dw in one, on this processor."""
    with caching():
        found = import_module("minireptile.kernels.registers_numba")
    return found.HEIGHT, found.ROWS


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """Zeros that begin on a cache line, and so do their rows, with what is behind each."""
    per_line = LINE // np.dtype(dtype).itemsize
    shape = (*shape[:-1], -(-shape[-1] // per_line) * per_line)
    memory = np.zeros(prod(shape) + per_line, dtype)
    start = -memory.ctypes.data % LINE // memory.itemsize
    return memory[start : start + prod(shape)].reshape(shape)


def memory(program: Program, threads: int, B: int, P: int, dtype: np.dtype) -> Memory:
    """Memory for so many threads; it does not grow with the inner steps."""
    sizes = P, max(program.ws, 1), program.scratch
    own, ws, scratch = (aligned((threads, n), dtype) for n in sizes)
    return Memory(
        own,
        own[:0],
        ws,
        ws[:0],
        np.zeros((threads, max(program.winners, 1)), np.int32),
        scratch,
        aligned((threads, program.cuts.shape[1], P), dtype),
        aligned((threads, B), dtype),
        np.zeros((threads, 8), np.int64),
    )


class Compiled(Engine):
    """A plan's compiled calls, with the memory of the last mini-batch sizes they saw."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._programs: dict[int, Program] = {}
        self._memories: dict[tuple, Memory] = {}
        self._readies: dict[tuple, Ready] = {}

    def adapt(
        self, phi: NDArray, x: NDArray, y: NDArray, optimizer: Optimizer, state: State
    ) -> NDArray:
        """The inner loop in one call; declined for an optimizer that has not been compiled in."""
        if optimizer.operation not in MODES:
            return NotImplemented
        loss = np.empty(x.shape[:2], phi.dtype)
        self._call(MODES[optimizer.operation], phi, x, y, loss, None, optimizer, state)
        return loss

    def gradients(self, phi: NDArray, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        loss, grad = np.empty((1, len(phi)), phi.dtype), np.empty_like(phi)
        self._call(p.GRADIENT, _plain(phi), x[None], y[None], loss, grad)
        return loss[0], grad

    def outputs(self, phi: NDArray, x: NDArray) -> NDArray:
        T, B = x.shape[:2]
        out = np.empty((T, B * self.plan.n_out), phi.dtype)
        self._call(p.FORWARD, _plain(phi), x[None], None, np.empty((1, T), phi.dtype), out)
        return out.reshape(T, B, -1)

    def products(self, phi: NDArray, x: NDArray, y: NDArray, v: NDArray) -> NDArray:
        """In one call; declined where the first layer with parameters is a batch normalisation,
        or where none has any."""
        T, B = x.shape[:2]
        r = self._ready(1, T, B, phi.dtype, HVP_PRODUCTS)
        start = int(np.argmax(r.program.table[:, p.W] >= 0))  # the first stage with parameters
        row = r.program.table[start]
        if row[p.KIND] == p.MOMENTS or row[p.W] < 0:
            return NotImplemented
        if not len(r.memory.rws):
            rows = next(key for key, memory in self._memories.items() if memory is r.memory)
            m = r.memory
            tangents = (aligned(a.shape, a.dtype) for a in (m.own, m.ws))
            self._memories[rows] = replace(m, **dict(zip(("rown", "rws"), tangents, strict=True)))
            self._readies.clear()
            r = self._ready(1, T, B, phi.dtype, HVP_PRODUCTS)
        m, hv = r.memory, np.empty_like(phi)
        labels, targets = self._targets(r, y[None])
        arguments = (
            r.program.table, r.program.cuts, r.program.tables, r.program.eps, self.plan.scale(B),
            start,
            _plain(phi), _plain(v),
            _plain(x.reshape(T, B, -1)), labels[0], targets[0], hv,
            m.own, m.rown, m.ws, m.rws, m.winners, m.scratch, m.grads, m.examples, m.arrived,
        )  # fmt: skip
        run("hvp_numba", arguments, r.members, r.program.work >= WORTH_BLAS_THREADS)
        return hv

    def _program(self, B: int) -> Program:
        if B not in self._programs:
            self._programs[B] = program(self.plan, B)
        return self._programs[B]

    def _ready(self, k: int, T: int, B: int, dtype: np.dtype, products: int = 3) -> Ready:
        """What a call of these sizes needs, from the last such call if there was one. It does so
        many products a layer; a gradient is three."""
        key = (k, T, B, dtype, products)
        if key not in self._readies:
            if dtype not in DTYPES:
                raise InputError(f"the numba backend computes in float32 or float64, not {dtype}")
            program = self._program(B)
            slices = program.cuts.shape[1]
            worth = products * program.work * k * T >= WORTH_THREADS
            members = min(threads(), T * slices) if worth else 1
            rows = (B, members, dtype)
            if rows not in self._memories:
                if len(self._memories) == 4:  # training and evaluation take turns with a few
                    self._memories.pop(next(iter(self._memories)))
                    self._readies.clear()
                self._memories[rows] = memory(program, members, B, self.plan.size, dtype)
            no_labels, no_targets = np.empty((k, T, 0), np.int64), np.empty((k, T, 0, 0), dtype)
            empty, steps = np.empty((T, 0), dtype), np.zeros(T, np.int64)
            self._readies[key] = Ready(
                program, members, self._memories[rows], no_labels, no_targets, empty, steps
            )
        return self._readies[key]

    def _call(
        self, mode: int, phi: NDArray, x: NDArray, y: NDArray | None, loss: NDArray,
        out: NDArray | None, optimizer: Optimizer | None = None, state: State | None = None,
    ) -> None:  # fmt: skip
        """phi (T, P), x (k, T, B, ...), y likewise, loss (k, T), out as in `work`."""
        k, T, B = x.shape[:3]
        r = self._ready(k, T, B, phi.dtype)
        labels, targets = self._targets(r, y)
        state, m = state or {}, r.memory
        first = state.get("m", state.get("velocity", r.empty))
        arguments = (
            mode, r.program.table, r.program.cuts, r.program.tables, r.program.eps,
            self.plan.scale(B),
            phi, _plain(x.reshape(k, T, B, -1)), labels, targets, loss,
            r.empty if out is None else out, _numbers(optimizer),
            first, state.get("v", r.empty), state.get("t", r.steps),
            m.own, m.ws, m.winners, m.scratch, m.grads, m.examples, m.arrived,
        )  # fmt: skip
        run("adapt_numba", arguments, r.members, r.program.work >= WORTH_BLAS_THREADS)

    def _targets(self, r: Ready, y: NDArray | None) -> tuple[NDArray, NDArray]:
        """Labels (k, T, B) and targets (k, T, B, n_out), one of them empty."""
        if y is None:
            return r.no_labels, r.no_targets
        if y.dtype.kind == "f":
            return r.no_labels, _plain(y.reshape(*y.shape[:3], -1))
        return _plain(np.asarray(y, np.int64)), r.no_targets


@cache
def _numbers(optimizer: Optimizer | None) -> NDArray:
    """An optimizer's numbers where kernels/program.py says."""
    names = {
        p.LR: "lr", p.MOMENTUM: "momentum", p.BETA1: "beta1", p.BETA2: "beta2", p.EPS: "eps",
        p.DECAY: "weight_decay_rate",
    }  # fmt: skip
    numbers = np.zeros(len(names))
    for at, name in names.items():
        numbers[at] = getattr(optimizer, name, name == "weight_decay_rate")
    return numbers


def _plain(array: NDArray) -> NDArray:
    """The array, contiguous and writeable, so that there is one compiled version for its type."""
    array = np.ascontiguousarray(array)
    return array if array.flags.writeable else array.copy()
