"""What mutation runs of the kernels found untested: each of these kills a mutant or several."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.backend import kernels
from tests.kernels.test_contract import USABLE

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
