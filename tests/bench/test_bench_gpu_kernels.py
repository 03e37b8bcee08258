"""Kernels on a GPU, without one: the clock, the ceilings, every version, the library's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import gpu_card, gpu_clock, gpu_kernels, results
from bench.calls import Call, calls_of
from bench.measure import Mismatch, Timing
from minireptile import SGD, backend, omniglot_cnn
from tests.gpu.cuda_on_cpu import COMPILER
from tests.gpu.gpu_stand_in import stand_in

# ---------------------------------------------------------------------------------------- the clock


def test_a_turn_waits_once_for_many_calls() -> None:
    queued, waits = [0], [0]

    def call() -> None:
        queued[0] += 1

    def wait() -> None:  # a GPU that takes a millisecond for each call
        waits[0] += 1
        time.sleep(0.001 * queued[0])
        queued[0] = 0

    (timing,) = gpu_clock.gpu_turns({"it": call}, rounds=3, least=0.01, wait=wait).values()
    assert timing.calls >= 8
    assert 0.0009 < timing.median < 0.003
    assert gpu_clock.per_call(timing, 4).median == timing.median / 4


# ----------------------------------------------------------------------------------------- the card


def test_ceilings_bound_by_bytes_or_by_operations() -> None:
    limit = gpu_card.Ceilings(bandwidth=10.0, rate=100.0, tf32=400.0)
    assert limit.seconds(flops=100, moved=20) == 2
    assert limit.seconds(flops=1000, moved=20) == 10
    assert limit.seconds(flops=1000, moved=20, tensor_cores=True) == 2.5


def test_what_nvidia_smi_says_is_read() -> None:
    line = "A card, 580.1, 143771 MiB, 345 MHz, 1980 MHz, 3201 MHz, 3201 MHz, 30, 80 W, 700 W, 0 %"
    found = gpu_card.read_smi(line + "\n")
    assert found["smi_name"] == "A card"
    assert found["smi_power.limit"] == "700 W"
    assert gpu_card.read_smi("No devices were found") == {}


def test_rates_come_from_sizes_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy stands in for CuPy, and a clock that always says a millisecond for the true one."""
    pool = SimpleNamespace(free_all_blocks=lambda: None)
    names = "arange", "empty_like", "asarray", "copyto", "matmul", "float32"
    numpy_like = {name: getattr(np, name) for name in names}
    fake = SimpleNamespace(**numpy_like, get_default_memory_pool=lambda: pool)
    monkeypatch.setattr(gpu_card, "cupy", lambda: fake)
    monkeypatch.setattr(gpu_card, "SIZES", {True: (4000, 50)})
    monkeypatch.setattr(gpu_card, "compute_type", lambda kind: nullcontext())

    def turns(calls: dict, rounds: int, least: float = 0) -> dict:
        for call in calls.values():
            call()
        return {name: Timing(1e-3, 1e-3, 1e-3, 1) for name in calls}

    monkeypatch.setattr(gpu_card, "gpu_turns", turns)
    found = {name: numbers for name, _, numbers in gpu_card.measured(True, 1)}
    assert found["copy"]["gbs"] == pytest.approx(2 * 4000 / 1e-3 / 1e9)
    assert found["matrix product, TF32"]["tflops"] == pytest.approx(2 * 50**3 / 1e-3 / 1e12)
    limit = gpu_card.ceilings()
    assert (limit.bandwidth, limit.tf32) == (pytest.approx(8e6), pytest.approx(2.5e8))


# ------------------------------------------------------------------------------------ every version


@pytest.fixture(scope="module")
def device() -> Iterator[Any]:
    if COMPILER is None:
        pytest.skip("g++ is not installed, which compiles the kernels here")
    with stand_in() as there:
        yield there


def small_calls() -> dict[str, Call]:
    calls = calls_of(omniglot_cnn(3, 4, (6, 6, 1)), SGD(0.1), 2, 2)
    return {call.operation: call for call in calls}


def rows_for(call: Call, device: Any) -> list[results.Row]:
    limit = gpu_card.Ceilings(1e9, 1e9, 1e9)
    place = {"case": call.operation, "times": 1}
    return list(
        gpu_kernels.measure(call, place, {"cupy": device}, limit, 1000, 1, wait=lambda: None)
    )


@pytest.mark.parametrize("operation", ["conv2d_forward", "dense_backward", "relu_forward"])
def test_every_version_has_a_row(operation: str, device: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu_clock, "MOST", 2)
    rows = rows_for(small_calls()[operation], device)
    assert not any(row.get("failed") for row in rows), rows
    ours = [row for row in rows if row["variant"].startswith("cupy")]
    assert sum(row["in_use"] for row in ours) == 1
    assert {row["variant"].split()[1] for row in ours} >= set(backend.versions(operation, "cupy"))
    for row in ours:
        assert row["cached_seconds"] > 0
        assert row["share"] == pytest.approx(row["least_seconds"] / row["seconds"])
    if operation == "conv2d_forward":
        assert "cupy tf32" in {row["variant"] for row in ours}


def test_a_wrong_kernel_has_a_row_without_figures(device: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu_clock, "MOST", 2)
    call = small_calls()["relu_forward"]
    right = gpu_kernels.ladder(call.operation, "cupy", device)["v1"][0]

    def wrong(y: Any, x: Any) -> None:
        right(y, x)
        y[...] += 1

    monkeypatch.setattr(gpu_kernels, "ladder", lambda *_: {"v1": (wrong, True), "v2": (right, 0)})
    failed, good = rows_for(call, device)
    assert failed["failed"]
    assert "Mismatch: cupy v1, y of relu_forward" in failed["note"]
    assert "seconds" not in failed
    assert good["variant"] == "cupy v2"


def test_a_kernel_that_breaks_off_leaves_no_holes(device: Any, monkeypatch: Any) -> None:
    """Calls share the arrays of one network: what one writes, the next one reads."""
    call = small_calls()["relu_forward"]

    def broken(y: Any, x: Any) -> None:
        raise RuntimeError("an illegal address")

    monkeypatch.setattr(gpu_kernels, "ladder", lambda *_: {"v1": (broken, True)})
    (row,) = rows_for(call, device)
    assert row["note"] == "RuntimeError: an illegal address"
    assert np.isfinite(call.arguments["y"]).all()


def test_sums_that_are_compared_do_not_cancel(device: Any, monkeypatch: Any) -> None:
    """A bias's gradient behind batch norm is zero but for rounding, once batch norm has run."""
    monkeypatch.setattr(gpu_clock, "MOST", 2)
    calls = small_calls()
    rows_for(calls["batchnorm_backward"], device)
    rows = rows_for(calls["conv2d_backward"], device)
    assert not any(row.get("failed") for row in rows), rows


def test_parameters_are_views_of_a_vector_on_the_device(device: Any) -> None:
    call = small_calls()["conv2d_forward"]
    arguments = dict(zip(call.arguments, gpu_kernels.uploaded(call, device), strict=True))
    assert arguments["cols"] is None
    assert arguments["w"].strides[0] == call.arguments["w"].strides[0]
    np.testing.assert_array_equal(np.asarray(arguments["w"]), call.arguments["w"])


def test_sets_of_arrays_exceed_the_cache() -> None:
    assert gpu_kernels.sets(moved=10**6, cache=60 * 10**6) == gpu_kernels.MOST_SETS
    assert gpu_kernels.sets(moved=10**7, cache=60 * 10**6) == 18
    assert gpu_kernels.sets(moved=10**9, cache=60 * 10**6) == 1


def test_ratios_are_to_the_fastest_library_call() -> None:
    times = {"cupy v1": 4.0, "cupy v1, cached": 2.0, "PyTorch a": 3.0, "PyTorch b, TF32": 1.0}
    timings = {name: Timing(t, t, t, 1) for name, t in times.items()}
    about = {"cupy v1": {"in_use": True, "least_seconds": 1.0}}
    ours, *theirs = gpu_kernels.rows_of({"case": "c"}, timings, about, work=8, moved=16)
    assert (ours["ratio"], ours["share"], ours["cached_seconds"]) == (4.0, 0.25, 2.0)
    assert ours["gbs"] == pytest.approx(4e-9)
    assert [row["ratio"] for row in theirs] == [3.0, 1.0]


def test_tf32_is_compared_by_length() -> None:
    call = small_calls()["dense_forward"]
    right = backend.kernels("numpy").dense_forward

    def off(by: float) -> Any:
        def kernel(y: Any, *rest: Any) -> None:
            right(y, *rest)
            y *= 1 + by

        return kernel

    gpu_kernels.agree("rounded", call, off(1e-3), rounded=True)
    with pytest.raises(Mismatch, match="rounded, y of dense_forward: off by 1"):
        gpu_kernels.agree("rounded", call, off(1e-2), rounded=True)
    with pytest.raises(Mismatch):
        gpu_kernels.agree("exact", call, off(1e-3), rounded=False)


# ------------------------------------------------------------------------------ the library's calls


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("odd", [False, True], ids=["even sizes", "odd sizes"])
def test_the_library_does_the_same_work(odd: bool) -> None:
    torch = pytest.importorskip("torch")
    from bench import gpu_library

    size = 7 if odd else 8
    for call in calls_of(omniglot_cnn(3, 4, (size, size, 1)), SGD(0.1), 2, 3):
        made = gpu_library.variants(call, "cpu")
        assert made or call.operation in ("sgd_step", "adam_step", "squared_error"), call.operation
        getattr(backend.kernels("numpy"), call.operation)(*call.arguments.values())
        wanted: Any = call.arguments.get("y")
        for name, function in made.items():
            found: Any = function()
            if call.operation != "conv2d_forward" or not odd:
                continue
            images = torch.stack(found, 0) if isinstance(found, list) else grouped(found, 2)
            got = images.permute(0, 1, 3, 4, 2).numpy()
            assert got.shape == wanted.shape, name
            if call.shapes.startswith("7x7"):  # where TensorFlow pads on both sides alike
                np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def grouped(y: Any, tasks: int) -> Any:
    """(B, T C, H, W) as (T, B, C, H, W)."""
    return y.reshape(len(y), tasks, -1, *y.shape[2:]).swapaxes(0, 1)
