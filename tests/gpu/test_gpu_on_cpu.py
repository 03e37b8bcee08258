"""The cupy backend with its kernels on the CPU: gradients, the inner loop, whole runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireptile import (
    SGD,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    InputError,
    MaxPool,
    Model,
    ReLU,
    adapt,
    evaluate,
    fomaml,
    imaml,
    joint,
    maml,
    omniglot_cnn,
    reptile,
    sine_mlp,
)
from minireptile.cli import main
from minireptile.engine import outer as gpu_reptile
from minireptile.engine.graph import Graph
from minireptile.evaluate import Protocol
from minireptile.kernels import conv2d_cupy, launch_cupy, sums_cupy
from minireptile.kernels.conv2d_numpy import conv2d_backward_v1
from minireptile.loops import Loops, Snapshot
from minireptile.optim import Optimizer
from minireptile.runs import checkpoint
from minireptile.runs.run import CHECKPOINT
from minireptile.tasks.base import Tasks
from minireptile.tasks.images import FewShot
from minireptile.tasks.sine import Sine
from tests.algorithms.test_lots import Map
from tests.engine import inner_loops
from tests.engine.inner_loops import OPTIMIZERS, STACKS, check_same, problem, with_a_strange_layer
from tests.small import Corners, assert_same_state, tiny_classes, tiny_model

from .cuda_on_cpu import Engine
from .cuda_on_cpu_build import COMPILER, SUPPORTED
from .gpu_stand_in import StandIn, on_gpu, stand_in

if not (COMPILER and SUPPORTED):
    pytest.skip("needs g++ on Linux, on x86-64 or AArch64", allow_module_level=True)

SMALL = Loops(
    iterations=6, meta_batch=2, inner_steps=2, inner_batch=4, train_shots=5, epsilon=0.7,
    epsilon_final=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def device() -> Iterator[StandIn]:
    with stand_in() as there:
        yield there


@pytest.fixture
def few_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data for four iterations at a time, so that six need it twice."""
    monkeypatch.setattr(gpu_reptile, "AHEAD", 4)


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.usefixtures("device")
def test_adapt_is_the_loop_written_out(name: str, optimizer: str) -> None:
    p = problem(name, optimizer, T=3)
    check_same(p.adapt(p.model.on("cupy")), p.adapt(p.model))


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.usefixtures("device")
def test_loss_gradient_and_outputs(name: str) -> None:
    assert isinstance(STACKS[name].on("cupy").engine, Graph)
    inner_loops.check_calls(name, "cupy")


def test_a_size_is_recorded_once_and_replayed(device: StandIn) -> None:
    p = problem("strided", "adam", T=2)
    fast = p.model.on("cupy")
    first = p.adapt(fast)
    captured, made = device.captured, device.made
    again = p.adapt(fast)
    assert (device.captured, device.made) == (captured, made + 1)
    for a, b in zip(first[:2], again[:2], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("device")
def test_a_single_task_may_lack_its_axis() -> None:
    inner_loops.check_a_single_task("cupy")


def test_arrays_of_the_gpu_stay_there(device: StandIn) -> None:
    p = problem("strided", "sgd", T=2)
    wanted = p.adapt(p.model)
    fast = p.model.on("cupy")
    phi, x, y = on_gpu(p.phi), on_gpu(p.x), on_gpu(p.y)
    loss = adapt(fast, phi, x, y, p.optimizer)
    assert device.owns(loss)
    check_same((np.asarray(loss), np.asarray(phi), {}), wanted)
    assert all(map(device.owns, fast.loss_and_grad(phi, x[0], y[0])))
    assert device.owns(fast.forward(phi, x[0]))


def test_arrays_of_the_gpu_mean_nothing_to_the_host() -> None:
    p = problem("strided", "sgd", T=2)
    with pytest.raises(InputError, match="the numpy backend cannot read it there"):
        p.model.loss_and_grad(on_gpu(p.phi), p.x[0], p.y[0])


def convolutions(backend: str, **options: Any) -> Model:
    """Without biases before batch norm: their gradient is rounding, which Adam makes large."""
    layers = [Conv2D(3, 3, 2, bias=False), BatchNorm(), ReLU(), MaxPool(2), Flatten(), Dense(3)]
    return Model(layers, (6, 6, 1), backend=backend, **{"dtype": "float64", **options})


RUNS: dict[str, tuple[Tasks, Any]] = {
    "images": (FewShot(tiny_classes(8, 10, 6), 3), convolutions),
    "sine": (Sine(), lambda backend: sine_mlp(5, backend=backend, dtype="float64")),
    "rows": (Corners(3), lambda backend: Model([Dense(3)], (3,), backend=backend)),
}


@pytest.mark.parametrize("state", ["mean", "carry", "fresh"])
@pytest.mark.parametrize("tasks", RUNS)
@pytest.mark.parametrize(
    "optimizer",
    [SGD(0.1), SGD(0.05, 0.9, 0.97), Adam(0.01, weight_decay_rate=0.99), Adam(0.01, beta1=0.0)],
    ids=["sgd", "momentum", "adam", "adam without m"],
)
@pytest.mark.usefixtures("device", "few_ahead")
def test_a_run_is_the_loops_written_out(tasks: str, state: str, optimizer: Optimizer) -> None:
    drawn, make = RUNS[tasks]
    loops = Loops(**{**vars(SMALL), "state": state})
    wanted = list(reptile(make("numpy"), drawn, optimizer, loops))
    got = list(reptile(make("cupy"), drawn, optimizer, loops))
    single = wanted[0].theta.dtype == np.float32
    for w, g in zip(wanted, got, strict=True):
        check_run(g, w, 1e-4 if single else 1e-8)
    resumed = list(reptile(make("cupy"), drawn, optimizer, loops, got[2]))
    for g, r in zip(got[3:], resumed, strict=True):
        assert g.iteration == r.iteration
        np.testing.assert_array_equal(r.theta, g.theta)
        for name in g.state:
            np.testing.assert_array_equal(r.state[name], g.state[name])


def check_run(got: Snapshot, wanted: Snapshot, rtol: float) -> None:
    assert got.iteration == wanted.iteration
    assert got.theta.dtype == wanted.theta.dtype
    np.testing.assert_allclose(got.theta, wanted.theta, rtol, rtol)
    np.testing.assert_allclose(got.loss, wanted.loss, rtol, rtol)
    assert set(got.state) == set(wanted.state)
    for name, array in wanted.state.items():
        assert got.state[name].shape == array.shape
        np.testing.assert_allclose(got.state[name], array, rtol, rtol)


def test_an_iteration_reads_nothing_back(device: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    read, calls = StandIn.read, list[Any]()

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(StandIn, "read", counted)
    drawn, make = RUNS["images"]
    run = reptile(make("cupy"), drawn, Adam(0.01), SMALL)
    for _ in range(5):
        last = next(run)
    assert not calls
    assert last.theta.shape == (make("numpy").size,)
    assert calls


@pytest.mark.usefixtures("device")
def test_a_diverging_run_names_its_iteration() -> None:
    drawn, make = RUNS["sine"]
    loops = Loops(**{**vars(SMALL), "iterations": 40})
    with np.errstate(all="ignore"):
        with pytest.raises(InputError, match="infinite in iteration") as host:
            list(reptile(make("numpy"), drawn, SGD(30.0), loops))
        with pytest.raises(InputError, match="infinite in iteration") as there:
            list(reptile(make("cupy"), drawn, SGD(30.0), loops))
    assert str(there.value) == str(host.value)


def test_too_large_a_meta_batch(device: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, make = RUNS["images"]
    monkeypatch.setattr(device, "free", 50_000)
    with pytest.raises(InputError, match=r"lower --meta-batch to \d+ or less") as error:
        list(reptile(make("cupy"), drawn, Adam(0.01), Loops(**{**vars(SMALL), "meta_batch": 500})))
    fits = int(str(error.value).split(" or less")[0].rsplit(" ", 1)[1])
    list(reptile(make("cupy"), drawn, Adam(0.01), Loops(**{**vars(SMALL), "meta_batch": fits})))


@pytest.mark.usefixtures("device")
def test_evaluation() -> None:
    drawn, make = RUNS["images"]
    model = make("numpy")
    protocol = Protocol(tasks=6, shot=2, query=2, marks=(4,), batch=3)
    results = [
        evaluate(m, model.init(0), {}, drawn, SGD(0.1), protocol) for m in (model, make("cupy"))
    ]
    assert results[0] == results[1]


IN_LOTS = [(reptile, "mean"), (fomaml, "fresh"), (imaml, "mean")]  # the others take longer
ALL_IN_LOTS = [
    pytest.param(*pair, marks=() if pair in IN_LOTS else pytest.mark.long)
    for pair in product((reptile, fomaml, maml, imaml, joint), ("mean", "fresh"))
]


@pytest.mark.parametrize(("algorithm", "state"), ALL_IN_LOTS)
@pytest.mark.usefixtures("device")
def test_lots_of_any_size_give_the_same_bits(
    algorithm: Callable, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As workers with a GPU each: Reptile's one graph merges as NumPy does, and no sum depends on
    how many tasks there are. Long sums, which several blocks share, count from 6 rows on."""
    for module in (conv2d_cupy, sums_cupy):
        monkeypatch.setattr(module, "ROWS", 6)
    tasks = FewShot(tiny_classes(6, 6), 3)
    optimizer = SGD(0.05, 0.5) if algorithm is maml else Adam(0.01)
    loops = replace(SMALL, iterations=2, meta_batch=3, state=state, prox=10.0, cg_steps=2)
    engine: Any = launch_cupy.engine
    before = engine.launches.copy()
    runs = [
        [*algorithm(tiny_model(dtype="float32").on("cupy"), tasks, optimizer, loops, map=map_)][-1]
        for map_ in (None, Map(2), map)
    ]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.theta, runs[0].theta)
        np.testing.assert_array_equal(run.loss, runs[0].loss)
        assert_same_state(run.state, runs[0].state)
    assert (engine.launches - before)["batchnorm_backward_parts"]
    assert (engine.launches - before)["sum_slices"]


@pytest.mark.usefixtures("device")
def test_evaluation_in_lots_gives_the_same_bits() -> None:
    model, tasks = tiny_model(dtype="float32").on("cupy"), FewShot(tiny_classes(6, 6), 3)
    protocol = Protocol(tasks=7, shot=2, marks=(3,))
    one, other = (
        evaluate(model, model.init(0), {}, tasks, SGD(0.1), protocol, map=map_)
        for map_ in (map, Map(3))
    )
    assert one == other


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_long_sum_is_cut_into_slices(version: str, device: StandIn) -> None:
    T, B, H, C, N = 2, 3, 14, 2, 3
    assert conv2d_cupy.slices(9 * C, N, B * H * H) == 3
    assert conv2d_cupy.slices(576, 64, 490) == 2  # the paper's second layer
    assert conv2d_cupy.slices(4000, 128, 99999) == 1  # enough tiles of its own
    assert conv2d_cupy.slices(320, 64, 99999) == 12  # at most 256 blocks of a task in all
    assert [conv2d_cupy.slices(9, 3, M) for M in (1, 512, 513)] == [1, 2, 3]
    assert conv2d_cupy.scratch(5, 576, 64, 490) == 2 * 5 * 576 * 64
    assert conv2d_cupy.scratch(5, 576, 64, 256) == 0  # dw is written as it stands
    rng = np.random.default_rng(0)
    x, w, dy = (rng.normal(size=s) for s in ((T, B, H, H, C), (T, 3, 3, C, N), (T, B, H, H, N)))
    wanted = np.empty_like(w)
    conv2d_backward_v1(None, wanted, None, None, dy, x, w, (1, 1), (1, 1))
    engine = launch_cupy.engine
    assert isinstance(engine, Engine)
    for room, parts in ((0, 0), (T * w[0].size, 0), (2 * w.size + 5, 1), (9 * w.size, 1)):
        before = engine.launches["sum_slices"]
        dw = device.empty(w.shape, np.float64)
        arrays = (device.upload(a) for a in (dy, x, w))
        cols = device.empty((room,), np.float64) if room else None
        backward = getattr(conv2d_cupy, f"conv2d_backward_{version}")
        backward(None, dw, None, cols, *arrays, (1, 1), (1, 1))
        np.testing.assert_allclose(dw, wanted, 1e-11, 1e-11)
        assert engine.launches["sum_slices"] - before == parts


@pytest.mark.usefixtures("device", "tiny", "no_pictures")
def test_a_run_goes_on_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = {
        "filters": 2, "train-shots": 4, "inner-batch": 4,
        "iterations": 8, "inner-steps": 2, "eval-steps": 2, "eval-tasks": 2, "test-tasks": 4,
        "checkpoint-every": 2, "dtype": "float64", "optimizer": "sgd",
    }  # fmt: skip
    options = [f"--{name}={value}" for name, value in numbers.items()]
    thetas = []
    for backend in ("numpy", "cupy"):
        out = tmp_path / backend
        command = ["train", "glyphs", *options, "--backend", backend, "--out", str(out)]
        assert main(command) == 0, capsys.readouterr().err
        thetas.append(checkpoint.load(out / CHECKPOINT)[0].theta)
    np.testing.assert_allclose(thetas[1], thetas[0], 1e-8, 1e-10)
    assert main(["evaluate", str(tmp_path / "cupy"), "--backend", "numpy", "--tasks", "3"]) == 0
    assert main(["info"]) == 0
    assert "backend cupy: ready, no GPU at all" in capsys.readouterr().out


@pytest.mark.usefixtures("device")
def test_a_layer_of_somebody_elses_is_walked_layer_by_layer() -> None:
    reference, fast = with_a_strange_layer("cupy")
    rng = np.random.default_rng(0)
    phi, x = rng.normal(size=(2, fast.size)), rng.normal(size=(2, 5, 3))
    y = np.ones((2, 5), np.int8)
    for got, wanted in zip(
        fast.loss_and_grad(phi, x, y), reference.loss_and_grad(phi, x, y), strict=True
    ):
        np.testing.assert_allclose(got, wanted, 1e-11, 1e-12)


@pytest.mark.usefixtures("device")
def test_tf32_is_asked_for_and_shows() -> None:
    rng = np.random.default_rng(0)
    models = [
        omniglot_cnn(3, filters=8, input_shape=(9, 9, 1), backend=backend, tf32=tf32)
        for backend, tf32 in (("numpy", False), ("cupy", False), ("cupy", True))
    ]
    phi = models[0].init(0)
    x = rng.random((6, 9, 9, 1), np.float32)
    exact, single, rounded = (model.forward(phi, x) for model in models)
    scale = np.abs(exact).max()
    assert np.abs(single - exact).max() < 1e-4 * scale
    assert 1e-5 * scale < np.abs(rounded - exact).max() < 2e-2 * scale
    for backend, dtype in (("numpy", "float32"), ("cupy", "float64")):
        with pytest.raises(InputError, match="tf32 is for the cupy backend in float32"):
            omniglot_cnn(3, backend=backend, dtype=dtype, tf32=True)


def test_arrays_of_the_gpu_may_be_parts_of_others(device: StandIn) -> None:
    p = problem("strided", "sgd", T=3)
    wanted = p.adapt(p.model)
    phi, x, y = on_gpu(p.phi), on_gpu(p.x), on_gpu(p.y)
    for t in range(3):  # one task after another, as where they hand on a state
        adapt(p.model.on("cupy"), phi[t : t + 1], x[:, t : t + 1], y[:, t : t + 1], p.optimizer)
    np.testing.assert_allclose(np.asarray(phi), wanted[1], 1e-9, 1e-9)


MIXED = lambda p: {"x": on_gpu(p.x.astype(np.float32))}, "contiguous and of type float64"


@pytest.mark.parametrize(("change", "words"), [*inner_loops.WRONG, MIXED])
@pytest.mark.usefixtures("device")
def test_wrong_arguments(change: Any, words: str) -> None:
    inner_loops.check_refused("cupy", change, words)
