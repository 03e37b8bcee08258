"""The kernels' contract (tests/kernels/test_contract.py) for every Numba CUDA kernel, simulated.

Its random calls are small; those of calls.py are larger than a block or a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile.backend import versions
from minireptile.devices.numba_cuda import device, why_not
from minireptile.kernels.operations import OPERATIONS
from tests.gpu.cudasim import strict
from tests.gpu.cudasim.calls import LARGE
from tests.gpu.cudasim.host import ladder, on_host
from tests.kernels.contract import Call, close, make
from tests.kernels.contract_calls import CALLS

assert not why_not()
strict.install()
DEVICE = device()

EVERY = [
    pytest.param(operation, on_host(kernel, DEVICE), id=version)
    for operation in OPERATIONS
    for version, kernel in ladder(operation).items()
]
SEVERAL = [p for p in EVERY if len(OPERATIONS[str(p.values[0])].written) > 1]
every_version = pytest.mark.parametrize(("operation", "kernel"), EVERY)
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def expected(operation: str, call: Call, dtype: type) -> list[NDArray]:
    return make(versions(operation, "numpy")["v1"], call.rounded(dtype), np.float64)


def check(operation: str, kernel: Callable[..., None], call: Call, dtype: type) -> None:
    close(make(kernel, call, dtype), expected(operation, call, dtype), call, dtype)


@every_version
@both_types
@settings(max_examples=10)
@given(data=st.data())
def test_small_calls(
    operation: str, kernel: Callable[..., None], dtype: type, data: st.DataObject
) -> None:
    check(operation, kernel, data.draw(CALLS[operation]), dtype)


@every_version
@both_types
def test_large_calls(
    operation: str, kernel: Callable[..., None], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in LARGE[operation]:
        call, results = Call(arguments, 40, 40), []
        for last_first in (False, True):
            monkeypatch.setattr(strict, "last_first", last_first)
            results.append(make(kernel, call, dtype))
        close(results[0], expected(operation, call, dtype), call, dtype)
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other, "it depends on which thread comes first")


@pytest.mark.parametrize(("operation", "kernel"), SEVERAL)
def test_what_nobody_wants_changes_nothing(operation: str, kernel: Callable[..., None]) -> None:
    """Any output may be None, and the others have the same bits."""
    for arguments in LARGE[operation]:
        call = Call(arguments, 40, 40)
        places = call.outputs()
        every = dict(zip(places, make(kernel, call, np.float64), strict=True))
        for number in range(1, len(places)):
            for kept in combinations(places, number):
                got = make(kernel, call.without({*places} - {*kept}), np.float64)
                for place, array in zip(kept, got, strict=True):
                    np.testing.assert_array_equal(array, every[place])
