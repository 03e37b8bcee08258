"""What kernels/jit_numba.py adds to Numba, each piece compiled alone."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.backend import why_not

pytestmark = pytest.mark.skipif(bool(why_not("numba")), reason=why_not("numba"))


@pytest.fixture(scope="module")
def jit() -> Any:
    import_module("minireptile.devices.numba_setup").prepare()
    return import_module("minireptile.kernels.jit_numba")


def compiled(jit: Any, function: Any) -> Any:
    """Like a kernel, but not kept: these are of this file alone."""
    return import_module("numba").njit(**{**jit.jit.keywords, "cache": False})(function)


def numbers(dtype: type, *shape: int) -> NDArray:
    """Small whole numbers, of which every sum is exact."""
    return np.random.default_rng(sum(shape)).integers(-4, 5, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("ta", "tb"), [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("beta", [0.0, 1.0, -2.0])
def test_gemm_of_parts_of_larger_matrices(
    jit: Any, dtype: type, ta: int, tb: int, beta: float
) -> None:
    """All three sizes and row strides differ, and beside the result nothing is written."""
    m, n, k = 3, 4, 5
    a, b = numbers(dtype, *(k, m + 2) if ta else (m, k + 2)), numbers(dtype, 6, 7)
    left, right = (a[:, :m].T if ta else a[:, :k]), (b[:n, :k].T if tb else b[:k, :n])
    c = numbers(dtype, m + 1, n + 4)
    want = c.copy()
    want[:m, :n] = left @ right + dtype(beta) * c[:m, :n]
    if beta == 0:
        c[:m, :n] = np.nan  # what is there does not count
    item, addresses = c.itemsize, [array.ctypes.data for array in (a, b, c)]
    jit.gemm(
        item, m, n, k, addresses[0], a.shape[1], ta, addresses[1], 7, tb, addresses[2], n + 4, beta
    )
    np.testing.assert_array_equal(c, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_multiply_add_rounds_once(jit: Any, dtype: type) -> None:
    @lambda f: compiled(jit, f)
    def once(a, b, c):
        return multiply_add(a, b, c)

    @lambda f: compiled(jit, f)
    def twice(a, b, c):
        return a * b + c

    multiply_add = jit.multiply_add
    eps = np.finfo(dtype).eps
    a, b, c = dtype(1 + eps), dtype(1 - eps), dtype(-1)  # a b = 1 - eps^2
    assert once(a, b, c) == -(eps**2)
    assert twice(a, b, c) == 0
    assert once(dtype(3), dtype(5), dtype(7)) == 22


def test_copy_moves_so_many_bytes_and_no_more(jit: Any) -> None:
    copy = jit.copy

    @lambda f: compiled(jit, f)
    def move(to, start, count):
        copy(to.ctypes.data, start.ctypes.data, count)

    for size in (0, 1, 3, 8, 37):
        to, start = np.zeros(40, np.uint8), np.arange(100, 140, dtype=np.uint8)
        move(to[1:], start[3:], size)  # at odd addresses
        want = np.zeros(40, np.uint8)
        want[1 : 1 + size] = start[3 : 3 + size]
        np.testing.assert_array_equal(to, want)


def test_packed_is_the_same_array_known_to_be_contiguous(jit: Any) -> None:
    packed = jit.packed

    @lambda f: compiled(jit, f)
    def row(rows, t):
        return packed(rows[t])

    array = np.arange(24.0).reshape(3, 8)
    rows = array[:, 2:6].reshape(3, 2, 2)
    np.testing.assert_array_equal(row(rows, 1), rows[1])
    assert np.shares_memory(row(rows, 1), array)
    (signature,) = row.nopython_signatures
    assert [signature.args[0].layout, signature.return_type.layout] == ["A", "C"]


def test_part_of_an_output_or_of_none(jit: Any) -> None:
    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(jit.part(array, 1), array[1])
    assert jit.part(None, 1) is None


def test_atomic_add_gives_what_was_there(jit: Any) -> None:
    atomic_add, atomic_load = jit.atomic_add, jit.atomic_load

    @lambda f: compiled(jit, f)
    def add(array, value, times):
        last = np.int64(-1)
        for _ in range(times):
            last = atomic_add(array, value)
        return last, atomic_load(array)

    array = np.array([5, 7], np.int64)
    assert add(array, 3, 1) == (5, 8)
    assert array.tolist() == [8, 7]
    # A thread's addition is never lost; taking turns is left to the processor.
    threads = [threading.Thread(target=add, args=(array, 1, 100_000)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert array.tolist() == [300_008, 7]


@pytest.mark.parametrize("members", [1, 2, 3])
def test_nobody_passes_a_barrier_before_all_have_come(jit: Any, members: int) -> None:
    """Each round, every thread writes its number, and behind the barrier sees those of all."""
    barrier = jit.barrier

    @lambda f: compiled(jit, f)
    def rounds(arrived, written, me, members, many):
        missed = 0
        for i in range(many):
            written[me] = i
            barrier(arrived, members)
            for other in range(members):
                missed += written[other] != i
            barrier(arrived, members)  # nobody writes again before all have looked
        return missed

    many, missed = 300, [-1] * members
    arrived, written = np.zeros(1, np.int64), np.full(members, -1)
    rounds(np.zeros(1, np.int64), written.copy(), 0, 1, 1)  # compiled before the threads start

    def work(me: int) -> None:
        missed[me] = rounds(arrived, written, me, members, many)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(members)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)  # it takes milliseconds, or for ever
    assert missed == [0] * members
    assert arrived.tolist() == [2 * many * members if members > 1 else 0]


def test_a_core_can_be_given_away(jit: Any) -> None:
    give = jit.yield_core

    @lambda f: compiled(jit, f)
    def often(n):
        for _ in range(n):
            give()
        return n

    assert often(10) == 10
    (llvm,) = often.inspect_llvm().values()
    assert "call i32 @minireptile_yield()" in llvm
