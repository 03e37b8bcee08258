"""The benchmarks: what they count, check and write. No test depends on how long anything takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench.kernels
import bench.measure
import minireptile as mr
from bench import calls, costs, inner_loop, machine, results, runs
from bench.__main__ import main
from bench.child import ask
from bench.compare import compare
from bench.measure import Mismatch, close, in_turns
from bench.products import products
from bench.settings import OMNIGLOT, SINE, Setting
from minireptile.backend import OPERATIONS, kernels, versions
from minireptile.errors import InputError

ALL_OPERATIONS = {name for names in OPERATIONS.values() for name in names}


# --------------------------------------------------------------------------------- measuring


class Clock:
    """A clock that goes on only when a fake call says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def lasting(self, *seconds: float) -> Callable[[], None]:
        """A call that takes these times in turn, the last one ever after."""
        left = list(seconds)

        def call() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    new = Clock()
    monkeypatch.setattr(bench.measure, "perf_counter", lambda: new.now)
    return new


def test_in_turns_takes_median_and_quartiles_after_warming_up(clock: Clock) -> None:
    # 100 s to warm up, 1 s to find how many calls fill a turn, and then the five rounds.
    found = in_turns({"a": clock.lasting(100, 1, 5, 1, 2, 4, 3)}, rounds=5, least=0.5)
    assert found["a"] == bench.measure.Timing(median=3, low=2, high=4, calls=1)


@pytest.mark.usefixtures("clock")
def test_in_turns_goes_round() -> None:
    order: list[str] = []

    in_turns({name: partial(order.append, name) for name in ("a", "b")}, rounds=3, least=0)
    assert order[-6:] == ["a", "b"] * 3


def test_in_turns_repeats_a_short_call_and_divides(clock: Clock) -> None:
    found = in_turns({"short": clock.lasting(0.25), "long": clock.lasting(8.0)}, 3, least=4)
    assert found["short"].calls >= 16
    assert found["short"].median == 0.25
    assert found["long"].calls == 1


def test_in_turns_ends_though_the_clock_stands_still(clock: Clock) -> None:
    assert in_turns({"a": clock.lasting(0.0)}, 1, 1.0)["a"].calls == bench.measure.MOST


@pytest.mark.parametrize(("rounds", "least"), [(0, 0.1), (3, -1.0), (3, float("nan"))])
def test_in_turns_refuses(rounds: int, least: float) -> None:
    with pytest.raises(InputError, match="must"):
        in_turns({"a": lambda: None}, rounds, least)


def test_close_names_the_variant_and_the_worst_entry() -> None:
    wanted = np.ones((2, 3))
    close("same", wanted + 1e-7, wanted, 1e-6, 0)
    close("near nothing", np.full(2, 1e-9), np.zeros(2), 0, 1e-8)
    got = wanted.copy()
    got[0, 1], got[1, 2] = 1.1, 3
    with pytest.raises(Mismatch, match=r"fast v9: 2 of 6 .*\[1, 2\]: 3.0 where 1.0"):
        close("fast v9", got, wanted, 1e-6, 0)
    with pytest.raises(Mismatch, match="nan where"):
        close("lost", np.full((2, 3), np.nan), wanted, 1, 1)
    with pytest.raises(Mismatch, match=r"\(3, 2\) where \(2, 3\)"):
        close("turned", got.T, wanted, 1, 1)


# ----------------------------------------------------------------------------- what is counted


def test_every_operation_has_a_cost_and_a_case() -> None:
    assert set(costs.COSTS) == ALL_OPERATIONS
    assert {call.operation for call, _ in bench.kernels.cases(quick=True)} == ALL_OPERATIONS


def test_costs_name_arguments_of_the_kernels() -> None:
    for call, _ in bench.kernels.cases(quick=True):
        cost = costs.COSTS[call.operation]
        assert {*cost.written, *cost.updated} <= set(call.arguments)
        assert costs.flops(call.operation, call.arguments) > 0


def test_flops_of_the_omniglot_convolutions() -> None:
    """2 T B H_out W_out kh kw C_in C_out, with T = 5 and B = 10."""
    found = {
        call.shapes: costs.flops(call.operation, call.arguments)
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
        call.shapes: costs.flops(call.operation, call.arguments)
        for call in calls.calls_of(mr.omniglot_cnn(5, 8), mr.SGD(0.1), 2, 3)
        if call.operation == "conv2d_backward"
    }
    assert found["28x28x1->14x14x8"] == 2 * 6 * 14 * 14 * 9 * 1 * 8
    assert found["14x14x8->7x7x8"] == 2 * (2 * 6 * 7 * 7 * 9 * 8 * 8)


def test_traffic_is_every_input_and_output_once() -> None:
    x, w, b, y = np.zeros((2, 3, 4)), np.zeros((2, 4, 5)), np.zeros((2, 5)), np.zeros((2, 3, 5))
    arguments = {"y": y, "x": x, "w": w, "b": b}
    assert costs.traffic("dense_forward", arguments) == 8 * (24 + 40 + 10 + 30)
    phi, grad = np.zeros((2, 7), np.float32), np.zeros((2, 7), np.float32)
    step = {"phi": phi, "velocity": None, "grad": grad, "lr": 0.1, "momentum": 0.0}
    assert costs.traffic("sgd_step", step) == 4 * 14 * 3  # phi is read and written


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
        costs.flops(call.operation, call.arguments) * call.times
        for call in calls.calls_of(model, mr.SGD(0.1), 2, 3)
        if call.operation.startswith(("conv2d", "dense"))
    ]
    assert sum(made) == sum(work)


def test_limits_are_the_smaller_of_peak_and_bandwidth() -> None:
    limits = machine.Limits(1, 100.0, {"L2": 50.0, "memory": 10.0}, {"L2": 1e6, "memory": np.inf})
    assert limits.at(intensity=1.0, bytes_touched=1e5) == 50
    assert limits.at(intensity=1.0, bytes_touched=1e7) == 10
    assert limits.at(intensity=20.0, bytes_touched=1e7) == 100


# ------------------------------------------------------------------------------------- suites


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


@pytest.mark.parametrize("operation", sorted(ALL_OPERATIONS))
def test_a_wrong_kernel_is_found_before_it_is_timed(operation: str) -> None:
    call = next(c for c, _ in bench.kernels.cases(quick=True) if c.operation == operation)
    right = getattr(kernels("numpy"), operation)
    cost = costs.COSTS[operation]
    outputs = [*cost.written, *cost.updated]
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


# ------------------------------------------------------------------------ files and comparison


def row(case: str, seconds: float, spread: float = 0.0, variant: str = "v1") -> results.Row:
    low, high = seconds * (1 - spread), seconds * (1 + spread)
    return {"case": case, "variant": variant, "seconds": seconds, "low": low, "high": high}


def saved(path: Path, rows: list[results.Row], **changes: Any) -> Path:
    results.save(path, "kernels", rows)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_a_result_file_comes_back(tmp_path: Path) -> None:
    rows = [row("a", 1.0), {"case": "b", "variant": "x", "note": "not installed", "n": np.int64(3)}]
    results.save(tmp_path / "new.json", "kernels", rows)
    found = results.load(tmp_path / "new.json")
    assert found["rows"] == rows
    assert found["suite"] == "kernels"
    assert found["machine"]["cores"] == machine.cores()
    assert found["machine"]["numpy"] == np.__version__
    with pytest.raises(InputError, match="cannot write"):
        results.save(tmp_path / "nowhere" / "new.json", "kernels", rows)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("\x00\xff", "not JSON"),
        ("[1, 2]", "does not hold an object"),
        ("{}", "its format is None"),
        ('{"format": 1}', "'suite' is missing"),
        ('{"format": 1, "suite": "a", "machine": {}, "date": "", "rows": {}}', "'rows' is missing"),
        ('{"format": 1, "suite": "a", "machine": {}, "date": "", "rows": [1]}', "row 0 has no"),
        (
            '{"format": 1, "suite": "a", "machine": {}, "date": "",'
            ' "rows": [{"case": "a", "variant": "b", "seconds": "fast"}]}',
            "row 0: 'seconds' is not",
        ),
        (
            '{"format": 1, "suite": "a", "machine": {}, "date": "",'
            ' "rows": [{"case": "a", "variant": "b", "seconds": NaN}]}',
            "row 0: 'seconds' is not",
        ),
    ],
)
def test_a_bad_result_file_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=why):
        results.load(path)


def test_a_missing_result_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            results.load(path)


def test_compare_speaks_of_clear_changes_alone(tmp_path: Path) -> None:
    before = [row("slow", 1.0), row("fast", 1.0), row("noisy", 1.0, 0.3), row("little", 1.0)]
    after = [row("slow", 1.2), row("fast", 0.8), row("noisy", 1.4, 0.3), row("little", 1.04)]
    gone = {"case": "gone", "variant": "v1", "note": "not installed"}
    old = saved(tmp_path / "old.json", [*before, gone, row("old only", 1.0)])
    new = saved(tmp_path / "new.json", [*after, row("gone", 1.0)])
    text, slower = compare(old, new)
    assert slower
    changes = {
        cells[1]: cells[6]
        for line in text.splitlines()
        if line.startswith("|") and (cells := [cell.strip() for cell in line.split("|")])
    }
    assert changes["slow"] == "slower"
    assert changes["fast"] == "faster"
    assert changes["noisy"] == changes["little"] == ""
    assert "old only / v1" in text
    assert "gone / v1" in text
    assert "1 slower, 1 faster, of 4" in text
    assert "machines differ" not in text


def test_compare_says_first_that_the_machines_differ(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", [row("a", 1.0)])
    this = json.loads(old.read_text())["machine"]
    other = {**this, "cpu": "another", "load": -1.0}
    new = saved(tmp_path / "new.json", [row("a", 1.0)], machine=other)
    text, slower = compare(old, new)
    assert text.startswith("The machines differ")
    assert "another now" in text
    assert "load" not in text
    assert not slower


@pytest.mark.parametrize(
    ("rows", "changes", "why"),
    [
        ([row("a", 1.0)], {"suite": "runs"}, "'kernels' and .* 'runs'"),
        ([row("b", 1.0)], {}, "no case and variant in common"),
        ([row("a", 1.0), row("a", 2.0)], {}, "two rows for a / v1"),
    ],
)
def test_compare_refuses(tmp_path: Path, rows: list, changes: dict, why: str) -> None:
    old = saved(tmp_path / "old.json", [row("a", 1.0)])
    with pytest.raises(InputError, match=why):
        compare(old, saved(tmp_path / "new.json", rows, **changes))


def test_a_table_is_aligned_markdown() -> None:
    rows = [{"case": "a", "seconds": 0.00123, "n": 1234}, {"case": "b|c", "seconds": 12.0}]
    assert results.table(rows, ("case", "seconds", "n")).splitlines() == [
        "| case | seconds |     n |",
        "| ---- | ------: | ----: |",
        "| a    | 1.23 ms | 1,234 |",
        "| b/c  |  12.0 s |       |",
    ]


# ------------------------------------------------------------------------------- command line


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


def test_the_command_says_that_something_got_slower(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", [row("a", 1.0)])
    new = saved(tmp_path / "new.json", [row("a", 2.0)])
    assert main(["compare", str(old), str(new)]) == 1
    assert main(["compare", str(new), str(old)]) == 0


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
