"""Whether a kernel of somebody's keeps to the contract: before it is timed, and after.

Small random cases first, with any of the outputs left out, in both precisions; then the shapes of
training. An answer has to be there when the kernel returns, and nothing else may be written. Then
other numbers are put into the same arrays: one in each, which a look at a few of them would miss,
and then all of them. A kernel that keeps answers from before gives the old ones.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.backend import kernels
from minireptile.kernels.operations import OPERATIONS, SCRATCH
from minireptile.optim import Optimizer

from .calls import Call, Kernel, alone, blank, calls_of, compare, outputs, refresh, whole_of
from .measure import Mismatch
from .race_file import Racer

Numbers = Mapping[str, NDArray]  # what a call has written, by the names of its arguments

SMALL = 8  # random networks
CHANNELS = (1, 2, 3, 5, 8, 17, 33)  # below, at and beyond a vector's width
IMAGES = (1, 2, 3, 9)
LEAST = 8  # numbers that are normalised: of two or three, nothing but rounding is left of dx
OPTIONAL = ("b",)  # inputs that may be None, beside the outputs
LATE = 0.02  # seconds in which work that goes on after a call shows
FAR = 648055  # odd, and near 2^20 times the golden ratio
SINGLE = 4  # times that one number of each input is changed
# What belongs together, and so is exchanged together, as tasks are: the moments, and what they are
# of. A kernel may rely on it.
MOMENTS = ("mean", "rstd", "rmean", "rrstd")


class Unfair(Exception):
    """Why times would mean nothing, though the numbers were right at first."""


def small(wanted: Collection[str], networks: int) -> Iterator[Call]:
    """Calls of small random networks: odd sizes, strides, paddings, both precisions, one task and
    several."""
    rng = np.random.default_rng(0)
    for i in range(networks):
        model, optimizer = _network(rng, "float64" if i % 2 else "float32", i // 2 % 2 == 0)
        # One task is contiguous memory, which Numba compiles for anew: so seldom.
        T, B = (1 if i == 2 else int(rng.integers(2, 4))), int(rng.choice(IMAGES))
        for call in calls_of(model, optimizer, T, B, wanted):
            a = call.arguments
            if "mean" not in a or a["x"].size // a["mean"].size >= LEAST:
                yield call


def _network(rng: np.random.Generator, dtype: str, labels: bool) -> tuple[mr.Model, Optimizer]:
    """A network with every layer in it, and an optimizer."""

    def pair(least: int, most: int) -> tuple[int, int]:
        rows, columns = rng.integers(least, most + 1, 2)
        return int(rows), int(columns)

    size, window = pair(3, 9), pair(1, 3)
    channels, filters, last = (int(n) for n in rng.choice(CHANNELS, 3))
    padding = str(rng.choice(["same", "valid"]))
    layers = [
        mr.BatchNorm(), mr.Conv2D(filters, window, pair(1, 3), padding), mr.Tanh(),
        mr.MaxPool(pair(1, 3), pair(1, 2), "same"), mr.Conv2D(2, 3), mr.BatchNorm(), mr.ReLU(),
        mr.Flatten(), mr.Dense(last), mr.BatchNorm(), mr.ReLU(), mr.Dense(4),
    ]  # fmt: skip
    loss = "softmax_cross_entropy" if labels else "squared_error"
    model = mr.Model(layers, (*size, channels), loss=loss, dtype=dtype)
    momentum = float(rng.choice([0.0, 0.9]))
    return model, mr.SGD(0.1, momentum) if labels else mr.Adam(1e-2, beta1=momentum)


def left_out(call: Call) -> Iterator[tuple[str, Call]]:
    """The call without some of its outputs, and without what else it can do without."""
    here = [n for n in OPERATIONS[call.operation].written if call.arguments[n] is not None]
    absent = [names for k in range(1, len(here)) for names in combinations(here, k)]
    absent += [(name,) for name in OPTIONAL if call.arguments.get(name) is not None]
    for names in absent:
        given = {**call.arguments, **dict.fromkeys(names)}
        yield (
            f"with None for {' and '.join(names)}, which nobody wants",
            replace(call, arguments=given),
        )


def check_small(racer: Racer, wanted: Collection[str]) -> None:
    """Hold a file's kernels to the reference on small cases. `Mismatch`, `Unfair`."""
    without: set[tuple] = set()
    for call in map(alone, small({*wanted} & {*racer.kernels}, SMALL)):
        check_one(racer, call)
        check_kept(racer, call)
        for how, fewer in left_out(call):
            # Once, since Numba compiles each of these anew.
            if (call.operation, how) not in without:
                without.add((call.operation, how))
                check_one(racer, fewer, how)


def check_one(racer: Racer, call: Call, how: str = "", late: float = 0.0) -> None:
    """Make a call, and hold it to the reference and to the contract. `Mismatch` if numbers differ,
    `Unfair` if inputs change, or anything beside the outputs is written; also if so `late` as so
    many seconds after the call."""
    refresh(call)
    wanted = outputs(call, reference(call))
    what = f"{racer.name} ({racer}) {how}".rstrip()
    before = {name: array.copy() for name, array in _inputs(call).items()}
    wholes = _wholes(call)
    blank(call)
    memory = [whole.copy() for whole in wholes]
    got = outputs(call, _guarded(racer, call, how))
    blank(call)
    time.sleep(late)
    for name, array in before.items():
        if not _same(call.arguments[name], array):
            raise Unfair(f"nothing was timed: {what} changes its input {name}: {described(call)}")
    for name in OPERATIONS[call.operation].written:
        if (array := call.arguments[name]) is not None and not _blank(array):
            raise Unfair(
                f"nothing was timed: {what} goes on writing {name} after it has returned: "
                f"{described(call)}"
            )
    if not all(map(_same, wholes, memory)):
        raise Unfair(f"nothing was timed: {what} writes beside its outputs: {described(call)}")
    _compare(what, call, got, wanted)


def check_kept(racer: Racer, call: Call) -> None:
    """Put other numbers into the arrays of a call that was right just now. `Unfair` if it then
    gives an answer from before, `Mismatch` if it gives another that is wrong."""
    rng = np.random.default_rng(1)
    kernel = _guarded(racer, call, "")
    earlier = outputs(call, kernel)
    for change in [*[partial(change_one, call, rng)] * SINGLE, partial(change_all, call, rng)]:
        change()
        got, wanted = outputs(call, kernel), outputs(call, reference(call))
        try:
            check_answers(racer, call, got, wanted)
        except Mismatch as error:
            if not _kept(call, kernel, got, earlier, wanted):
                raise
            raise Unfair(
                "answers are kept from earlier calls, so that times mean nothing: right at first, "
                f"and no more with other numbers in the same arrays: {error}"
            ) from None
        earlier = got


def _kept(call: Call, kernel: Kernel, got: Numbers, earlier: Numbers, wanted: Numbers) -> bool:
    """Whether a wrong answer is one from before, or is right in arrays that are new."""
    for name, array in wanted.items():
        if np.array_equal(got[name], earlier[name]) and not np.array_equal(got[name], array):
            return True
    own = alone(call)
    try:
        compare("", own, outputs(own, kernel), wanted)
    except Mismatch:
        return False
    return True


def check_answers(racer: Racer, call: Call, got: Numbers, wanted: Numbers | None = None) -> None:
    """Hold answers to the numbers that are in the arrays now. `Mismatch` if they are of others."""
    right = outputs(call, reference(call)) if wanted is None else wanted
    _compare(f"{racer.name} ({racer})", call, got, right)


def change_one(call: Call, rng: np.random.Generator) -> None:
    """Another number somewhere in each input that is free."""
    for array in _free(call):
        at = tuple(int(rng.integers(n)) for n in array.shape)
        array[at] = 1 + 2 * np.abs(array).max()  # so large that a maximum sees it


def change_all(call: Call, rng: np.random.Generator) -> None:
    """Other numbers everywhere: inputs that are free are drawn anew, the others exchange tasks."""
    for array in _inputs(call).values():
        array[...] = array[::-1].copy()
    for array in _free(call):
        array[...] = rng.standard_normal(array.shape) * (np.sqrt(np.mean(array**2)) or 1)


def changing(call: Call, kernel: Kernel, numbers: Iterator[int]) -> Callable[[], None]:
    """The call, for a clock: each time with another number at one place of each input, so that an
    answer that is kept is never the right one."""
    arguments = tuple(call.arguments.values())
    rng = np.random.default_rng(2)
    cells: list[NDArray] = []
    for array in _free(call):
        at = tuple(int(rng.integers(n)) for n in array.shape)
        cells.append(array[tuple(slice(i, i + 1) for i in at)])

    def run() -> None:
        number = 1 + next(numbers) * FAR % 2**20 / 2**20  # each of them once, neighbours far apart
        for cell in cells:
            cell.fill(number)
        kernel(*arguments)

    return run


def numbers() -> Iterator[int]:
    """For `changing`, of all variants together."""
    return count()


def left(call: Call, updated: bool = False) -> dict[str, NDArray]:
    """Copies of what lies in the arrays that the call writes, or in those that it updates."""
    operation = OPERATIONS[call.operation]
    names = operation.updated if updated else operation.written
    return {n: call.arguments[n].copy() for n in names if call.arguments[n] is not None}


def described(call: Call) -> str:
    """The operation, and what it gets."""
    return f"{call.operation} ({given(call)})"


def given(call: Call) -> str:
    """What a call gets: shapes of arrays, and numbers."""
    skipped = (*OPERATIONS[call.operation].written, *SCRATCH)
    texts = [
        f"{name} {value.shape if isinstance(value, np.ndarray) else value}"
        for name, value in call.arguments.items()
        if name not in skipped and value is not None
    ]
    return f"{', '.join(texts)}; {_dtype(call)}"


def _compare(what: str, call: Call, got: Numbers, wanted: Numbers) -> None:
    try:
        compare(what, call, got, wanted)
    except Mismatch as error:
        unwritten = any(np.isnan(a).any() for a in got.values() if a.dtype.kind == "f")
        hint = "; an output holds nan before the call" if unwritten else ""
        raise Mismatch(f"{error}; the case: {given(call)}{hint}") from None


def _guarded(racer: Racer, call: Call, how: str) -> Kernel:
    def kernel(*arguments: Any) -> None:
        with racer.doing(f"{described(call)} {how}".rstrip()):
            racer.kernels[call.operation](*arguments)

    return kernel


def reference(call: Call) -> Kernel:
    """NumPy's version in use."""
    return getattr(kernels("numpy"), call.operation)


def _inputs(call: Call) -> dict[str, NDArray]:
    """What a kernel only reads."""
    operation = OPERATIONS[call.operation]
    others = (*operation.written, *operation.updated, *SCRATCH)
    return {name: a for name, a in call.arguments.items()
            if isinstance(a, np.ndarray) and name not in others}  # fmt: skip


def _free(call: Call) -> list[NDArray]:
    """Inputs of which any number may be another, whatever the others are."""
    inputs = _inputs(call)
    tied = [*MOMENTS, "y"]
    tied += ["x", "rx"] if "mean" in inputs else []
    return [a for name, a in inputs.items() if a.dtype.kind == "f" and name not in tied]


def _dtype(call: Call) -> np.dtype:
    arrays = (a for a in call.arguments.values() if isinstance(a, np.ndarray))
    return next(a.dtype for a in arrays if a.dtype.kind == "f")


def _wholes(call: Call) -> list[NDArray]:
    """All of the memory that the call's arrays are in."""
    arrays = (a for a in call.arguments.values() if isinstance(a, np.ndarray))
    return list({id(whole): whole for a in arrays if (whole := whole_of(a)) is not None}.values())


def _blank(array: NDArray) -> bool:
    return bool((np.isnan(array) if array.dtype.kind == "f" else array == -1).all())


def _same(one: NDArray, other: NDArray) -> bool:
    """Bit for bit, NaN included."""
    return one.tobytes() == other.tobytes()
