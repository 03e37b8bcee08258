"""The measurements on a GPU, without one: the plan, the budget, the files, the checks."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import (
    gpu,
    gpu_card,
    gpu_case,
    gpu_checks,
    gpu_clock,
    gpu_crossover,
    gpu_kernels,
    gpu_meta,
    gpu_report,
    gpu_tests,
    gpu_train,
    peers_case,
    results,
)
from bench.__main__ import main
from bench.calls import Call, calls_of
from bench.gpu_part import Context
from bench.measure import Mismatch, Timing
from bench.peers_process import Job
from bench.settings import Setting
from minireptile import SGD, backend, omniglot_cnn
from minireptile.errors import InputError

from .cuda_on_cpu import COMPILER
from .gpu_stand_in import stand_in
from .test_bench_peers import small_case

TINY = Setting(tasks=2, steps=2, batch=2, size=8, filters=4)


@pytest.fixture
def as_if(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were a GPU, as far as the command line looks."""
    monkeypatch.setattr(gpu, "why_not", lambda: "")


def context(folder: Path, seconds: float = 60, quick: bool = True) -> Context:
    return Context(quick=quick, rounds=1, seconds=seconds, out=str(folder))


# --------------------------------------------------------------------------- the command, the plan


def test_without_a_gpu_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "why_not", lambda name: f"no card for {name}")
    out = tmp_path / "out"
    assert main(["gpu", "--out", str(out)]) == 2
    assert capsys.readouterr().err == "bench: there is no GPU to measure: no card for cupy\n"
    assert not out.exists()


@pytest.mark.usefixtures("as_if")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], "--minutes must be above 0"),
        (["--minutes", "nan"], "--minutes must be above 0"),
        (["--minutes", "many"], "invalid float value"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--parts", "card,abacus"], "there is no part 'abacus'"),
        (["--out", "FILE"], "cannot write to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_ends_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["gpu", *(a.replace("FILE", str(tmp_path / "file")) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("as_if")
def test_parts_come_in_their_own_order() -> None:
    options = {"quick": True, "minutes": None, "rounds": None, "out": Path("out")}
    plan = gpu.planned(Namespace(parts="train, card", **options))
    assert plan.wanted == ["card", "train"]
    assert (plan.minutes, plan.rounds) == (5, 3)
    assert gpu.planned(Namespace(parts="", **options)).wanted == list(gpu.PARTS)


def test_every_part_has_a_module() -> None:
    for part in gpu.PARTS.values():
        assert (gpu.ROOT / "bench" / f"gpu_{part.module}.py").exists()
    assert sum(part.least for part in gpu.PARTS.values()) < 10 * 60


def test_a_part_gets_its_share_and_leaves_the_least_of_the_others() -> None:
    clock = [0.0]
    wanted = ["card", "meta", "settings", "checks"]
    budget = gpu.Budget(1000, now=lambda: clock[0])
    parts = gpu.PARTS
    assert budget.for_part("meta", wanted) == parts["meta"].share * 1000
    clock[0] = 700
    assert budget.for_part("settings", wanted) == 300 - parts["checks"].least
    clock[0] = 1000 - parts["checks"].least - 10  # less than it needs beside the last one
    assert budget.for_part("settings", wanted) == 0
    clock[0] = 1000 - parts["checks"].least
    assert budget.for_part("checks", wanted) == parts["checks"].least
    clock[0] = 990
    assert budget.for_part("checks", wanted) == 0


def test_a_part_alone_gets_all_the_time() -> None:
    assert gpu.Budget(500, now=lambda: 0.0).for_part("card", ["card"]) == 500


# ---------------------------------------------------------------------------- parts as processes


def measured(
    folder: Path, program: str, monkeypatch: pytest.MonkeyPatch, *wanted: str, seconds: float = 300
) -> tuple[list[str], list[results.Row]]:
    """Run parts whose process is a Python program; what failed, and the rows saved."""
    header = "import json, sys, time; name, options = sys.argv[1], json.loads(sys.argv[2])\n"
    row = "def row(**more): print(json.dumps({'case': name, 'variant': 'v', **more}), flush=True)\n"
    monkeypatch.setattr(gpu, "COMMAND", [sys.executable, "-c", header + row + program])
    report = gpu_report.Report(folder, {name: "about" for name in gpu.PARTS}, wanted)
    plan = gpu.Plan(list(wanted), seconds / 60, True, 1, folder)
    failed = gpu.run(report, plan, gpu.Budget(seconds))
    return failed, results.load(folder / "gpu.json")["rows"]


def test_rows_of_all_parts_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, rows = measured(tmp_path, "row(seconds=1.5)", monkeypatch, "card", "train")
    assert not failed
    assert [(row["part"], row["seconds"]) for row in rows] == [("card", 1.5), ("train", 1.5)]
    text = (tmp_path / "gpu.md").read_text()
    assert "## card: about" in text
    assert "1.50 s" in text


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("sys.exit('the card is on fire')", "its process ended with code 1: the card is on fire"),
        ("row(note='wrong numbers', failed=True)", "wrong numbers"),
        ("import os; os.kill(os.getpid(), 9)", "its process ended with code -9: it said nothing"),
    ],
)
def test_a_part_that_fails_is_written_down_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, words: str
) -> None:
    program = f"row(seconds=2.0)\nif name == 'card': {mistake}"
    failed, rows = measured(tmp_path, program, monkeypatch, "card", "train")
    assert failed == ["card"]
    assert [row["part"] for row in rows] == ["card", "card", "train"]
    assert words in rows[1]["note"]


def test_a_part_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "GRACE", 0.0)
    monkeypatch.setitem(gpu.PARTS, "card", gpu.PARTS["card"]._replace(least=1, share=0.01))
    begin = time.monotonic()
    program = "row(seconds=2.0)\nif name == 'card': time.sleep(600)"
    failed, rows = measured(tmp_path, program, monkeypatch, "card", "train", seconds=200)
    assert time.monotonic() - begin < 60
    assert failed == ["card"]
    assert [row["part"] for row in rows] == ["card", "card", "train"]
    assert "ended after 2 s" in rows[1]["note"]


def test_a_part_without_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, rows = measured(tmp_path, "row()", monkeypatch, "card", "train", seconds=30)
    assert not failed
    assert [row["part"] for row in rows] == ["card", "train"] or rows[0]["note"]
    assert rows[-1]["note"] == "skipped: 30 s were left, and it needs 60"


def test_rows_are_on_the_disk_before_a_part_ends(tmp_path: Path) -> None:
    clock = [0.0]
    report = gpu_report.Report(tmp_path, {"card": "about"}, ["card"], now=lambda: clock[0])
    report.add("card", {"case": "a", "variant": "v"})
    clock[0] = 1.0
    report.add("card", {"case": "b", "variant": "v"})
    assert len(results.load(report.path)["rows"]) == 1
    clock[0] = 2.5
    report.add("card", {"case": "c", "variant": "v"})
    assert len(results.load(report.path)["rows"]) == 3


def test_parts_of_an_earlier_run_stay(tmp_path: Path) -> None:
    headings = {"card": "one", "train": "two"}
    report = gpu_report.Report(tmp_path, headings, ["card", "train"])
    for part in headings:
        report.add(part, {"case": "old", "variant": "v"})
    report.write()
    again = gpu_report.Report(tmp_path, headings, ["train"])
    again.add("train", {"case": "new", "variant": "v"})
    assert [(row["part"], row["case"]) for row in again.rows] == [("card", "old"), ("train", "new")]
    (tmp_path / "gpu.json").write_text("[]")
    assert gpu_report.Report(tmp_path, headings, []).rows == []


def test_columns_are_those_that_are_filled() -> None:
    rows: list[results.Row] = [
        {"part": "p", "case": "a", "note": "n", "seconds": None, "failed": False, "ratio": 0.0},
        {"part": "p", "case": "b", "low": 2.0},
    ]
    assert gpu_report.columns(rows) == ["case", "ratio", "low", "note"]


def test_an_exception_in_a_part_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(context: Context) -> Iterator[results.Row]:
        print("this goes to stderr")
        yield {"case": "fine", "variant": "", "seconds": np.float32(1)}
        raise InputError("no more\nof this")

    monkeypatch.setattr(gpu_card, "run", run)
    rows = list(importlib_part().rows_of("card", context(tmp_path)))
    assert rows[-1]["failed"]
    assert rows[-1]["note"] == "InputError: no more"
    assert rows[0]["case"] == "fine"


def importlib_part() -> Any:
    from bench import gpu_part

    return gpu_part


def test_a_part_answers_in_lines_of_json(tmp_path: Path) -> None:
    """In its process, without CuPy or a GPU: one row that says what is missing."""
    options = {"quick": True, "rounds": 1, "seconds": 5.0, "out": str(tmp_path)}
    rows = list(gpu.rows_of("card", options, 60))
    if not gpu.why_not():
        pytest.skip("there is a GPU")
    assert rows[-1]["failed"]
    assert "Error" in rows[-1]["note"]
    json.dumps(rows)


# -------------------------------------------------------------------------------------- the clock


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


# --------------------------------------------------------------------------------------- the card


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


# ------------------------------------------------------------------------------------ the kernels


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


# ----------------------------------------------------------------------------- the meta-iteration


def test_the_reference_of_a_carried_case_hands_the_state_on() -> None:
    case = peers_case.in_double(peers_case.case_of(replace(TINY, tasks=3)))[1]  # Adam
    carried = gpu_case.carried(case)
    plain, handed_on = (gpu_case.theta_after(c, case.model) for c in (case, carried))
    np.testing.assert_allclose(plain, peers_case.reference(case), rtol=1e-12)
    with pytest.raises(Mismatch):
        peers_case.check("carried", case, handed_on, plain)


def test_cases_and_variants_go_together() -> None:
    assert set(gpu_case.VARIANTS) <= set(gpu_case.CASES)
    for name in gpu_case.CASES:
        jobs = gpu_case.jobs_of(name, 2)
        assert len(set(map(str, jobs))) == len(jobs)
        assert not any(job.double for job in jobs if job.variant.endswith(gpu_case.TF32))


COMMAND = [sys.executable, "-c", "from bench.gpu_meta import serve; serve()"]
CASE = str(gpu_case.QUICK)


def test_a_job_is_checked_and_timed_in_its_process() -> None:
    jobs = [Job(CASE, "minireptile", name, 1, double=name == "numpy") for name in ("numpy", "cupy")]
    rows = list(gpu_meta.measure(CASE, jobs, rounds=2, seconds=300))
    by_name = {row["variant"]: row for row in rows}
    good = by_name["minireptile numpy, 1 thread"]
    assert 0 < good["low"] <= good["seconds"] <= good["high"]
    assert good["difference"] < 1e-6
    assert good["difference_double"] < 1e-12
    if backend.why_not("cupy"):
        absent = by_name["minireptile cupy, 1 thread"]
        assert absent["note"] == backend.why_not("cupy")
        assert not absent.get("failed")


def test_a_job_with_another_theta_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_meta, "reference", lambda case: case.theta + 1)
    (row,) = gpu_meta.measure(CASE, [Job(CASE, "minireptile", "numpy", 1, double=True)], 1, 300)
    assert row["failed"]
    assert "theta is off by" in row["note"]
    assert row["seconds"] is None


def test_jobs_without_time_are_skipped() -> None:
    (row,) = gpu_meta.measure(CASE, [Job(CASE, "minireptile", "numpy", 1)], 1, seconds=0)
    assert row["note"] == "skipped: no time was left"


def test_outer_iterations_of_both_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_meta, "usable", lambda gpu: ("numpy",))
    monkeypatch.setattr(gpu_meta, "QUICK", TINY)
    real = gpu_meta.in_turns
    found: dict[str, Timing] = {}
    monkeypatch.setattr(
        gpu_meta, "in_turns", lambda *a, **k: found.update(real(*a, **k)) or dict(found)
    )
    rows = list(gpu_meta.outer_iterations(context(tmp_path)))
    assert rows[-1]["seconds"] == pytest.approx(found["numpy"].median / 5)
    assert [row["case"].rsplit(", ", 1)[1] for row in rows] == ["mean", "carry"]
    for row in rows:
        assert row["per_second"] == pytest.approx(1 / row["seconds"])


# ------------------------------------------------------------------------ frameworks, if installed


@pytest.mark.filterwarnings("default")  # theirs are not ours
@pytest.mark.parametrize("carry", [False, True], ids=["parallel", "carry"])
@pytest.mark.parametrize(
    ("package", "variant"),
    [
        ("torch", "eager"),
        ("torch", "vmap"),
        ("torch", "CUDA graph"),
        ("torch", "CUDA graph, vmap"),
        ("torch", "CUDA graph, TF32"),
        ("jax", "jit vmap"),
        ("jax", "jit scan over tasks"),
    ],
)
def test_a_framework_gives_the_reference_theta(package: str, variant: str, carry: bool) -> None:
    pytest.importorskip(package)
    from importlib import import_module

    build = import_module(f"bench.gpu_{package}").build
    case = small_case()
    alone = carry != ("vmap" in variant) or variant in ("eager", "CUDA graph", "CUDA graph, TF32")
    for plain in peers_case.in_double(case):
        each = gpu_case.carried(plain) if carry else plain
        if not alone or (not carry and variant == "jit scan over tasks"):
            with pytest.raises(InputError):
                build(each, variant)
            continue
        built, wanted = build(each, variant), gpu_meta.reference(each)
        for _ in range(2):  # a call leaves nothing behind
            peers_case.check(variant, each, built.flat(built.run()), wanted)


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


# --------------------------------------------------------------- training, crossover, tests, checks


def test_as_many_iterations_as_there_is_time_for() -> None:
    assert gpu_train.affordable(100_000, each=1e-3, seconds=200) == 100_000
    assert gpu_train.affordable(100_000, each=1e-3, seconds=12.3456) == 12_000
    assert gpu_train.affordable(100_000, each=1.0, seconds=0.5) == 1
    assert gpu_train.affordable(50, each=0.1, seconds=5) == 50


def test_what_compiles_at_first_does_not_tell_the_speed() -> None:
    class Slow:
        def run(self) -> Iterator[Any]:
            for i in range(1000):
                time.sleep(0.2 if i == 0 else 0.001)
                yield SimpleNamespace(theta=np.zeros(1))

    slow: Any = Slow()
    assert 0.0005 < gpu_train.speed(slow, 0.05) < 0.02


def test_data_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIREPTILE_DATA", str(tmp_path))
    settings, note = gpu_train.settings_of("omniglot-20way-5shot", quick=False)
    assert settings.dataset == "glyphs"
    assert "drawn characters" in note
    (tmp_path / "omniglot").mkdir()
    settings, note = gpu_train.settings_of("omniglot-20way-5shot", quick=False)
    assert (settings.dataset, settings.state, settings.iterations) == ("omniglot", "mean", 200_000)
    assert settings.data == str(tmp_path / "omniglot")
    assert not note
    monkeypatch.delenv("MINIREPTILE_DATA")
    assert gpu_train.data_of("omniglot") is None


def test_a_run_is_trained_once_and_evaluated_for_both_shots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gpu_train.settings_of
    changes: dict[str, Any] = {
        "filters": 4,
        "iterations": 6,
        "eval_steps": 2,
        "drawers": 12,
        "backend": "numpy",
    }

    def small(preset: str, quick: bool) -> Any:
        settings, note = real(preset, quick)
        return replace(settings, **changes), note

    shots, accuracy = [], gpu_train._accuracy

    def note_shots(experiment: Any, *rest: Any) -> Any:
        shots.append((experiment.settings.shot, experiment.protocol(1, 0).shot))
        return accuracy(experiment, *rest)

    monkeypatch.delenv("MINIREPTILE_DATA", raising=False)
    monkeypatch.setattr(gpu_train, "_accuracy", note_shots)
    monkeypatch.setattr(gpu_train, "settings_of", small)
    run, one, five = gpu_train.trained(gpu_train.RUN, context(tmp_path), seconds=60)
    assert run["iterations"] == 6
    assert run["per_second"] == pytest.approx(6 / run["seconds"])
    assert shots == [(1, 1), (5, 5)]
    assert (one["paper"], five["paper"]) == (95.39, 98.90)
    for row in (one, five):
        assert 0 <= row["accuracy"] <= 100
        assert row["iterations"] == 6
    assert (tmp_path / "omniglot-5way-1shot.safetensors").exists()


def test_the_paper_has_a_figure_for_every_preset() -> None:
    assert set(gpu_train.PAPER) == {name for name in gpu_train.PRESETS if name != "sine"}


def test_the_crossover_is_measured_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Setting.model
    monkeypatch.setattr(Setting, "model", lambda self, name="numpy": real(self))
    monkeypatch.setattr(gpu_crossover, "backends", lambda: ["numpy", "other"])
    monkeypatch.setattr(gpu_crossover, "QUICK", TINY)
    monkeypatch.setattr(gpu_crossover, "QUICK_GROWTH", {"tasks": (1, 2), "size": (8, 10)})
    rows = list(gpu_crossover.run(context(tmp_path)))
    assert rows[-1]["note"] == "gpu-crossover.png"
    assert (tmp_path / "gpu-crossover.png").read_bytes().startswith(b"\x89PNG")
    assert {row["case"] for row in rows[:-1]} == {
        "adapt tasks=1", "adapt tasks=2", "adapt size=8", "adapt size=10",
    }  # fmt: skip
    losing = {"case": "adapt tasks=1", "variant": "cupy", "ratio": 2.0}
    winning = {"case": "adapt tasks=2", "variant": "cupy", "ratio": 0.5}
    assert gpu_crossover.loses([losing, winning, {**losing, "variant": "numba"}]) == [
        "adapt tasks=1"
    ]


def test_a_gpu_that_learns_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Setting.model

    def model(self: Setting, name: str = "numpy") -> Any:
        made = real(self)
        if name == "other":
            made.reduction = "sum"
        return made

    monkeypatch.setattr(gpu_crossover, "backends", lambda: ["numpy", "other"])
    monkeypatch.setattr(Setting, "model", model)
    with pytest.raises(Mismatch, match="other on"):
        list(gpu_crossover.measure(TINY, 1))


JUNIT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><failure message="x"/></testcase>
<testcase name="c"><error message="x"/></testcase>
<testcase name="d"><skipped message="s"/></testcase>
</testsuite></testsuites>"""


def test_a_report_of_tests_is_counted() -> None:
    row = gpu_tests.counted(JUNIT)
    assert (row["passed"], row["failures"], row["skipped"]) == (1, 2, 1)
    assert row["note"] == "failed: b, c"
    skipped = '<testsuite><testcase name="d"><skipped message="no GPU"/></testcase></testsuite>'
    assert gpu_tests.counted(skipped)["note"] == "no GPU"


def test_pytest_runs_in_a_process_of_its_own() -> None:
    good = gpu_tests.tested("tests/test_bench_measure.py", "turn and not repeated", 60)
    assert not good["failed"]
    none = gpu_tests.tested("tests/test_bench_measure.py", "no_such_test", 60)
    assert none["note"] == "no such tests"
    late = gpu_tests.tested("tests/test_bench_measure.py", "", 0.01)
    assert late["failed"]
    assert "ended after" in late["note"]


def test_every_file_of_tests_is_there() -> None:
    for name in gpu_tests.SELECTION:
        assert (gpu_tests.ROOT / name.split()[0]).exists()


MEMCHECK = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at conv2d_forward_v1+0x2f0
========= ERROR SUMMARY: 1 error
"""
RACECHECK = """========= Error: Race reported between Write access at product+0x80
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
CLEAN = """========= COMPUTE-SANITIZER
48 passed in 20.00s
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
"""


def test_what_the_sanitizer_says_is_read() -> None:
    assert gpu_checks.errors_in(MEMCHECK).startswith("Invalid __global__ read")
    assert gpu_checks.errors_in(RACECHECK).startswith("Error: Race reported")
    assert gpu_checks.errors_in(CLEAN) == ""
    assert gpu_checks.summary(CLEAN).startswith("48 passed")


@pytest.mark.parametrize(
    ("program", "failed", "words"),
    [
        (f"print({CLEAN!r})", False, "48 passed"),
        (f"print({MEMCHECK!r}); raise SystemExit(9)", True, "Invalid __global__"),
        (f"print({MEMCHECK!r})", True, "Invalid __global__"),
        ("raise SystemExit(1)", True, "exit code 1"),
        ("import time; time.sleep(60)", False, "nothing found"),
        (
            f"print({RACECHECK!r}, flush=True)\nimport time; time.sleep(60)",
            True,
            "until then: Error: Race",
        ),
    ],
    ids=["clean", "error", "error but no code", "tests fail", "slow", "slow with an error"],
)
def test_the_sanitizer_is_run_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, failed: bool, words: str
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f"#!{sys.executable}\n{program}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if "sleep" in program:
        real = gpu_checks.subprocess.run
        monkeypatch.setattr(
            gpu_checks.subprocess, "run", lambda *a, **k: real(*a, **{**k, "timeout": 2})
        )
    row = gpu_checks.sanitized("memcheck", "", 20)
    assert bool(row["failed"]) == failed
    assert words in row["note"]


def test_without_the_sanitizer_a_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert gpu_checks.sanitized("memcheck", "", 20)["note"].endswith("is not installed")


def test_two_runs_are_compared_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "QUICK", TINY)
    assert not gpu_checks.twice("numpy", quick=True)["failed"]
    drift = iter(range(10))
    monkeypatch.setattr(gpu_checks, "learned", lambda *_: np.array([0.0, next(drift)]))
    assert gpu_checks.twice("numpy", quick=True)["failed"]
