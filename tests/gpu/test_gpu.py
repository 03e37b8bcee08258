"""On a GPU: the numbers of the NumPy loop, the same bits twice, and every way to run.

The kernels' contract comes by itself: test_contract.py takes every backend that can be used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Adam, InputError, Loops, Snapshot, adapt, omniglot_cnn, reptile
from minireptile.backend import DEVICES, device_of, why_not
from minireptile.engine.graph import Graph
from minireptile.evaluate import Protocol, evaluate
from minireptile.optim import Optimizer
from minireptile.tasks.base import Tasks
from minireptile.tasks.images import FewShot
from minireptile.tasks.sine import Sine
from tests.algorithms.test_lots import Map
from tests.engine import inner_loops
from tests.engine.inner_loops import OPTIMIZERS, STACKS, Problem, check_same, problem
from tests.small import by_layers, tiny_classes, tiny_model, tiny_tasks

# The simulator of Numba's CUDA has tests of its own.
GPU = tuple(name for name in DEVICES if not why_not(name) and "simul" not in device_of(name).name)  # type: ignore[union-attr]

if not GPU:
    pytest.skip(why_not("cupy") or "no GPU", allow_module_level=True)

each_backend = pytest.mark.parametrize("backend", GPU)
LOOPS = Loops(
    iterations=20, meta_batch=3, inner_steps=3, inner_batch=4, train_shots=5, epsilon=0.7,
    epsilon_final=0.1,
)  # fmt: skip


def bits(*arrays: NDArray) -> bytes:
    return b"".join(np.asarray(array).tobytes() for array in arrays)


def learn(
    backend: str, loops: Loops, optimizer: Optimizer, tasks: Tasks | None = None,
    start: Snapshot | None = None,
) -> list[Snapshot]:  # fmt: skip
    """Every snapshot of a run of the tiny model, in double precision."""
    model = tiny_model().on(backend)
    return list(reptile(model, tasks or tiny_tasks(), optimizer, loops, start))


# ----------------------------------------------------------------------------------- the inner loop


@each_backend
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", STACKS)
def test_adapt_is_the_loop_written_out(backend: str, name: str, optimizer: str) -> None:
    p = problem(name, optimizer, T=3)
    check_same(p.adapt(p.model.on(backend)), p.adapt(p.model))


@each_backend
@pytest.mark.parametrize("name", STACKS)
def test_adapt_in_single_precision(backend: str, name: str) -> None:
    p = problem(name, "sgd", k=1, T=3, dtype="float32")
    check_same(p.adapt(p.model.on(backend)), p.adapt(p.model), 2e-4)


@each_backend
@pytest.mark.parametrize("name", STACKS)
def test_loss_gradient_and_outputs(backend: str, name: str) -> None:
    inner_loops.check_calls(name, backend)


@each_backend
@pytest.mark.parametrize("name", STACKS)
def test_hessian_vector_product(backend: str, name: str) -> None:
    """Again with other numbers, and from T = 3 to 2 and back."""
    calls = calls_of(backend, name)
    for T in (3, 2, 3):
        phi, x, y, v = second(name, "float64", T)
        got, want = calls.products(phi, x, y, v), by_layers(STACKS[name]).products(phi, x, y, v)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, 0, 1e-10 * np.max(np.abs(want)))


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["strided", "pooled", "omniglot", "sine"])
def test_a_hessian_vector_product_has_the_same_bits_twice(
    backend: str, name: str, dtype: str
) -> None:
    one, other, arrays = calls_of(backend, name), calls_of(backend, name), second(name, dtype, 3)
    first, again, anew = (calls.products(*arrays) for calls in (one, one, other))
    assert first.dtype == dtype
    assert bits(first) == bits(again) == bits(anew)


@pytest.mark.skipif("cupy" not in GPU, reason="CuPy is not usable")
@pytest.mark.parametrize("name", ["strided", "sine"])
def test_a_hessian_vector_product_stays_on_the_gpu(name: str) -> None:
    cupy: Any = pytest.importorskip("cupy")
    arrays = second(name, "float64", 3)
    got: Any = calls_of("cupy", name).products(*map(cupy.asarray, arrays))
    want = by_layers(STACKS[name]).products(*arrays)
    assert isinstance(got, cupy.ndarray)
    np.testing.assert_allclose(got.get(), want, 0, 1e-10 * np.max(np.abs(want)))


def calls_of(backend: str, name: str) -> Any:
    """The recorded calls of a model of its own."""
    return STACKS[name].on(backend).engine


def second(name: str, dtype: str, T: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """phi, x, y and v, the direction of a Hessian-vector product."""
    p = problem(name, "sgd", k=1, T=T, B=5, dtype=dtype)
    return p.phi, p.x[0], p.y[0], p.phi[::-1, ::-1].copy()


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["strided", "pooled", "omniglot", "sine"])
def test_a_replay_gives_the_same_bits(backend: str, name: str, dtype: str) -> None:
    p = problem(name, "adam", k=3, T=3, dtype=dtype)
    one, other = p.model.on(backend), p.model.on(backend)
    first, again, anew = (p.adapt(m) for m in (one, one, other))
    for result in (again, anew):
        assert bits(*result[:2], *result[2].values()) == bits(*first[:2], *first[2].values())


@each_backend
def test_sizes_take_turns(backend: str) -> None:
    """More sizes than are kept: what one left is not what the next one finds."""
    model = STACKS["strided"].on(backend)
    problems = [problem("strided", "adam", k, T, B) for k in (1, 2) for T in (1, 3) for B in (1, 5)]
    problems += [problem("strided", "sgd", 2, 2, B) for B in (2, 3)]
    for p in problems + problems[::-1]:
        check_same(p.adapt(model), p.adapt(p.model))


@each_backend
def test_the_papers_network_at_its_size(backend: str) -> None:
    """64 filters, 28 x 28, as in training: the large tiles, many blocks. Small steps, and compared
    by length, since in single precision a ReLU may be on here and off there."""
    model = omniglot_cnn(5)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (5, 5, 10, 28, 28, 1)).astype(np.float32)
    y = rng.integers(0, 5, (5, 5, 10))
    theta = model.init(0)
    updates = []
    for m in (model, model.on(backend)):
        phi = np.repeat(theta[None], 5, axis=0)
        adapt(m, phi, x, y, SGD(1e-4))
        updates.append(phi - theta)
    wanted, got = updates
    assert np.linalg.norm(got - wanted) < 1e-2 * np.linalg.norm(wanted)


@each_backend
def test_nan_is_not_hidden(backend: str) -> None:
    inner_loops.check_nan_is_not_hidden(backend)


def on_the_gpu(p: Problem) -> tuple[NDArray, NDArray, dict[str, NDArray]]:
    """`Problem.adapt` with arrays that lie on the GPU before and after."""
    cupy: Any = pytest.importorskip("cupy")
    phi, x, y = (cupy.asarray(a) for a in (p.phi, p.x, p.y))
    state = {name: cupy.asarray(a) for name, a in p.state.items()}
    loss: Any = adapt(p.model.on("cupy"), phi, x, y, p.optimizer, state)
    assert isinstance(loss, cupy.ndarray)
    return loss.get(), phi.get(), {name: a.get() for name, a in state.items()}


@pytest.mark.skipif("cupy" not in GPU, reason="CuPy is not usable")
@pytest.mark.parametrize("name", ["strided", "sine"])
def test_arrays_of_the_gpu_are_taken_and_stay_there(name: str) -> None:
    p = problem(name, "adam", T=3)
    check_same(on_the_gpu(p), p.adapt(p.model))


@pytest.mark.skipif("cupy" not in GPU, reason="CuPy is not usable")
def test_what_cupy_still_computes_is_waited_for() -> None:
    """On CuPy's default stream, where a user computes who does not speak of streams."""
    cupy: Any = pytest.importorskip("cupy")
    p = problem("strided", "sgd", k=2, T=3)
    wanted = p.adapt(p.model)[1]
    model = p.model.on("cupy")
    p.adapt(model)  # records, so that the next call begins at once
    x, y = cupy.asarray(p.x), cupy.asarray(p.y)
    for _ in range(20):
        a = cupy.ones((2048, 2048))
        for _ in range(10):
            a = a @ a * 1e-4  # keeps the stream busy for a while
        phi = cupy.asarray(p.phi) + 0 * a[0, 0]
        adapt(model, phi, x, y, p.optimizer)
        after = phi + 0  # and the default stream waits for what was launched there
        np.testing.assert_allclose(after.get(), wanted, 1e-9, 1e-9)


# ------------------------------------------------------------------------------------ whole runs


@each_backend
@pytest.mark.parametrize("state", ["mean", "carry", "fresh"])
@pytest.mark.parametrize(
    "optimizer", [SGD(0.05), SGD(0.05, 0.9), Adam(0.01), Adam(0.01, beta1=0.0)], ids=str
)
def test_a_run_is_the_loops_written_out(backend: str, state: str, optimizer: Optimizer) -> None:
    loops = replace(LOOPS, state=state)
    for got, wanted in zip(
        learn(backend, loops, optimizer), learn("numpy", loops, optimizer), strict=True
    ):
        assert got.iteration == wanted.iteration
        np.testing.assert_allclose(got.theta, wanted.theta, 1e-6, 1e-7)
        np.testing.assert_allclose(got.loss, wanted.loss, 1e-6, 1e-7)
        assert set(got.state) == set(wanted.state)
        for name, array in wanted.state.items():
            np.testing.assert_allclose(got.state[name], array, 1e-6, 1e-7)


@each_backend
def test_a_run_on_sine_waves(backend: str) -> None:
    model = STACKS["sine"]
    loops = replace(LOOPS, epsilon=0.1)
    got, wanted = (
        list(reptile(m, Sine(), SGD(0.02), loops))[-1] for m in (model.on(backend), model)
    )
    np.testing.assert_allclose(got.theta, wanted.theta, 1e-8, 1e-9)


@each_backend
@pytest.mark.parametrize("state", ["mean", "carry", "fresh"])
def test_two_runs_are_the_same_bit_for_bit(backend: str, state: str) -> None:
    loops = replace(LOOPS, state=state)
    one, other = (learn(backend, loops, Adam(0.01))[-1] for _ in range(2))
    assert bits(one.theta, *one.state.values()) == bits(other.theta, *other.state.values())


@each_backend
@pytest.mark.parametrize("state", ["mean", "carry"])
def test_a_run_is_resumed_bit_for_bit(backend: str, state: str) -> None:
    loops = replace(LOOPS, state=state)
    whole = learn(backend, loops, Adam(0.01))
    rest = learn(backend, loops, Adam(0.01), start=whole[6])
    assert [run.iteration for run in rest] == list(range(8, 21))
    assert bits(rest[-1].theta) == bits(whole[-1].theta)


@pytest.mark.skipif("cupy" not in GPU, reason="CuPy is not usable")
@pytest.mark.parametrize("state", ["mean", "fresh"])
def test_tasks_in_lots_give_the_same_bits(state: str) -> None:
    """As workers with a GPU each compute them: merged on the host, in the bits of the one graph."""
    loops = replace(LOOPS, iterations=5, meta_batch=5, state=state, train_shots=5)
    classes = tiny_classes(8, 8, size=28)
    runs = [
        [*reptile(omniglot_cnn(3, backend="cupy"), FewShot(classes, 3), Adam(0.001), loops,
                  map=map_)][-1]
        for map_ in (None, Map(2), Map(5))
    ]  # fmt: skip
    for run in runs[1:]:
        assert bits(run.theta, run.loss) == bits(runs[0].theta, runs[0].loss)
        assert bits(run.state["v"]) == bits(runs[0].state["v"])


@each_backend
@pytest.mark.parametrize("there", [True, False], ids=["begun on the GPU", "begun on the host"])
def test_a_run_is_resumed_across_backends(backend: str, there: bool) -> None:
    first, second = (backend, "numpy") if there else ("numpy", backend)
    wanted = learn("numpy", LOOPS, Adam(0.01))[-1]
    half = learn(first, LOOPS, Adam(0.01))[9]
    plain = Snapshot(half.iteration, half.theta, dict(half.state), half.loss)
    got = learn(second, LOOPS, Adam(0.01), start=plain)[-1]
    np.testing.assert_allclose(got.theta, wanted.theta, 1e-6, 1e-7)


@each_backend
def test_evaluation(backend: str) -> None:
    model, tasks, protocol = tiny_model(), tiny_tasks(), Protocol(tasks=9, shot=2, marks=(3,))
    pair = model.on(backend), model
    got, wanted = (evaluate(m, model.init(0), {}, tasks, SGD(0.1), protocol) for m in pair)
    assert got == wanted


@each_backend
def test_a_run_that_diverges_says_so(backend: str) -> None:
    runs = reptile(tiny_model().on(backend), tiny_tasks(), SGD(1e200), LOOPS)
    with pytest.raises(InputError, match="diverged"):
        list(map(attrgetter("theta"), runs))


@each_backend
def test_too_many_tasks_for_the_memory_is_one_sentence(backend: str) -> None:
    model = omniglot_cnn(5).on(backend)
    assert isinstance(model.engine, Graph)
    phi = np.zeros((9, model.size), np.float32)
    x, y = np.zeros((1, 9, 5, 28, 28, 1), np.float32), np.zeros((1, 9, 5), np.int64)
    with _shrunk(model.engine.device), pytest.raises(InputError, match="lower --meta-batch to"):
        adapt(model, phi, x, y, SGD(0.1))


@contextmanager
def _shrunk(device: Any) -> Iterator[None]:
    """As if a card had room for a single task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "free_memory", lambda: 2**22)
        yield


@pytest.mark.skipif("cupy" not in GPU, reason="CuPy is not usable")
def test_out_of_memory_in_the_middle_is_one_sentence() -> None:
    device: Any = device_of("cupy")
    with pytest.raises(InputError, match="out of memory"), device.errors():
        device.empty((2**45,), np.float32)


@pytest.mark.skipif("cupy" not in GPU, reason="CuPy is not usable")
def test_tf32_is_close_to_single_precision() -> None:
    model = omniglot_cnn(5, backend="cupy")
    try:
        rounded = type(model)(model.layers, model.input_shape, backend="cupy", tf32=True)
    except InputError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(0)
    phi = np.repeat(model.init(0)[None], 2, axis=0)
    x, y = rng.random((2, 5, 28, 28, 1), np.float32), rng.integers(0, 5, (2, 5))
    try:
        got = rounded.forward(phi, x)
    except InputError as error:
        pytest.skip(str(error))
    wanted = model.on("numpy").forward(phi, x)
    off = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    assert 1e-6 < off < 3e-2
    assert rounded.loss_and_grad(phi, x, y)[0].shape == (2,)
