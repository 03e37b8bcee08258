"""The inner loop as one compiled call: the numbers of the loop written out, for any threads."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile import SGD, Model, adapt, omniglot_cnn, sine_mlp
from minireptile.backend import why_not
from minireptile.engine import Walked, compiled
from minireptile.engine import threads as workers
from minireptile.optim import State
from tests.small import random_batch, random_phi, relative

from . import inner_loops
from .inner_loops import OPTIMIZERS, STACKS, check_same, in_threads, problem, with_a_strange_layer

if why_not("numba"):
    pytest.skip(why_not("numba"), allow_module_level=True)

# A network of Winograd's convolutions is a program of its own to compile.
every_stack = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long) if n == "winograd" else n for n in STACKS]
)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the smallest network were worth cutting into slices, and worth several threads."""
    monkeypatch.setattr(compiled, "SLICES", 4)
    monkeypatch.setattr(compiled, "IMAGES", 1)
    monkeypatch.setattr(compiled, "WORTH_SLICES", 0)
    monkeypatch.setattr(workers, "WORTH_THREADS", 0)
    workers._pool.cache_clear()
    yield
    workers._pool.cache_clear()


@every_stack
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_adapt_is_the_loop_written_out(name: str, optimizer: str) -> None:
    p = problem(name, optimizer, T=3)
    check_same(p.adapt(p.model.on("numba")), p.adapt(p.model))


@every_stack
def test_adapt_in_single_precision(name: str) -> None:
    p = problem(name, "sgd", k=1, T=3, dtype="float32")
    check_same(p.adapt(p.model.on("numba")), p.adapt(p.model), 2e-4)


@every_stack
@pytest.mark.usefixtures("shared")
def test_loss_gradient_and_outputs(name: str) -> None:
    assert isinstance(STACKS[name].on("numba").engine, compiled.Compiled)
    np.testing.assert_array_equal(*inner_loops.check_calls(name, "numba"))


@given(
    T=st.integers(1, 7),
    threads=st.integers(2, 6),
    B=st.integers(1, 6),
    name=st.sampled_from(("strided", "pooled", "mini-imagenet", "relu first")),
    optimizer=st.sampled_from(tuple(OPTIMIZERS)),
)
def test_any_number_of_threads_gives_the_same_bits(
    T: int, threads: int, B: int, name: str, optimizer: str
) -> None:
    p = problem(name, optimizer, 3, T, B)
    one, many = in_threads((1, threads), lambda: p.adapt(p.model.on("numba")))
    np.testing.assert_array_equal(many[1], one[1])
    np.testing.assert_array_equal(many[0], one[0])
    for key in one[2]:
        np.testing.assert_array_equal(many[2][key], one[2][key])
    check_same(many, p.adapt(p.model))


@given(
    T=st.integers(1, 7),
    threads=st.integers(2, 6),
    B=st.integers(1, 6),
    name=st.sampled_from(("strided", "pooled", "mini-imagenet", "relu first", "sine")),
)
def test_any_number_of_threads_gives_the_same_hessian_vector_product(
    T: int, threads: int, B: int, name: str
) -> None:
    p = problem(name, "sgd", 1, T, B)
    v = random_phi(p.model, np.random.default_rng(1), T)
    results = in_threads(
        (1, threads, threads, threads), lambda: p.model.on("numba").hvp(p.phi, p.x[0], p.y[0], v)
    )
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    wanted = p.model.hvp(p.phi, p.x[0], p.y[0], v, method="complex")
    np.testing.assert_allclose(results[0], wanted, 1e-9, 1e-11 * np.max(np.abs(wanted)))


def test_gradients_and_products_take_turns() -> None:
    """They share a workspace, and neither finds there what the other left."""
    p = problem("mini-imagenet", "momentum")
    v = random_phi(p.model, np.random.default_rng(1), 2)

    def all_three(model: Model) -> list[NDArray]:
        hv = model.hvp(p.phi, p.x[0], p.y[0], v)
        return [hv, *p.adapt(model)[:2], model.loss_and_grad(p.phi, p.x[1], p.y[1])[1]]

    fast = p.model.on("numba")
    first, second = all_three(fast), all_three(fast)
    for one, again, wanted in zip(first, second, all_three(p.model), strict=True):
        np.testing.assert_array_equal(again, one)
        np.testing.assert_allclose(one, wanted, 1e-9, 1e-10 * np.max(np.abs(wanted)))
    assert isinstance(fast.engine, compiled.Compiled)
    assert [m.second for m in fast.engine._memories.values()] == [True]


@pytest.mark.long
@pytest.mark.parametrize("name", ["batchnorm first", "flat first"])
def test_a_batch_norm_of_the_data_is_walked_layer_by_layer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = problem(name, "sgd", 1, 2, 4, "float32")  # in which test_contract.py has its kernels
    v, walked = np.float32(random_phi(p.model, np.random.default_rng(1), 2)), list[str]()
    fast = p.model.on("numba")
    walk = Walked.products

    def seen(self: Walked, *arrays: NDArray) -> NDArray:
        walked.append(name)
        return walk(self, *arrays)

    monkeypatch.setattr(Walked, "products", seen)
    got = fast.hvp(p.phi, p.x[0], p.y[0], v)
    assert walked == [name]
    assert got.dtype == np.float32
    phi, x, v = (a.astype(np.float64) for a in (p.phi, p.x[0], v))
    assert relative(got, p.model.hvp(phi, x, p.y[0], v)) < 2e-5


@pytest.mark.parametrize(("B", "slices"), [(1, 1), (9, 1), (10, 2), (24, 4), (25, 5), (90, 5)])
def test_slices_depend_on_the_mini_batch_alone(B: int, slices: int) -> None:
    """On the number of cores, or of threads, they may not: sums depend on them."""
    large, small = omniglot_cnn(5, backend="numba"), sine_mlp(backend="numba")
    for model, expected in ((large, slices), (small, 1)):
        assert isinstance(model.engine, compiled.Compiled)
        assert model.engine._layout(B).slices == expected


def test_threads_of_one_task_wait_for_each_other() -> None:
    """Many steps with more threads than cores: whoever does not wait is found out."""
    p = problem("omniglot", "momentum", k=60, T=1, B=8)
    results = in_threads((1, 4, 4, 4), lambda: p.adapt(p.model.on("numba"))[1])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_nothing_is_allocated_between_the_steps() -> None:
    runtime: Any = import_module("numba.core.runtime")
    fast = STACKS["mini-imagenet"].on("numba")
    counts = []
    runtime._nrt_python.memsys_enable_stats()
    try:
        for k in (1, 1, 20):
            p = problem("mini-imagenet", "adam", k)
            before = runtime.rtsys.get_allocation_stats()
            p.adapt(fast)
            counts.append(runtime.rtsys.get_allocation_stats().alloc - before.alloc)
    finally:
        runtime._nrt_python.memsys_disable_stats()
    assert counts[2] == counts[1]
    assert isinstance(fast.engine, compiled.Compiled)
    assert len(fast.engine._memories) == 1


def test_calls_from_several_threads_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "WORTH_SLICES", 0)
    monkeypatch.setattr(workers, "WORTH_THREADS", 0)
    monkeypatch.setattr(compiled, "IMAGES", 1)
    problems = [problem("strided", "adam", T=T) for T in (1, 2, 3, 5)] * 3
    wanted = [p.adapt(p.model) for p in problems]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda p: p.adapt(p.model.on("numba")), problems))
    for g, w in zip(got, wanted, strict=True):
        check_same(g, w)


def test_a_fork_has_threads_of_its_own() -> None:
    code = """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        import numpy as np, minireptile as mr
        from minireptile.engine import compiled, threads
        compiled.WORTH_SLICES = threads.WORTH_THREADS = 0; compiled.IMAGES = 1
        model = mr.sine_mlp(4, backend="numba", dtype="float64")
        x = np.ones((2, 3, 4, 1))
        def go():
            phi = np.repeat(model.init(0)[None], 3, axis=0)
            mr.adapt(model, phi, x, x, mr.SGD(0.1))
            return phi.sum()
        before = go()
        child = os.fork()
        if not child:
            os._exit(0 if go() == before else 3)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=300)


def test_a_layer_of_somebody_elses_is_walked_layer_by_layer() -> None:
    reference, fast = with_a_strange_layer("numba")
    rng = np.random.default_rng(0)
    phi = random_phi(fast, rng, 2)
    x, y = random_batch(fast, rng, 2, 2, 3)
    results: list[tuple[NDArray, NDArray, State]] = []
    for model in (fast, reference):
        mine = phi.copy()
        results.append((adapt(model, mine, x, y, SGD(0.1)), mine, {}))
    check_same(results[0], results[1])


def test_any_layout_is_taken_and_nothing_given_is_changed() -> None:
    p = problem("strided", "adam", T=2)
    wanted = p.adapt(p.model)
    fast = p.model.on("numba")
    wide = np.zeros((2, 2 * p.model.size))
    phi = wide[:, ::2]  # not contiguous, and updated all the same
    phi[:] = p.phi
    x, y = p.x.swapaxes(1, 2).copy().swapaxes(1, 2), p.y.astype(np.int8)
    x.setflags(write=False)
    before = x.copy()
    state = {name: a.copy() for name, a in p.state.items()}
    loss = adapt(fast, phi, x, y, p.optimizer, state)
    check_same((loss, phi, state), wanted)
    np.testing.assert_array_equal(x, before)
    assert not wide[:, 1::2].any()


def test_a_single_task_may_lack_its_axis() -> None:
    inner_loops.check_a_single_task("numba")


def test_no_steps_change_nothing() -> None:
    p = problem("strided", "adam")
    before = p.phi.copy()
    assert adapt(p.model.on("numba"), p.phi, p.x[:0], p.y[:0], p.optimizer).shape == (0, 2)
    np.testing.assert_array_equal(p.phi, before)


@pytest.mark.parametrize(("change", "words"), inner_loops.WRONG)
def test_wrong_arguments(change: Any, words: str) -> None:
    inner_loops.check_refused("numba", change, words)


def test_nan_is_not_hidden() -> None:
    inner_loops.check_nan_is_not_hidden("numba")
