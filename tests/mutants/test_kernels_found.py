"""What mutation runs of the kernels found untested: each of these kills a mutant or several."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.backend import kernels
from minireptile.devices.numba_setup import caching
from tests.kernels.contract import Call, Gradient, Parameter, Scratch, Written, close, make
from tests.kernels.contract_calls import REFERENCES
from tests.kernels.test_contract import EVERY, USABLE

every_backend = pytest.mark.parametrize("backend", USABLE)


@every_backend
def test_relu_gives_no_negative_zero_and_no_gradient_at_zero(backend: str) -> None:
    k, x = kernels(backend), np.array([[-2.0, -0.0, 0.0, 3.0]])
    y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    k.relu_forward(y, x)
    k.relu_backward(dx, np.array([[1.0, 2.0, 4.0, 8.0]]), x)
    np.testing.assert_array_equal(y, [[0, 0, 0, 3]])
    assert not np.signbit(y).any()
    np.testing.assert_array_equal(dx, [[0, 0, 0, 8]])


@pytest.mark.parametrize(
    ("operation", "kernel"), [p for p in EVERY if str(p.values[0]).startswith("conv2d")]
)
@pytest.mark.parametrize("pad", [(1, 0), (0, 1)])
def test_rows_and_columns_are_padded_each_by_its_own(
    operation: str, kernel: Any, pad: tuple[int, int]
) -> None:
    """Where a model's convolution of 3 x 3 taps pads both alike."""
    rng = np.random.default_rng(0)
    out = 3 + 2 * pad[0], 2 + 2 * pad[1]
    x, w, b = (
        rng.uniform(-1, 1, (2, 2, 5, 4, 3)),
        rng.uniform(-1, 1, (2, 3, 3, 3, 2)),
        np.ones((2, 2)),
    )
    y, cols = (2, 2, *out, 2), Scratch((2, 2, *out, 3, 3, 3))
    if operation == "conv2d_forward":
        arguments: Any = Written(y), cols, x, Parameter(w), Parameter(b), (1, 1), pad
    else:
        dy = rng.uniform(-1, 1, y)
        written = Written(x.shape), Gradient(w.shape), Gradient((2, 2))
        arguments = *written, cols, dy, x, Parameter(w), (1, 1), pad
    call = Call(arguments, 80, 80.0)
    # In single precision, in which test_contract.py has compiled them.
    expected = make(REFERENCES[operation], call.rounded(np.float32), np.float64)
    close(make(kernel, call, np.float32), expected, call, np.float32)


@pytest.mark.skipif("numba" not in USABLE, reason="numba is not usable here")
@pytest.mark.parametrize(
    ("taps", "stride", "pixels", "channels", "pays"),
    [
        ((3, 3), (1, 1), (8, 8), (24, 24), True),
        ((3, 3), (1, 1), (16, 4), (24, 24), True),
        ((3, 3), (1, 1), (7, 9), (24, 24), False),  # 63 outputs
        ((3, 3), (1, 1), (8, 8), (23, 24), False),
        ((3, 3), (1, 1), (8, 8), (24, 23), False),
        ((3, 3), (1, 2), (8, 8), (24, 24), False),
        ((3, 1), (1, 1), (8, 8), (24, 24), False),
        ((1, 3), (1, 1), (8, 8), (24, 24), False),
    ],
)
def test_numba_takes_winograds_products_where_they_pay(
    taps: tuple[int, int], stride: tuple[int, int], pixels: tuple[int, int],
    channels: tuple[int, int], pays: bool,
) -> None:  # fmt: skip
    """From 12 (C + N) products of channels and 64 outputs on (winograd.md)."""
    with caching():
        conv2d: Any = import_module("minireptile.kernels.conv2d_numba")
    shapes = (1, 2, 50, 60, channels[0]), (1, *taps, *channels), (1, 2, *pixels, channels[1])
    x, w, y = map(np.empty, shapes)
    assert conv2d.winograd_pays(x, w, y, stride) == pays


@pytest.mark.skipif("numba" not in USABLE, reason="numba is not usable here")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_of_numba_is_as_accurate_as_its_derivation_says(dtype: type) -> None:
    """Relative to y, and for tiny x too (tanh.md, eq. 3 to 5): a rounding or two of the last steps,
    which are the same on every processor."""
    mpmath: Any = import_module("mpmath")  # which SymPy brings
    info = np.finfo(dtype)
    ends: NDArray = np.array([0, info.smallest_subnormal, info.tiny, 10, 20, 40, np.inf], dtype)
    sizes: NDArray = np.geomspace(1e-6, 25, 3000).astype(dtype)
    x = np.concatenate([ends, sizes, -sizes, -ends])
    y = np.full_like(x, np.nan)
    kernels("numba").tanh_forward(y, x)
    with mpmath.workdps(40):
        for got, at in zip(y.tolist(), x.tolist(), strict=True):
            exact = mpmath.tanh(at)
            assert abs(got - exact) <= 2 * float(info.eps) * abs(exact), at
    np.testing.assert_array_equal(np.signbit(y), np.signbit(x))
    kernels("numba").tanh_forward(y, np.full_like(x, np.nan))
    assert np.isnan(y).all()
