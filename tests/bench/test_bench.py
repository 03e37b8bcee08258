"""The benchmark suites: what they count and check, and their command line; no test is of time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench.kernels
import bench.measure
import minireptile as mr
from bench import calls, inner_loop, machine, results, runs
from bench.__main__ import main
from bench.child import ask
from bench.measure import Mismatch
from bench.products import products
from bench.settings import OMNIGLOT, SINE, Setting
from minireptile.backend import kernels, versions
from minireptile.errors import InputError
from minireptile.kernels.operations import OPERATIONS


def test_every_operation_has_a_case() -> None:
    assert {call.operation for call, _ in bench.kernels.cases(quick=True)} == {*OPERATIONS}


def test_operations_name_arguments_of_the_kernels() -> None:
    for call, _ in bench.kernels.cases(quick=True):
        operation = OPERATIONS[call.operation]
        assert {*operation.written, *operation.updated} <= set(call.arguments)
        assert call.flops > 0


def test_flops_of_the_omniglot_convolutions() -> None:
    """2 T B H_out W_out kh kw C_in C_out, with T = 5 and B = 10."""
    found = {
        call.shapes: call.flops
        for call in calls.calls_of(mr.omniglot_cnn(5), mr.SGD(0.1), 5, 10)
        if call.operation == "conv2d_forward"
    }
    assert found == {
        "28x28x1->14x14x64": 2 * 50 * 14 * 14 * 9 * 1 * 64,
        "14x14x64->7x7x64": 2 * 50 * 7 * 7 * 9 * 64 * 64,
        "7x7x64->4x4x64": 2 * 50 * 4 * 4 * 9 * 64 * 64,
        "4x4x64->2x2x64": 2 * 50 * 2 * 2 * 9 * 64 * 64,
    }


def test_the_first_convolution_goes_back_to_its_weights_alone() -> None:
    found = {
        call.shapes: call.flops
        for call in calls.calls_of(mr.omniglot_cnn(5, 8), mr.SGD(0.1), 2, 3)
        if call.operation == "conv2d_backward"
    }
    assert found["28x28x1->14x14x8"] == 2 * 6 * 14 * 14 * 9 * 1 * 8
    assert found["14x14x8->7x7x8"] == 2 * (2 * 6 * 7 * 7 * 9 * 8 * 8)


def test_traffic_is_every_input_and_output_once() -> None:
    x, w, b, y = np.zeros((2, 3, 4)), np.zeros((2, 4, 5)), np.zeros((2, 5)), np.zeros((2, 3, 5))
    arguments = {"y": y, "x": x, "w": w, "b": b}
    assert OPERATIONS["dense_forward"].traffic(arguments) == 8 * (24 + 40 + 10 + 30)
    phi, grad = np.zeros((2, 7), np.float32), np.zeros((2, 7), np.float32)
    step = {"phi": phi, "velocity": None, "grad": grad, "lr": 0.1, "momentum": 0.0}
    assert OPERATIONS["sgd_step"].traffic(step) == 4 * 14 * 3  # phi is read and written


def test_equal_calls_are_counted() -> None:
    found = calls.calls_of(mr.sine_mlp(8), mr.SGD(0.1), 1, 4)
    tanh = [call for call in found if call.operation == "tanh_forward"]
    assert [call.times for call in tanh] == [2]


def test_sums_that_are_compared_do_not_cancel() -> None:
    """Behind batch norm a bias has no gradient but rounding, unless dy is random."""
    found = calls.calls_of(mr.omniglot_cnn(5, 4), mr.SGD(0.1), 1, 4)
    for call in found:
        if call.operation == "conv2d_backward":
            kernels("numpy").conv2d_backward(*call.arguments.values())
            assert np.abs(call.arguments["db"]).max() > 0.1


def test_products_are_those_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = np.matmul

    def count(a: Any, b: Any, out: Any) -> Any:
        made.append(2 * a.shape[-1] * out.size)
        return real(a, b, out=out)

    model = mr.omniglot_cnn(5, 4)
    monkeypatch.setattr(np, "matmul", count)
    products(model, 2, 3)()
    monkeypatch.undo()
    work = [
        call.flops * call.times
        for call in calls.calls_of(model, mr.SGD(0.1), 2, 3)
        if call.operation.startswith(("conv2d", "dense"))
    ]
    assert sum(made) == sum(work)


def test_limits_are_the_smaller_of_peak_and_bandwidth() -> None:
    limits = machine.Limits(1, 100.0, {"L2": 50.0, "memory": 10.0}, {"L2": 1e6, "memory": np.inf})
    assert limits.at(intensity=1.0, bytes_touched=1e5) == 50
    assert limits.at(intensity=1.0, bytes_touched=1e7) == 10
    assert limits.at(intensity=20.0, bytes_touched=1e7) == 100


@pytest.fixture
def no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's limits take seconds to measure, and no test needs the true ones."""
    level = {"memory": 10.0}, {"memory": np.inf}
    fake = machine.Limits(1, 100.0, *level)
    monkeypatch.setattr(bench.kernels, "limits", lambda *_: fake)


@pytest.mark.usefixtures("no_limits")
def test_kernels_have_a_row_for_every_backend_and_version() -> None:
    operation = "dense_backward"
    _, *rows = bench.kernels.run(1, quick=True, only=operation)
    wanted = {(b, v) for b in machine.usable() for v in versions(operation, b)}
    for case in {row["case"] for row in rows}:
        here = [row for row in rows if row["case"] == case]
        assert {(row["backend"], row["version"]) for row in here} == wanted
        assert sum(row["in_use"] for row in here) == len(machine.usable())
        reference = next(row for row in here if row["in_use"] and row["backend"] == "numpy")
        assert reference["ratio"] == 1
        for row in here:
            assert row["gflops"] == pytest.approx(row["flops"] / row["seconds"] / 1e9)
            assert row["share"] == pytest.approx(
                row["gflops"] / min(100, 10 * row["flops"] / row["bytes"])
            )


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_wrong_kernel_is_found_before_it_is_timed(operation: str) -> None:
    call = next(c for c, _ in bench.kernels.cases(quick=True) if c.operation == operation)
    right = getattr(kernels("numpy"), operation)
    outputs = [*OPERATIONS[operation].written, *OPERATIONS[operation].updated]
    names = list(call.arguments)
    calls.check(call, {"right": right}, right)
    for output in outputs:
        at = names.index(output)
        if call.arguments[output] is None:
            continue

        def wrong(*arguments: Any, at: int = at) -> None:
            right(*arguments)
            arguments[at][...] = arguments[at] * 1.01 + 1

        with pytest.raises(Mismatch, match=f"wrong, {output} of {operation}"):
            calls.check(call, {"wrong": wrong}, right)

    def idle(*arguments: Any) -> None:
        """Leaves the outputs as they were."""

    with pytest.raises(Mismatch, match="idle"):
        calls.check(call, {"idle": idle}, right)


@pytest.mark.usefixtures("no_limits")
def test_a_backend_that_loses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "numpy", "other"
    monkeypatch.setattr(bench.kernels, "usable", lambda: names)
    monkeypatch.setattr(bench.kernels, "kernels", lambda backend: kernels("numpy"))
    monkeypatch.setattr(bench.kernels, "versions", lambda name, backend: versions(name, "numpy"))

    def timings(variants: dict, rounds: int, least: float) -> dict:
        seconds = {name: 2.0 if "other" in name else 1.0 for name in variants}
        return {name: bench.measure.Timing(s, 0.9 * s, 1.1 * s, 1) for name, s in seconds.items()}

    monkeypatch.setattr(bench.kernels, "in_turns", timings)
    rows = bench.kernels.run(1, quick=True, only="tanh_forward")
    assert [(row["variant"], row["ratio"], row["note"]) for row in rows[1:]] == [
        ("numpy v1", 1.0, ""),
        ("other v1", 2.0, "slower than NumPy"),
    ]
    assert "1 of 1 cases" in bench.kernels.summary(rows)


TINY = replace(OMNIGLOT, tasks=2, steps=2, batch=2, size=8, filters=4)


@pytest.mark.parametrize("setting", [TINY, replace(SINE, tasks=2)], ids=str)
def test_the_inner_loops_agree_and_a_wrong_one_is_found(setting: Any) -> None:
    adapts = inner_loop.variants(setting)
    assert len(adapts) == 1 + len(machine.usable())
    inner_loop.check(setting, adapts, np.float32)
    inner_loop.check(setting, adapts, np.float64)

    def late(phi: Any, optimizer: Any, factor: float) -> None:
        adapts["batched"](phi, optimizer)
        phi[-1] *= factor

    wrong: tuple[tuple[type, float], ...] = (np.float64, 1 + 1e-9), (np.float32, 1 + 1e-3)
    for dtype, factor in wrong:
        with pytest.raises(Mismatch, match="late on"):
            inner_loop.check(setting, {**adapts, "late": partial(late, factor=factor)}, dtype)


def test_a_backend_that_learns_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = runs.images(6, 10, (8, 8), bool)
    loops = mr.Loops(9, meta_batch=2, inner_steps=2, inner_batch=2)
    real, called = mr.reptile, []

    def reptile(model: Any, tasks: Any, optimizer: Any, loops: Any) -> Any:
        called.append(model)
        return real(model, tasks, mr.SGD(1e-4 * len(called)), loops)

    monkeypatch.setattr(mr, "reptile", reptile)
    monkeypatch.setattr(runs, "usable", lambda: ("numpy", "other"))
    monkeypatch.setattr(Setting, "model", lambda *_: mr.omniglot_cnn(5, 4, (8, 8, 1)))
    with pytest.raises(Mismatch, match="other on"):
        runs.check(TINY, tasks, loops)


def test_a_meta_iteration_stands_over_its_products() -> None:
    timings = inner_loop.measure(TINY, 1, 0, alone=True)
    rows = inner_loop._whole(TINY, timings, 3)
    alone = timings[inner_loop.PRODUCTS].median
    for row in rows[:-1]:
        assert row["over_products"] == pytest.approx(row["seconds"] / alone)
        assert row["over_cores"] == pytest.approx(3 * row["seconds"] / alone)
    assert "over_cores" not in rows[-1]


def test_memory_does_not_grow_with_the_inner_steps() -> None:
    """What each further step leaves is its loss, far less than a copy of phi."""
    short, long = (ask("bench.memory", "sine", k, "numpy")["traced_bytes"] for k in (2, 20))
    phi = 4 * mr.sine_mlp().size
    assert short > phi
    assert (long - short) / 18 < phi / 20


def test_runs_draw_the_same_tasks_on_every_backend() -> None:
    tasks = runs.images(6, 10, (8, 8), bool)
    rows = runs.measure(TINY, tasks, 10, 1, 0, 1)
    assert [row["variant"] for row in rows] == [*machine.usable(), runs.SAMPLING]
    for row in rows[:-1]:
        assert row["sampling"] == pytest.approx(rows[-1]["seconds"] / row["seconds"])


def test_a_first_start_is_timed_in_two_processes() -> None:
    rows = runs.starts("sine", "numpy")
    assert [row["case"] for row in rows] == ["first start, sine", "second start, sine"]
    assert all(row["first_seconds"] > 0 and row["next_seconds"] > 0 for row in rows)


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(InputError, match=r"bench.memory failed .*KeyError: 'nothing'"):
        ask("bench.memory", "nothing", 2, "numpy")


@pytest.mark.usefixtures("no_limits")
def test_the_command_measures_saves_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    options = "--quick", "--rounds", "1", "--only", "sgd", "--out", str(out)
    assert main(["kernels", *options]) == 0
    assert "sine sgd_step 4353" in capsys.readouterr().out
    assert results.load(out / "kernels.json")["suite"] == "kernels"
    assert (out / "kernels-roofline.png").read_bytes().startswith(b"\x89PNG")
    file = str(out / "kernels.json")
    assert main(["compare", file, file]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["everything"],
        ["kernels", "--rounds", "0"],
        ["kernels", "--rounds", "many"],
        ["kernels", "--threads", "100000"],
        ["kernels", "--only", "conv3d"],
        ["kernels", "--out", "FILE"],
        ["runs", "--only", "conv2d"],
        ["compare", "FILE", "FILE"],
        ["compare", "FILE"],
    ],
    ids=" ".join,
)
def test_wrong_input_ends_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (tmp_path / "file").write_text("nothing")
    replaced = [a.replace("FILE", str(tmp_path / "file")) for a in arguments]
    out = ["--out", str(tmp_path)] if arguments[1:2] == ["--only"] else []
    assert main([*replaced, *out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bench: ")
    assert error.count("\n") == 1


def test_wrong_numbers_end_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Mismatch("fast v9: off")

    monkeypatch.setattr(runs, "run", fail)
    assert main(["runs", "--quick", "--out", str(tmp_path)]) == 1
    assert "fast v9: off" in capsys.readouterr().err
