"""Kernels on a GPU, without one: the ceilings, every version, the library's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from bench import measure, results
from bench.calls import Call, calls_of, refresh, terms
from bench.gpu import card as gpu_card
from bench.gpu import kernels as gpu_kernels
from bench.measure import Mismatch, close, rounding
from minireptile import SGD, backend, omniglot_cnn
from minireptile.kernels.operations import OPERATIONS
from tests.gpu.cuda_on_cpu import COMPILER
from tests.gpu.gpu_stand_in import stand_in

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
    monkeypatch.setattr(measure, "MOST", 2)
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
    monkeypatch.setattr(measure, "MOST", 2)
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
    monkeypatch.setattr(measure, "MOST", 2)
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
    """Its numbers are those of NumPy's kernels, but of a convolution that TensorFlow pads more on
    one side, as with an even side and a stride of two."""
    pytest.importorskip("torch")
    from bench.gpu import library as gpu_library

    layers = [
        mr.Conv2D(4, 3, stride=2), mr.BatchNorm(), mr.ReLU(), mr.MaxPool(2), mr.Tanh(),
        mr.Conv2D(3, 3), mr.Flatten(), mr.Dense(5),
    ]  # fmt: skip
    size = 7 if odd else 8
    compared = set()
    for call in calls_of(mr.Model(layers, (size, size, 2)), mr.SGD(0.1), 2, 3):
        refresh(call)  # or a bias behind batch norm would have a gradient of rounding alone
        made = gpu_library.variants(call, "cpu")
        assert bool(made) == (call.operation in gpu_library.MAKERS), call.operation
        getattr(backend.kernels("numpy"), call.operation)(*call.arguments.values())
        for way, function in made.items():
            results = function()
            if not padded_alike(call):
                continue
            for name, got in by_name(call, way, results).items():
                wanted = call.arguments[name]
                off = rounding(wanted.dtype, terms(call))
                compared.add((way, name, call.operation))
                close(f"{way}, {name} of {call.operation}", got, wanted, off,
                      off * float(np.abs(wanted).max()))  # fmt: skip
    forward = {(way, "y", "conv2d_forward") for way in ("task by task", "grouped")}
    backward = {
        (way, name, "conv2d_backward")
        for way in ("task by task", "grouped") for name in ("dx", "dw", "db")
    }  # fmt: skip
    assert compared == {
        *forward, *backward, ("batched", "y", "dense_forward"), ("grouped", "y", "maxpool_forward"),
        *(("batched", name, "dense_backward") for name in ("dx", "dw", "db")),
        *(("grouped", name, "batchnorm_forward") for name in ("y", "mean", "rstd")),
        *(("grouped", name, "batchnorm_backward") for name in ("dx", "dgamma", "dbeta")),
        *(("a few calls", name, "softmax_cross_entropy") for name in ("loss", "dlogits")),
        ("one call", "y", "relu_forward"), ("one call", "dx", "relu_backward"),
        ("one call", "y", "tanh_forward"), ("one call", "dx", "tanh_backward"),
    }  # fmt: skip


def padded_alike(call: Call) -> bool:
    """Whether a convolution of 3 x 3 gets one row on each side; anything else does."""
    a = call.arguments
    if not call.operation.startswith("conv2d"):
        return True
    out = a["y" if "y" in a else "dy"].shape[2]
    return (out - 1) * a["stride"][0] + 3 - a["x"].shape[2] == 2


def by_name(call: Call, way: str, results: Any) -> dict[str, Any]:
    """What PyTorch computed, by the kernel's names and in its layout."""
    a, tasks = call.arguments, 2
    if way == "task by task":
        parts = zip(*results, strict=True) if isinstance(results[0], tuple) else [results]
        results = [
            None if p[0] is None else np.stack([t.numpy() for t in p]) for p in map(list, parts)
        ]
    else:
        listed = results if isinstance(results, tuple) else (results,)
        results = [None if r is None else r.numpy() for r in listed]
    written = [name for name in OPERATIONS[call.operation].written if name != "winner"]
    found = {}
    for name, got in zip(written, results, strict=False):
        if a[name] is None:
            continue
        if name == "dw" and call.operation == "conv2d_backward":  # (N, C, kh, kw) of each task
            got = got.reshape(tasks, -1, *got.shape[-3:]).transpose(0, 3, 4, 2, 1)
        elif a[name].ndim == 5 and way == "task by task":  # (T, B, C, H, W)
            got = got.transpose(0, 1, 3, 4, 2)
        elif a[name].ndim == 5 and way == "grouped":  # (B, T C, H, W)
            got = got.reshape(len(got), tasks, -1, *got.shape[2:]).transpose(1, 0, 3, 4, 2)
        elif name in ("loss", "dlogits"):  # sums over the batch
            got = got / a["logits"].shape[1]
        found[name] = got.reshape(a[name].shape) if a[name].ndim < 5 else got
    return found
