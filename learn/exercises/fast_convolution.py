"""14: a convolution that is right, and then faster than the ladder's first rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

from bench.measure import in_turns
from minireptile.kernels.conv2d_numpy import conv2d_forward_v1
from minireptile.kernels.window import Pair, output_size
from minireptile.testing import check_same

from ..learner import shown
from ..record import Exercise

FASTER = 1.1  # times as fast, at least: less than that may be the machine's noise
LONG = 0.1  # seconds of a call that is not repeated


def conv2d_forward(
    y: NDArray, cols: NDArray, x: NDArray, w: NDArray, b: NDArray | None, stride: Pair, pad: Pair
) -> None:
    T, B, rows, columns, N = y.shape
    kh, kw = w.shape[1:3]
    below = max((rows - 1) * stride[0] + kh - pad[0] - x.shape[2], 0)
    right = max((columns - 1) * stride[1] + kw - pad[1] - x.shape[3], 0)
    x = np.pad(x, ((0, 0), (0, 0), (pad[0], below), (pad[1], right), (0, 0)))
    windows = sliding_window_view(x, (kh, kw), (2, 3))[:, :, :: stride[0], :: stride[1]]
    patches = np.moveaxis(windows[:, :, :rows, :columns], 4, 6)  # (..., kh, kw, C_in)
    matrix = patches.reshape(T, B * rows * columns, -1)
    np.matmul(matrix, w.reshape(T, -1, N), out=y.reshape(T, -1, N))
    if b is not None:
        y += b[:, None, None, None]


class Case(NamedTuple):
    """The sizes of a convolution."""

    tasks: int
    images: int
    size: Pair
    channels: Pair  # in and out
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: str = "same"
    bias: bool = True

    def arrays(self, dtype: DTypeLike = np.float64) -> tuple[Any, ...]:
        """The arguments of the contract."""
        rng, (c_in, c_out) = np.random.default_rng(0), self.channels
        T, B = self.tasks, self.images
        x = rng.standard_normal((T, B, *self.size, c_in))
        w = rng.standard_normal((T, *self.kernel, c_in, c_out))
        b = rng.standard_normal((T, c_out)) if self.bias else None
        given = [a if a is None else a.astype(dtype) for a in (x, w, b)]
        for array in given:
            if array is not None:
                array.flags.writeable = False
        out, pad = zip(
            *(
                output_size(n, k, s, self.padding)
                for n, k, s in zip(self.size, self.kernel, self.stride, strict=True)
            ),
            strict=True,
        )
        y = np.full((T, B, *out, c_out), np.nan, dtype)
        cols = np.full((1, 1, *out, *self.kernel, c_in), np.nan, dtype)
        return y, cols, *given, self.stride, pad

    def __str__(self) -> str:
        what = [f"{name.replace('_', ' ')} {value}" for name, value in self._asdict().items()]
        return ", ".join(what)


CASES = (
    Case(2, 3, (7, 6), (2, 3), stride=(2, 2)),
    Case(1, 2, (5, 8), (3, 2), (2, 4), (1, 2)),
    Case(1, 2, (6, 6), (1, 4), (3, 3), (2, 2), "valid"),
    Case(2, 1, (4, 3), (4, 1), (5, 5), bias=False),
    Case(1, 1, (7, 7), (1, 1), (1, 1), (3, 2), "valid"),
)
# An image for each of 8 tasks, and products so small that a BLAS does each on one thread: shared
# among several, they take many times as long while another program wants a core.
TIMED = (
    Case(8, 1, (28, 28), (1, 64), stride=(2, 2)),
    Case(8, 1, (14, 14), (16, 32), stride=(2, 2)),
)


def written(
    kernel: Callable[..., Any], case: Case, dtype: DTypeLike = np.float64
) -> Callable[[], Any]:
    """The kernel as a function that returns what it wrote."""

    def run() -> NDArray:
        y, *given = case.arrays(dtype)
        kernel(y, *given)
        return y

    return run


def seconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """What each call takes, by the median of turns; by a single one, if that takes long."""
    single = {}
    for name, call in calls.items():
        start = perf_counter()
        call()
        single[name] = perf_counter() - start
    if max(single.values()) > LONG:
        return single
    return {name: t.median for name, t in in_turns(calls, rounds=9, least=0.003).items()}


def compared(kernel: Callable[..., Any]) -> tuple[float, str]:
    """How many times as fast as numpy v1 on the timed layers together, and a sentence on it."""
    times = {"yours": 0.0, "numpy v1": 0.0}
    for case in TIMED:
        arguments = case.arrays(np.float32)
        calls: dict[str, Callable[[], object]] = {
            "yours": lambda a=arguments: kernel(*a),  # type: ignore[misc]
            "numpy v1": lambda a=arguments: conv2d_forward_v1(*a),  # type: ignore[misc]
        }
        times = {name: times[name] + t for name, t in seconds(calls).items()}
    ratio = times["numpy v1"] / times["yours"]
    pace = f"{ratio:.3g} times as fast as" if ratio > 0.1 else f"{1 / ratio:,.0f} times slower than"
    yours, theirs = (f"{1e3 * times[name]:,.2f} ms" for name in ("yours", "numpy v1"))
    return ratio, (
        f"right, and {pace} numpy v1: {yours} against {theirs} for 8 tasks,\n"
        "an image each, in two layers: 28 x 28 x 1 to 14 x 14 x 64, 14 x 14 x 16 to "
        "7 x 7 x 32"
    )


def check(my: ModuleType) -> None:
    """The numbers first, then the time."""
    for case in CASES:
        own = written(my.conv2d_forward, case)
        if np.isnan(own()).all():
            raise AssertionError("conv2d_forward writes nothing into y: y[...] = ..., or out=")
        length = case.kernel[0] * case.kernel[1] * case.channels[0] + 1
        check_same(own, written(conv2d_forward_v1, case), length=length, name=f"y, {case}")
    for case in TIMED:
        own, right = (written(f, case, np.float32) for f in (my.conv2d_forward, conv2d_forward_v1))
        length = 9 * case.channels[0] + 1
        check_same(own, right, length=2 * length, name=f"y of float32, {case}")
    ratio, told = compared(my.conv2d_forward)
    if ratio < FASTER:
        raise AssertionError(f"{told}; {FASTER:g} times is asked for")


def finish(my: ModuleType, folder: Path) -> str:
    """Say how fast it is, and where one goes on from here."""
    _, told = compared(my.conv2d_forward)
    file = shown(folder / f"{EXERCISE.name}.py")
    return f"It is {told}.\nOn to the rest of the ladder: python -m bench race {file}"


EXERCISE = Exercise(
    name="14_fast_convolution",
    title="a convolution faster than numpy v1",
    minutes=30,
    read="kernels/conv2d.md, eq. 1 and 6",
    hints=(
        "y[m, n] = sum over k of cols[m, k] w[k, n] + bias[n], with m = (b, o, p) and k = (i, j, "
        "c): eq. 6 of kernels/conv2d.md. One large product instead of one for each tap.",
        "Where numpy v1 loses time: it goes through all of y once for each tap, and a product with "
        "an inner dimension of C_in = 1 is no work for BLAS. Laid side by side, the taps make an "
        "inner dimension of kh kw C_in, and y is written once.",
        "sliding_window_view(padded, (kh, kw), (2, 3)) is every window without a copy, (T, B, H', "
        "W', C_in, kh, kw). Take every stride-th of them and H_out, W_out in all, bring C_in to "
        "the end with np.moveaxis, and reshape to (T, B H_out W_out, kh kw C_in): this copies.",
        "np.matmul(cols, w.reshape(T, -1, C_out), out=y.reshape(T, -1, C_out)) works on all tasks "
        "and writes y without a copy. Behind the last row are (H_out - 1) stride + kh - pad - H "
        "zeros, or none if that is negative.",
    ),
    check=check,
    solution={"conv2d_forward": conv2d_forward},
    finish=finish,
)
