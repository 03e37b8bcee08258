"""What mutation runs of the kernels found untested: each of these kills a mutant or several."""

from __future__ import annotations

import numpy as np
import pytest

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
