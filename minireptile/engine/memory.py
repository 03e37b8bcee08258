"""Memory of the compiled calls, and what a call is told of it (kernels/program.py)."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..kernels import program as p
from ..optim import Optimizer
from .program import Layout

LINE = 64  # bytes of a cache line: where vectors begin on one, no load meets two
DTYPES = np.dtype(np.float32), np.dtype(np.float64)


class Memory(NamedTuple):
    """A row of bytes for each thread, and where in it lies what, by the plan's fields."""

    rows: NDArray
    at: dict[int, int]
    second: bool  # with tangents


def address(array: NDArray | None) -> int:
    """Where an array begins; 0 for none."""
    return 0 if array is None else array.__array_interface__["data"][0]


def memory(
    layout: Layout, threads: int, P: int, dtype: np.dtype, second: bool, drawn: int = 0,
    data: int = 0,
) -> Memory:  # fmt: skip
    """Memory for so many threads; it does not grow with the inner steps. `drawn`, `data`: bytes of
    what is drawn of a task, and of a mini-batch gathered from it."""
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
        p.OWN_DRAWN: rounded(drawn),
        p.OWN_DATA: rounded(data),
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


def told(
    P: int, l: Layout, room: Memory, k: int, T: int, dtype: np.dtype
) -> tuple[NDArray, NDArray, NDArray]:
    """What a call of these sizes is told, but for its arguments; the threads' fields; and where
    they count who has arrived."""
    plan, members = np.zeros(p.TOLD, np.int64), len(room.rows)
    numbers = room.at | {
        p.TASKS: T, p.INNER_STEPS: k, p.IMAGES: l.B, p.CUT: l.slices, p.SIZE: P,
        p.ITEM: dtype.itemsize, p.CONSTANTS_AT: address(l.constants),
        p.TABLES_AT: address(l.tables), p.ITERATIONS: 1,
    }  # fmt: skip
    plan[list(numbers)] = list(numbers.values())
    fields, arrived = (np.zeros((members + 1, n), np.int64) for n in (p.FIELDS, 8))
    return plan, fields, arrived


def plain(array: NDArray, dtype: DTypeLike) -> NDArray:
    """The array, or a contiguous copy of this type."""
    return np.ascontiguousarray(array, dtype)


def update_of(optimizer: Optimizer) -> tuple[str, bool, str]:
    """An optimizer's stage, and whether weights decay; of data that are given."""
    return optimizer.operation, bool(numbers_of(optimizer)[p.DECAY] != 1), ""


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
