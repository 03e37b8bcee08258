"""The kernels' contract (tests/kernels/test_contract.py) for every CUDA kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile.kernels import batchnorm_cupy, conv2d_cupy, launch_cupy, sums_cupy
from minireptile.kernels.operations import OPERATIONS
from tests.gpu.cuda_on_cpu import Device, Engine
from tests.kernels.contract import Call, Parameter, close, make
from tests.kernels.contract_calls import CALLS, WHOLE

from .calls import LARGE
from .host import EVERY, in_every_order, large, on_host, reference

launch_cupy.engine = Engine()

every_version = pytest.mark.parametrize(("operation", "kernel"), EVERY)
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def expected(operation: str, call: Call, dtype: type) -> list[Any]:
    return make(reference(operation), call.rounded(dtype), np.float64)


def test_large_calls_are_of_operations() -> None:
    assert set(LARGE) <= set(CALLS)


@every_version
@both_types
@given(data=st.data())
def test_numbers_of_the_reference(
    operation: str, kernel: Callable[..., None], dtype: type, data: st.DataObject
) -> None:
    call = data.draw(CALLS[operation])
    close(make(on_host(kernel), call, dtype), expected(operation, call, dtype), call, dtype)


@every_version
@both_types
def test_large_calls_in_every_order(
    operation: str, kernel: Callable[..., None], dtype: type
) -> None:
    for call in large(operation):
        got = in_every_order(kernel, call, dtype)
        close(got, expected(operation, call, dtype), call, dtype)


every_way = pytest.mark.parametrize("way", ["forward", "backward", "relu_forward", "relu_backward"])


@every_way
@both_types
def test_many_blocks_share_the_sums_of_batchnorm(
    monkeypatch: pytest.MonkeyPatch, way: str, dtype: type
) -> None:
    """As of many values."""
    monkeypatch.setattr(sums_cupy, "ROWS", 30)
    operation = f"batchnorm_{way}"
    kernel = getattr(batchnorm_cupy, operation)
    engine: Any = launch_cupy.engine
    before = engine.launches.copy()
    for call in large(operation):
        got = in_every_order(kernel, call, dtype)
        close(got, expected(operation, call, dtype), call, dtype)
        without = make(on_host(kernel), call.without({*call.outputs()[1:]}), dtype)
        np.testing.assert_array_equal(without[0], got[0])
    assert (engine.launches - before)[f"batchnorm_{way.removeprefix('relu_')}_parts"]


@every_way
@both_types
def test_there_may_be_more_slices_than_a_block_has_lanes(
    monkeypatch: pytest.MonkeyPatch, way: str, dtype: type
) -> None:
    operation, slices = f"batchnorm_{way}", sums_cupy.LANES + 1
    monkeypatch.setattr(sums_cupy, "ROWS", 2)
    monkeypatch.setattr(sums_cupy, "BLOCKS", 2 * slices)  # 9 channels fill two blocks
    call = large(operation)[0]
    assert call.arguments[0].shape == (2, 3, 10, 10, 9)
    assert sums_cupy.shares(9, 300) == slices
    got = make(on_host(getattr(batchnorm_cupy, operation)), call, dtype)
    close(got, expected(operation, call, dtype), call, dtype)


@both_types
def test_many_blocks_share_the_bias_of_conv2d_backward(
    monkeypatch: pytest.MonkeyPatch, dtype: type
) -> None:
    monkeypatch.setattr(sums_cupy, "ROWS", 2)
    device, rng = Device(), np.random.default_rng(0)
    values: NDArray = rng.random((3, 4, 50, 11)).astype(dtype)
    total, parts = device.empty((3, 11), dtype), device.empty((3 * 64 * 11,), dtype)
    sums_cupy.sum_rows(total, device.upload(values), parts)
    wanted = values.sum((1, 2), np.float64)
    np.testing.assert_allclose(total, wanted, 200 * np.finfo(dtype).eps)
    assert np.isfinite(parts).all()  # all of it was needed: 64 slices of each column
    for room in (3 * 11 - 1, 2 * 3 * 11 + 5):
        total, parts = device.empty((3, 11), dtype), device.empty((room,), dtype)
        sums_cupy.sum_rows(total, device.upload(values), parts)
        np.testing.assert_allclose(total, wanted, 200 * np.finfo(dtype).eps)
        assert np.isnan(parts[-5:]).all()  # nothing beyond


SEVERAL = [p for p in EVERY if len(OPERATIONS[str(p.values[0])].written) > 1]


@pytest.mark.parametrize(("operation", "kernel"), SEVERAL)
def test_what_nobody_wants_changes_nothing(operation: str, kernel: Callable[..., None]) -> None:
    """Any output may be None, and the others have the same bits."""
    for call in large(operation)[:2]:
        places = call.outputs()
        every = dict(zip(places, make(on_host(kernel), call, np.float64), strict=True))
        for number in range(1, len(places)):
            for kept in combinations(places, number):
                got = make(on_host(kernel), call.without({*places} - {*kept}), np.float64)
                for place, array in zip(kept, got, strict=True):
                    np.testing.assert_array_equal(array, every[place])


# ------------------------------------------------------- threads that take more than one element


def _strided() -> set[str]:
    """The kernels whose loops reach every element with any number of blocks."""
    folder = Path(launch_cupy.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.cu"))]
    kernels = [k for text in texts for k in text.split('extern "C" __global__ void ')[1:]]
    return {re.match(r"\w+", k)[0] for k in kernels if "threads_in_row()" in k}  # type: ignore[index]


class FewBlocks(Engine):
    """One block along the first dimension, where a kernel works with any number."""

    strided = _strided()

    def launch(
        self, name: str, kernel: str, dtype: np.dtype, grid: tuple, block: tuple, arguments: tuple
    ) -> None:
        if kernel in self.strided:
            grid = (1, *grid[1:])
        super().launch(name, kernel, dtype, grid, block, arguments)


def test_with_fewer_threads_than_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(FewBlocks.strided) >= 15
    for operation, kernel in (p.values for p in EVERY):
        assert isinstance(operation, str)
        assert callable(kernel)
        for call in large(operation):
            many = make(on_host(kernel), call, np.float32)
            with monkeypatch.context() as patch:
                patch.setattr(launch_cupy, "engine", FewBlocks())
                few = make(on_host(kernel), call, np.float32)
            for got, want in zip(few, many, strict=True):
                np.testing.assert_array_equal(got, want)


# ----------------------------------------------------------------------------- tensor cores

# Each factor of a product is off by 2^-11 of itself at most, since it keeps 10 bits behind its
# leading one; products are exact, and sums as accurate as version 3's.
TF32 = 2 * 2.0**-11 + 2.0**-22


both_ways = pytest.mark.parametrize("operation", ["conv2d_forward", "conv2d_backward"])


def with_arrays(call: Call, change: Callable[[NDArray], NDArray]) -> Call:
    """The same call with other inputs."""

    def changed(a: Any) -> Any:
        if isinstance(a, Parameter):
            return Parameter(change(a.array))
        return change(a) if isinstance(a, np.ndarray) else a

    return replace(call, arguments=tuple(map(changed, call.arguments)))


@both_ways
def test_tf32_is_as_accurate_as_ten_bits_allow(operation: str) -> None:
    tf32, v3 = (getattr(conv2d_cupy, f"{operation}_{version}") for version in ("tf32", "v3"))
    for call in large(operation):
        want = expected(operation, call, np.float32)
        sizes = expected(operation, with_arrays(call, abs), np.float32)  # of the terms, in all
        got = in_every_order(tf32, call, np.float32)
        close_by = make(on_host(v3), call, np.float32)
        if operation == "conv2d_backward" and call.arguments[2] is not None:  # a sum, no product
            np.testing.assert_array_equal(got.pop(), close_by.pop())
        sums = 4 * (call.terms + 8) * float(np.finfo(np.float32).eps)
        for result, exact, size, single in zip(got, want, sizes, close_by, strict=False):
            error = abs(result - exact)
            assert (error <= (TF32 + sums) * size).all()
            # The tolerance is not blind: version 3 is far closer, and tensor cores do round.
            assert error.max() > 50 * abs(single - exact).max()
            assert error.max() > TF32 / 8 * size.max() / np.sqrt(call.terms)


def whole(array: NDArray) -> NDArray:
    """Whole numbers from -3 to 3."""
    return np.rint(3 * array / max(abs(array).max(), 1e-9))


@both_ways
@given(data=st.data())
def test_tf32_is_exact_where_nothing_is_rounded(operation: str, data: st.DataObject) -> None:
    kernel = getattr(conv2d_cupy, f"{operation}_tf32")
    for call in (data.draw(WHOLE[operation]), data.draw(st.sampled_from(large(operation)))):
        exact = with_arrays(call, whole)
        results = make(on_host(kernel), exact, np.float32)
        for got, want in zip(results, expected(operation, exact, np.float32), strict=True):
            np.testing.assert_array_equal(got, want)
