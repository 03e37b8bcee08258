"""The benchmark suites: what they count and check, and their command line; no test is of time."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench.kernels
import bench.measure
import minireptile as mr
from bench import calls, inner_loop, machine, memory, results, runs, step
from bench.__main__ import main
from bench.child import ask
from bench.measure import Mismatch, rounding
from bench.products import products
from bench.products import work as products_work
from bench.settings import OMNIGLOT, SINE, Setting
from minireptile.backend import kernels, versions, why_not
from minireptile.engine import compiled
from minireptile.errors import InputError
from minireptile.kernels import program
from minireptile.kernels.operations import OPERATIONS


@pytest.fixture(scope="module")
def cases() -> dict[str, calls.Call]:
    """A call of every operation, of the quick suite's."""
    found: dict[str, calls.Call] = {}
    for call, _ in bench.kernels.cases(quick=True):
        found.setdefault(call.operation, call)
    return found


def test_every_operation_has_a_case(cases: dict) -> None:
    assert {*cases} == {*OPERATIONS}


def test_operations_name_arguments_of_the_kernels(cases: dict) -> None:
    for call in cases.values():
        operation = OPERATIONS[call.operation]
        assert {*operation.written, *operation.updated} <= set(call.arguments)
        assert call.flops > 0


def test_flops_of_the_omniglot_convolutions() -> None:
    """2 T B H_out W_out kh kw C_in C_out, with T = 2, B = 3 and 6 filters."""
    found = {
        call.shapes: call.flops
        for call in calls.calls_of(mr.omniglot_cnn(5, 6), mr.SGD(0.1), 2, 3)
        if call.operation == "conv2d_forward"
    }
    assert found == {
        "28x28x1->14x14x6": 2 * 6 * 14 * 14 * 9 * 1 * 6,
        "14x14x6->7x7x6": 2 * 6 * 7 * 7 * 9 * 6 * 6,
        "7x7x6->4x4x6": 2 * 6 * 4 * 4 * 9 * 6 * 6,
        "4x4x6->2x2x6": 2 * 6 * 2 * 2 * 9 * 6 * 6,
    }


def test_the_first_convolution_goes_back_to_its_weights_alone() -> None:
    found = {
        call.shapes: call.flops
        for call in calls.calls_of(mr.omniglot_cnn(5, 8), mr.SGD(0.1), 2, 3)
        if call.operation == "conv2d_backward"
    }
    assert found["28x28x1->14x14x8"] == 2 * 6 * 14 * 14 * 9 * 1 * 8
    assert found["14x14x8->7x7x8"] == 2 * (2 * 6 * 7 * 7 * 9 * 8 * 8)


@pytest.mark.skipif(bool(why_not("numba")), reason=f"not compiled here: {why_not('numba')}")
def test_the_stages_of_a_step_do_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their operations are those of the step's products, and in turn they give its gradient and
    move phi, all of it, where a call of the engine would have parted the work as well."""
    for name, value in (("WORTH_SLICES", 0), ("IMAGES", 2)):
        monkeypatch.setattr(compiled, name, value)
    monkeypatch.setattr(compiled, "members_for", lambda work, most: most)
    ((model, optimizer, B),) = step.networks(quick=True).values()
    found = list(step.stages(model, optimizer, B))
    assert sum(work for _, work, _ in found) == pytest.approx(products_work(model, 1, B)[1])
    engine: Any = model.engine
    fields, slices = next(iter(engine._readies.values())).fields[0], engine._layout(B).slices

    def numbers(field: int, count: int) -> np.ndarray:
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(int(fields[field])))

    pitch = int(fields[program.PITCH]) // 4
    grads = numbers(program.GRADS, slices * pitch).reshape(slices, pitch)[:, : model.size]
    grads[0], grads[1:] = np.nan, 0  # a batch norm's, of all images, are in the first slice alone
    for _, _, call in found[:-1]:
        call()
    rng = np.random.default_rng(0)
    x, y = rng.random((B, *model.input_shape), np.float32), rng.integers(0, model.n_out, B)
    _, wanted = model.on("numpy").loss_and_grad(numbers(program.PHI, model.size), x, y)
    apart = np.linalg.norm(grads.sum(0) - wanted) / np.linalg.norm(wanted)
    assert apart < rounding(np.float32, B * 14 * 14)
    assert slices > 1
    before = numbers(program.PHI, model.size).copy()
    found[-1][2]()
    assert (numbers(program.PHI, model.size) != before).mean() > 0.9


def test_a_step_that_is_not_compiled_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The suites after it go on."""
    monkeypatch.setattr(step, "why_not", lambda backend: f"{backend} is not here")
    assert main(["step", "--quick", "--out", str(tmp_path)]) == 0
    assert "numba is not here" in capsys.readouterr().out


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
    assert products_work(model, 2, 3)[0] == sum(made)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize(("size", "kernel"), [((8, 7), 3), ((5, 6), (2, 5)), ((3, 3), 1)])
def test_work_really_done_is_that_of_taps_inside_the_image(
    size: Any, kernel: Any, stride: Any, padding: str
) -> None:
    """Counted one tap at a time, through a mask: a convolution of ones is the number of taps."""
    layers: list = [mr.Conv2D(2, kernel, stride, padding), mr.Flatten(), mr.Dense(3)]
    if padding == "valid" and size == (3, 3):
        layers.insert(0, mr.Conv2D(2, 3, 1, padding="same"))
    model = mr.Model(layers, (*size, 2))
    ran = [c for c in calls.calls_of(model, mr.SGD(0.1), 1, 1) if c.operation.startswith("conv2d")]
    total = 0.0
    for call in ran:
        a = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in call.arguments.items()}
        y = a["y"] if "y" in a else np.empty_like(a["dy"])
        one = np.ones_like(a["x"]), np.ones_like(a["w"])
        kernels("numpy").conv2d_forward(y, a["cols"], *one, None, a["stride"], a["pad"])
        both = 2 if call.operation == "conv2d_backward" and a["dx"] is not None else 1
        assert call.done == pytest.approx(both * 2 * y.sum())
        total += call.done
    dense = [c for c in calls.calls_of(model, mr.SGD(0.1), 1, 1) if c.operation.startswith("dense")]
    assert all(call.done == call.flops for call in dense)
    total += sum(call.done for call in dense)
    assert products_work(model, 1, 1)[1] == pytest.approx(total)


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
            assert row["share"] == row["nominal"]


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_wrong_kernel_is_found_before_it_is_timed(operation: str, cases: dict) -> None:
    call = cases[operation]  # with arrays of its own: what a wrong kernel leaves goes no further
    copies = {k: a.copy() if isinstance(a, np.ndarray) else a for k, a in call.arguments.items()}
    call = replace(call, arguments=copies)
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


def test_a_winner_that_is_not_written_is_found() -> None:
    """Also where the second tap wins everywhere: an integer that nobody wrote is no tap."""
    x = np.arange(2.0).reshape(1, 1, 1, 2, 1)
    winner = np.zeros((1, 1, 1, 1, 1), np.int32)
    arguments = {"y": np.zeros((1, 1, 1, 1, 1)), "winner": winner, "x": x,
                 "size": (1, 2), "stride": (1, 2), "pad": (0, 0)}  # fmt: skip
    right = kernels("numpy").maxpool_forward

    def partly(y: Any, winner: Any, *inputs: Any) -> None:
        right(y, winner.copy(), *inputs)

    call = calls.Call("maxpool_forward", arguments)
    calls.check(call, {"right": right}, right)
    assert winner.item() == 1
    with pytest.raises(Mismatch, match="partly, winner of maxpool_forward"):
        calls.check(call, {"partly": partly}, right)


TINY = replace(OMNIGLOT, tasks=2, steps=2, batch=2, size=8, filters=4)


@pytest.mark.parametrize("setting", [TINY, replace(SINE, tasks=2)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_inner_loops_agree_and_a_wrong_one_is_found(
    setting: Any, dtype: type, two_backends: tuple
) -> None:
    adapts = inner_loop.variants(setting)
    assert set(adapts) == {"looped", "batched", "other"}
    allowed = rounding(dtype, setting.steps)

    def late(phi: Any, optimizer: Any, by: float) -> None:
        adapts["batched"](phi, optimizer)
        phi[-1] *= 1 + by * allowed

    just, beyond = (partial(late, by=by) for by in (0.8, 1.2))
    inner_loop.check(setting, {**adapts, "just": just}, dtype)
    with pytest.raises(Mismatch, match="beyond on"):
        inner_loop.check(setting, {**adapts, "beyond": beyond}, dtype)


@pytest.mark.parametrize("wrong", ["a step fewer", "another rate", "another order of tasks"])
def test_a_loop_that_does_something_else_is_found(wrong: str) -> None:
    setting = replace(TINY, steps=5)
    adapts, (x, y) = inner_loop.variants(setting), setting.data()
    model = setting.model()

    def other(phi: Any, optimizer: Any) -> None:
        if wrong == "a step fewer":
            mr.adapt(model, phi, x[1:], y[1:], optimizer)
        elif wrong == "another rate":
            mr.adapt(model, phi, x, y, mr.SGD(1.2 * optimizer.lr))
        else:
            mr.adapt(model, phi, x[:, ::-1], y[:, ::-1], optimizer)

    for dtype in (np.float32, np.float64):
        with pytest.raises(Mismatch, match="other on"):
            inner_loop.check(setting, {"looped": adapts["looped"], "other": other}, dtype)


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


def test_memory_does_not_grow_with_the_inner_steps() -> None:
    """What each further step leaves is its losses, far less than a copy of phi."""
    settings = (replace(SINE, tasks=3, steps=k) for k in (2, 20))
    short, long = (memory.adapt(setting, "numpy", trace=True)[1] for setting in settings)
    phi = 4 * mr.sine_mlp().size
    assert short is not None
    assert long is not None
    assert short > 3 * phi
    assert (long - short) / 18 < phi / 20


def test_a_child_answers_in_json() -> None:
    times = ask("bench.start", "sine", "numpy")
    assert set(times) == {"import_seconds", "first_seconds", "next_seconds"}
    assert all(seconds > 0 for seconds in times.values())


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
    *notes, sentence = capsys.readouterr().err.splitlines()
    assert sentence.startswith("bench: ")
    assert all(note.startswith("bench: without the backend ") for note in notes)


def test_wrong_numbers_end_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Mismatch("fast v9: off")

    monkeypatch.setattr(runs, "run", fail)
    assert main(["runs", "--quick", "--out", str(tmp_path)]) == 1
    assert "fast v9: off" in capsys.readouterr().err
