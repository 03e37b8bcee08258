"""The Hessian-vector product of the cupy backend, its kernels on the CPU, against NumPy's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import BatchNorm, Conv2D, Dense, Flatten, InputError, MaxPool, Model, ReLU, Tanh
from minireptile.engine.launches import bytes_per_task
from minireptile.kernels import launch_cupy
from tests.engine.inner_loops import STACKS as INNER_LOOPS
from tests.small import by_layers, random_batch, random_phi, relative

from .cuda_on_cpu import Engine
from .cuda_on_cpu_build import COMPILER, SUPPORTED
from .gpu_stand_in import StandIn, on_gpu, stand_in

if not (COMPILER and SUPPORTED):
    pytest.skip("needs g++ on Linux, on x86-64 or AArch64", allow_module_level=True)

STACKS = {
    **INNER_LOOPS,  # both networks of the paper and the sine network among them
    "late first parameters": Model(
        [ReLU(), MaxPool(2), Conv2D(2, 2, bias=False), Tanh(), MaxPool(3, 1), Flatten(), Dense(2)],
        (6, 6, 2), "squared_error", dtype="float64",
    ),
    "batch norm behind a ReLU": Model(
        [ReLU(), BatchNorm(), ReLU(), Flatten(), Dense(3), ReLU()], (2, 2, 2), dtype="float64"
    ),
    "flat last": Model(
        [Conv2D(2, 2, padding="valid"), BatchNorm(), ReLU(), MaxPool(2), Flatten()],
        (5, 5, 1), dtype="float64",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def device() -> Iterator[StandIn]:
    with stand_in() as there:
        yield there


def problem(model: Model, seed: int = 0, T: int = 3, B: int = 4) -> list[NDArray]:
    """phi, x, y and v."""
    rng = np.random.default_rng(seed)
    phi, v = (random_phi(model, rng, T) for _ in range(2))
    return [phi, *random_batch(model, rng, T, B), v]


def there(model: Model) -> Any:
    """The model's calls on the GPU."""
    return model.on("cupy").engine


@pytest.mark.parametrize("name", STACKS)
def test_the_product_is_that_of_numpy(name: str, device: StandIn) -> None:
    """Also when the recorded call meets other numbers, of which nothing may be left."""
    model = STACKS[name]
    calls = there(model)
    before = device.captured
    for seed in (0, 1, 0):
        arrays = problem(model, seed)
        got = calls.products(*arrays)
        assert not device.owns(got)
        assert relative(got, by_layers(model).products(*arrays)) < 1e-12
    assert device.captured == before + 1


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", ["strided", "pooled", "sine"])
def test_in_single_precision(name: str) -> None:
    model = STACKS[name]
    phi, x, y, v = (a.astype(np.float32) if a.dtype.kind == "f" else a for a in problem(model))
    exact = (np.float64(a) if a.dtype.kind == "f" else a for a in (phi, x, y, v))
    want = by_layers(model).products(*exact)
    got = there(model).products(phi, x, y, v)
    assert got.dtype == np.float32
    assert relative(got, want) < 1e-4


def test_arrays_of_the_gpu_stay_there(device: StandIn) -> None:
    for name in ("strided", "sine"):
        arrays = problem(STACKS[name])
        got = there(STACKS[name]).products(*map(on_gpu, arrays))
        assert device.owns(got)
        assert relative(np.array(got), by_layers(STACKS[name]).products(*arrays)) < 1e-12


@pytest.mark.usefixtures("device")
def test_gradients_and_outputs_are_recorded_beside_it() -> None:
    model = STACKS["strided"]
    calls = there(model)
    for seed in (0, 1):
        phi, x, y, v = problem(model, seed)
        got = calls.products(phi, x, y, v), calls.gradients(phi, x, y)[1], calls.outputs(phi, x)
        walk = by_layers(model)
        want = walk.products(phi, x, y, v), walk.gradients(phi, x, y)[1], walk.outputs(phi, x)
        for g, w in zip(got, want, strict=True):
            assert relative(g, w) < 1e-12


@pytest.mark.usefixtures("device")
def test_without_parameters_there_is_an_empty_product() -> None:
    model = Model([ReLU()], (3,), dtype="float64")
    arrays = problem(model)
    assert there(model).products(*arrays).shape == (3, 0)
    assert there(model).products(*map(on_gpu, arrays)).shape == (3, 0)


@pytest.mark.usefixtures("device")
def test_no_more_products_than_tangents_need() -> None:
    """Of n layers, n products for y and 2 n - 1 for ry, n - 1 for dx and 2 (n - 1) for rdx, and
    2 n - 1 for rdw: the gradient's own dw is no part of H v, and nothing before the first layer
    with parameters has a tangent."""
    layers = [ReLU(), Dense(4), Tanh(), Dense(3), Tanh(), Dense(2)]
    model = Model(layers, (5,), dtype="float64")
    calls, arrays = there(model), problem(model)
    calls.products(*arrays)  # recorded
    engine = launch_cupy.engine
    assert isinstance(engine, Engine)
    before = engine.launches.copy()
    calls.products(*arrays)
    made = engine.launches - before
    assert made["conv2d_forward_v2"] + made["conv2d_forward_v3"] == 3 + 5  # whatever is faster
    assert [made[f"conv2d_{name}_v3"] for name in ("dx", "dw")] == [2 + 4, 5]


def test_too_many_tasks_for_the_tangents(device: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a gradient still fits."""
    model = STACKS["omniglot"]
    calls, (phi, x, y, v) = there(model), problem(model, T=9)
    monkeypatch.setattr(device, "free", 9 * bytes_per_task(model.plan, 1, 4, np.float64))
    calls.gradients(phi, x, y)
    calls.check_memory(1, 9, 4, np.float64)
    with pytest.raises(InputError, match="lower --meta-batch"):  # before a run by MAML starts
        calls.check_memory(1, 9, 4, np.float64, second=True)
    with pytest.raises(InputError, match=r"lower --meta-batch to \d or less") as error:
        calls.products(phi, x, y, v)
    fits = int(str(error.value).split(" or less")[0].rsplit(" ", 1)[1])
    assert 1 < fits < 9
    calls.products(*(a[:fits] for a in (phi, x, y, v)))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", ["flat last", "batch norm behind a ReLU"])
def test_gradients_and_outputs_of_the_same_models(name: str) -> None:
    phi, x, y, _ = problem(STACKS[name])
    model, fast = STACKS[name], STACKS[name].on("cupy")
    assert relative(fast.forward(phi, x), model.forward(phi, x)) < 1e-12
    for got, want in zip(
        fast.loss_and_grad(phi, x, y), model.loss_and_grad(phi, x, y), strict=True
    ):
        assert relative(got, want) < 1e-12
