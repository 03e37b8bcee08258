"""A plan as a program for the compiled calls: a row of whole numbers for each instruction.

`layout` finds where everything lies for mini-batches of B, `program` strings together the stages
of kernels/loss_and_grad_numba.py, hvp_numba.py and adapt_numba.py that a call needs. A stage is
compiled when a program first has it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..devices.numba_setup import caching
from ..kernels import program as p
from ..kernels.tiles import Window, tables
from ..kernels.winograd_numpy import pays
from ..layers import BatchNorm, BatchNormReLU, Conv2D, Dense, Layer, MaxPool, ReLU, Tanh
from ..layers.base import pair, window_of
from ..plan import Plan

# Batch normalisation is two stages, since its output needs the sums over all images: "moments"
# gathers them image by image, "normalise" uses them. Backwards they change places. With a max-pool
# behind them they are "pooled_moments" and "pooled", which does what the pool would.
KINDS = {
    Conv2D: ("product",), Dense: ("product",), BatchNorm: ("moments", "normalise"),
    BatchNormReLU: ("moments", "normalise"), ReLU: ("relu",), Tanh: ("tanh",), MaxPool: ("pool",),
}  # fmt: skip

Row = dict[int, int]  # a row's columns, by their names
Stages = tuple[tuple[str, Row], ...]  # the kind of each, and what its rows have in common


def knows(layer: Layer) -> bool:
    """Whether the compiled calls have a stage for a layer."""
    return type(layer) in KINDS


def has_update(operation: str) -> bool:
    """Whether they have one for an optimizer's kernel."""
    return operation in vars(stages_of("adapt_numba"))


@dataclass(frozen=True)
class Layout:
    """Where a network's numbers lie, for mini-batches of B."""

    B: int
    slices: int
    stages: Stages  # one layer at a time
    short: Stages  # the same in fewer and faster ones, which have no tangents
    constants: NDArray  # float64, as kernels/program.py says
    tables: NDArray  # of the convolutions, those of each slice where its row says
    ws: int  # elements of a task's workspace
    winners: int
    scratch: int
    first: int  # the first stage with parameters; as many as there are stages if none has any

    @property
    def has_product(self) -> bool:
        """Whether the compiled calls have its Hessian-vector product."""
        return self.first < len(self.stages) and self.stages[self.first][0] != "moments"


def work(plan: Plan, B: int) -> int:
    """Multiply-adds of a forward pass."""
    products = [s for s in plan.steps if isinstance(s.layer, Conv2D | Dense)]
    weights = [next(iter(step.slots.values())) for step in products]
    return B * sum(
        prod(step.out_shape[:-1]) * (slot.stop - slot.start)
        for step, slot in zip(products, weights, strict=True)
    )


def layout(plan: Plan, B: int, slices: int) -> Layout:
    """The layout of a fused plan, whose layers are among `KINDS`."""
    stages: list[tuple[str, Row]] = []
    constants, parts = [plan.scale(B)], [np.zeros(1, np.int64)]
    size = winners = scratch = 0
    winograd: set[int] = set()  # the stages that are faster by Winograd's products

    def room(elements: int) -> int:
        nonlocal size
        start, size = size, size + -(-elements // 16) * 16  # on a cache line of its own
        return start

    at, d_at = -1, -1  # where the last output and its gradient lie
    for step in plan.steps:
        layer, out = step.layer, prod(step.out_shape)
        h, w, c = step.in_shape if len(step.in_shape) == 3 else (1, 1, prod(step.in_shape))
        shape = step.out_shape if len(step.out_shape) == 3 else (1, 1, out)
        row: Row = {p.X: at, p.DX: d_at, p.H: h, p.WIDTH: w, p.C: c, p.KH: 1, p.KW: 1}
        row |= dict(zip((p.H_OUT, p.W_OUT, p.N), shape, strict=True))
        row |= {p.W: -1, p.BIAS: -1, p.WT: -1}
        names = (p.W, p.BIAS)
        row |= {n: slot.start for n, slot in zip(names, step.slots.values(), strict=False)}
        at, d_at = room(B * out), room(B * out)
        row |= {p.Y: at, p.DY: d_at}
        if isinstance(layer, Conv2D | MaxPool):
            window = layer.kernel_size if isinstance(layer, Conv2D) else layer.size
            _, _, pad = window_of(step.in_shape, window, layer.stride, layer.padding)
            numbers = *pair(window), *pair(layer.stride), *pad
            row |= dict(zip((p.KH, p.KW, p.SR, p.SC, p.PR, p.PC), numbers, strict=True))
        if isinstance(layer, Dense):  # a convolution of one pixel
            numbers = 1, 1, 1, 1, 0, 0
        if isinstance(layer, Conv2D | Dense):
            weights = row[p.KH] * row[p.KW] * c * row[p.N]
            if row[p.DX] >= 0:
                row[p.WT] = room(weights)
            row |= cut(Window(h, w, c, *shape, *numbers), B, slices, parts)
            if pays(numbers[:2], numbers[2:4], c, row[p.N], prod(shape[:2])):
                winograd.add(len(stages))
                scratch = max(scratch, room_for(c, row[p.N]))
        elif isinstance(layer, BatchNorm):
            row |= {p.WITH_RELU: type(layer) is BatchNormReLU, p.EPS_AT: len(constants)}
            row[p.SAVED] = room((2 + 4 * B) * c)
            constants.append(layer.eps)
            scratch = max(scratch, 4 * c)
        elif isinstance(layer, MaxPool):
            row[p.WINNER] = winners
            winners += B * out
        stages += [(kind, row) for kind in KINDS[type(layer)]]
    with_parameters = [l for l, (_, row) in enumerate(stages) if row[p.W] >= 0]
    first = with_parameters[0] if with_parameters else len(stages)
    return Layout(
        B, slices, tuple(stages), shortened(stages, winograd), np.array(constants),
        np.concatenate(parts), size, winners, scratch, first,
    )  # fmt: skip


def shortened(stages: list[tuple[str, Row]], winograd: set[int]) -> Stages:
    """The stages with Winograd's products, and with a batch normalisation, the max-pool of 2 x 2
    behind it and a ReLU as one (batchnorm.md, eq. 30)."""
    short: list[tuple[str, Row]] = []
    for i, (kind, row) in enumerate(stages):
        before, before_row = short[-1] if short else ("", {})
        if kind == "pool" and before == "normalise" and halves(row):
            pooled = before_row | {p.WON: before_row[p.Y], p.WINNER: row[p.WINNER]}
            short[-2:] = [(name, pooled | ends(row)) for name in ("pooled_moments", "pooled")]
        elif kind == "relu" and before == "pooled":
            both = before_row | ends(row) | {p.WITH_RELU: 1}
            short[-2:] = [(name, both) for name, _ in short[-2:]]
        else:
            short.append(("winograd" if i in winograd else kind, row))
    return tuple(short)


def halves(row: Row) -> bool:
    """Whether a max-pool's windows are of 2 x 2, beside each other, and no pixel is in none."""
    window = [row[n] for n in (p.KH, p.KW, p.SR, p.SC, p.PR, p.PC)]
    inside = 2 * row[p.H_OUT] >= row[p.H] and 2 * row[p.W_OUT] >= row[p.WIDTH]
    return window == [2, 2, 2, 2, 0, 0] and inside


def ends(row: Row) -> Row:
    """The columns that say what a stage has written."""
    return {n: row[n] for n in (p.Y, p.DY, p.H_OUT, p.W_OUT, p.N)}


def cut(window: Window, B: int, slices: int, parts: list[NDArray]) -> Row:
    """Add a convolution's tables to the others; where those of each slice begin."""
    row: Row = {}
    begins: dict[int, int] = {}  # of so many images
    for s in range(slices):
        n = (s + 1) * B // slices - s * B // slices
        if n not in begins:
            begins[n] = sum(part.size for part in parts)
            parts.append(tables(window, n, *tile()))
        row[p.CUTS + s] = begins[n]
    return row


def room_for(C: int, N: int) -> int:
    """Scratch of a convolution by Winograd's products."""
    return stages_of("winograd_numba").room_for(C, N)


@cache
def tile() -> tuple[int, int]:
    """Pixels of a register tile, and rows of dw in one, on this processor."""
    found = stages_of("registers_numba")
    return found.HEIGHT, found.ROWS


@cache
def stages_of(module: str) -> Any:
    with caching():
        return import_module(f"minireptile.kernels.{module}")


class Program(NamedTuple):
    """Instructions, and what keeps their functions alive."""

    code: NDArray  # (instructions, columns) int64
    functions: list[Any]


Instruction = tuple[str, Row, bool, bool]  # stage, row, whether threads meet before it, once


def forward(l: Layout, second: bool) -> Iterable[Instruction]:
    """All stages; second: with tangents from the first on that has parameters."""
    stages = l.stages if second else l.short
    for i, (kind, row) in enumerate(stages):
        if row[p.WT] >= 0 and i > l.first and kind != "winograd":
            yield "turn_weights", row, False, True
            if second:
                yield "turn_weights_r", row, False, True
    for i, (kind, row) in enumerate(stages):
        moves = second and i >= l.first
        if kind in ("normalise", "pooled"):
            yield "join_statistics", row, True, True
            if moves:
                yield "join_statistics_r", row, False, True
        yield f"forward_{kind}", row, False, False
        if moves:
            yield f"forward_{kind}_r", row if i > l.first else row | {p.DX: -1}, False, False


def backward(l: Layout, second: bool) -> Iterable[Instruction]:
    """The stages down to the first with parameters, of whose input nobody wants the gradient."""
    stages = l.stages if second else l.short
    meet = True  # the turned weights are complete
    for kind, row in reversed(stages[l.first :]):
        if row[p.X] == stages[l.first][1][p.X]:
            row = row | {p.DX: -1}
        if kind in ("moments", "pooled_moments"):
            yield "join_sums_r" if second else "join_sums", row, True, True
            meet = False
            if row[p.DX] < 0:
                continue
        if kind != "product" or not second:  # their tangents' stages do both
            yield f"backward_{kind}", row, meet, False
            meet = False
        if second:
            yield f"backward_{kind}_r", row, meet, False
            meet = False


def instructions(l: Layout, what: str | tuple, classes: bool) -> Iterable[Instruction]:
    """What a call does at each step: "forward", "gradient", "product"; or an optimizer's stage,
    whether weights decay before, and what gathers the data, or ""."""
    update, meet = isinstance(what, tuple), True
    if update and what[1]:
        yield "decay_weights", {}, False, True
    if update and what[2]:
        yield what[2], {}, True, False  # what it gathers has been drawn
        meet = False
    second = what == "product"
    last = (l.stages if second else l.short)[-1][1]
    first, *others = forward(l, second)
    yield first[0], first[1], meet, first[3]  # phi is complete
    yield from others
    if what == "forward":
        yield "hand_out", last, False, False
        return
    yield "cross_entropy" if classes else "squared", last, False, False
    if second:
        yield "cross_entropy_r" if classes else "squared_r", last, False, False
    yield from backward(l, second)
    yield "total_loss", {}, True, True
    yield what[0] if update else "hand_out_gradient", {}, False, True


def program(l: Layout, what: str | tuple, classes: bool, dtype: np.dtype) -> Program:
    """The instructions with their functions, compiled for a type."""
    listed = list(instructions(l, what, classes))
    code, functions = np.zeros((len(listed), p.CUTS + l.slices), np.int64), []
    for at, (stage, row, meet, once) in enumerate(listed):
        function = compiled(stage, dtype)
        functions.append(function)
        row = row | {p.STAGE: function.address, p.SYNC: meet, p.ONCE: once}
        code[at, list(row)] = list(row.values())
    return Program(code, functions)


@cache
def compiled(stage: str, dtype: np.dtype) -> Any:
    """A stage's machine code: void(int64 *row, int64 *fields, number)."""
    numba: Any = import_module("numba")
    modules = "loss_and_grad_numba", "hvp_numba", "adapt_numba", "reptile_numba"
    found = next(m for name in modules if stage in vars(m := stages_of(name)))
    longs = numba.types.CPointer(numba.types.int64)
    signature = numba.types.void(longs, longs, numba.from_dtype(dtype))
    with caching():
        return numba.cfunc(signature, nopython=True, cache=True, error_model="numpy")(
            vars(found)[stage]
        )
