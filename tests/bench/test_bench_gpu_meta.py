"""Meta-iterations on a GPU, without one: cases, jobs, frameworks, the crossover, training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from bench import peers, peers_case, runs
from bench.gpu import card as gpu_card
from bench.gpu import crossover as gpu_crossover
from bench.gpu import meta as gpu_meta
from bench.gpu import part as gpu_part
from bench.gpu import train as gpu_train
from bench.gpu.part import Context
from bench.measure import Mismatch, Timing
from bench.peers_process import Job
from bench.settings import OMNIGLOT, QUICK, Setting
from minireptile import backend
from minireptile.errors import InputError

from .bench_gpu_helpers import TINY, context
from .test_bench_peers import known, small_case

CASE = str(QUICK)

# ----------------------------------------------------------------------------------- cases and jobs


def test_the_reference_of_a_carried_case_hands_the_state_on() -> None:
    """Adam's second moments go from task to task, here once more with the optimizer alone."""
    case = peers_case.in_double(peers_case.case_of(replace(TINY, tasks=3)))[1]
    (x,), (y,) = case.x, case.y
    state, phis = case.optimizer.init(case.theta), []
    for t in range(3):
        phi = case.theta.copy()
        mr.adapt(case.model, phi, x[:, t], y[:, t], case.optimizer, state)
        phis.append(phi)
    wanted = case.theta + 0.5 * (np.mean(phis, axis=0) - case.theta)
    carried = replace(case, carry=True)
    peers_case.check("carried", carried, peers_case.reference(carried), wanted)
    with pytest.raises(Mismatch):
        peers_case.check("plain", case, peers_case.reference(case), wanted)


def test_cases_and_variants_go_together() -> None:
    assert set(gpu_meta.VARIANTS) <= set(peers_case.CASES)
    for name in gpu_meta.VARIANTS:
        jobs = gpu_meta.jobs_of(name, 2)
        assert len(set(map(str, jobs))) == len(jobs)
        assert all(job.gpu for job in jobs)
        assert not any(job.double for job in jobs if job.variant.endswith(peers_case.TF32))
        assert peers_case.CASES[name]().carry == name.endswith(", carry")


def test_a_job_is_checked_and_timed_in_its_process() -> None:
    jobs = [Job(CASE, "minireptile", name, 1, double=name == "numpy") for name in ("numpy", "cupy")]
    rows = list(peers.measure(CASE, jobs, rounds=2, seconds=3000))
    by_name = {row["variant"]: row for row in rows}
    good = by_name["minireptile numpy, 1 thread"]
    assert 0 < good["low"] <= good["seconds"] <= good["high"]
    case = peers_case.CASES[CASE]()
    doubled = peers_case.in_double(case)
    allowed = [peers_case.tolerance(c, peers_case.reference(c)) for c in doubled]
    assert 0 <= good["difference_double"] <= max(allowed)
    assert good["difference"] >= 0
    if backend.why_not("cupy"):
        absent = by_name["minireptile cupy, 1 thread"]
        assert absent["note"] == backend.why_not("cupy")
        assert not absent.get("failed")


def test_the_figures_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of a call, four turns after one that does not count; the first job's thetas are off
    by a tenth of the update in single precision, and by less in double."""
    about = {
        "numpy": ([0.1, 0.0, 3e-6], [0.008, 1, 2, 5, 3]),
        "eager": ([0.2, 0.0, 2e-6], [0.5, 10, 20, 50, 30]),
        "eager, TF32": ([0.05], [0.5, 4, 4, 4, 4]),
        "wrong": ([0.0, 0.0, 1e-4], []),
        "too few": ([0.0, 0.0], []),
    }
    children = known(peers, monkeypatch, peers_case.case_of(TINY), about)
    monkeypatch.setattr(peers, "missing", lambda job: "")
    jobs = [
        Job("known", "minireptile" if name == "numpy" else "PyTorch", name, 2, len(off) > 1, True)
        for name, (off, _) in about.items()
    ]
    wrong, few, ours, other, rounded = peers.measure("known", jobs, rounds=4, seconds=1000)
    assert children["numpy"].asked == [2, 3, 3, 3, 3, "end"]
    for row, times in ((ours, 1), (other, 10)):
        found = row["seconds"], row["low"], row["high"]
        assert found == pytest.approx((2.5 * times, 1.75 * times, 3.5 * times))
        assert row["ratio"] == pytest.approx(times)
        assert (row["first_seconds"], row["note"]) == (55, "")
    assert rounded["ratio"] == pytest.approx(4 / 2.5)
    assert "difference_double" not in rounded
    assert [row["difference"] for row in (ours, other)] == pytest.approx([0.1, 0.2], rel=1e-3)
    double = [row["difference_double"] for row in (ours, other)]
    assert double == pytest.approx([3e-6, 2e-6], rel=1e-3)
    assert "theta is off by 1.0e-04 of the update (Adam, float64)" in wrong["note"]
    assert few["note"] == "gave 2 results where 3 were expected"
    assert wrong["failed"] is few["failed"] is False  # they are not ours


def test_turns_end_when_the_time_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is looked at when the measurement begins, for the one job, and after each turn."""
    clock = iter([0.0, 0.0, 1.0, 2.0, 3.5])
    monkeypatch.setattr(peers, "monotonic", lambda: next(clock))
    children = known(peers, monkeypatch, peers_case.case_of(TINY), {"numpy": ([0.0], [9.0] * 9)})
    (row,) = peers.measure("known", [Job("known", "minireptile", "numpy", 1)], 8, seconds=3.0)
    assert row["seconds"] == 9
    assert children["numpy"].asked == [2, 1, 1, 1, "end"]


def test_a_case_gets_its_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list = []
    monkeypatch.setattr(gpu_meta, "outer_iterations", lambda context: [])
    monkeypatch.setattr(gpu_meta, "jobs_of", lambda name, threads: name)

    def measured(name: str, jobs: str, rounds: int, cache: str, seconds: float) -> list:
        asked.append((name, jobs, rounds, seconds, Path(cache).is_dir()))
        return []

    monkeypatch.setattr(peers, "measure", measured)
    monkeypatch.setattr(gpu_part.time, "monotonic", lambda: 10.0 * len(asked))
    list(gpu_meta.run(Context(False, 7, 60.0, str(tmp_path), begin=0.0)))
    one, carry = str(OMNIGLOT), f"{OMNIGLOT}, carry"
    assert asked == [(one, one, 7, 30.0, True), (carry, carry, 7, 50.0, True)]


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peers.missing(Job(CASE, "minireptile", "numpy, TF32", 1)) == ""
    monkeypatch.setattr(peers, "why_not", lambda name: f"no card for {name}")
    absent = Job(CASE, "minireptile", "cupy, on the device, TF32", 1)
    assert peers.missing(absent) == "no card for cupy"
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peers.missing(Job(CASE, "JAX", "jit vmap", 1)) == "not installed: pip install jax"


def test_jobs_without_time_are_skipped() -> None:
    (row,) = peers.measure(CASE, [Job(CASE, "minireptile", "numpy", 1)], 1, seconds=0)
    assert row["note"] == "skipped: no time was left"


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("optimizer", [mr.SGD(0.1), mr.Adam(1e-2, beta1=0.0)], ids=["sgd", "adam"])
def test_arrays_that_stay_on_the_device_give_the_reference_theta(
    monkeypatch: pytest.MonkeyPatch, carry: bool, optimizer: Any
) -> None:
    """NumPy in CuPy's place."""
    waits: list = []
    cupy = SimpleNamespace(asarray=np.array, repeat=np.repeat, asnumpy=np.asarray)
    monkeypatch.setattr(gpu_card, "cupy", lambda: cupy)
    monkeypatch.setattr(gpu_card, "synchronize", lambda: waits.append(1))
    case = replace(small_case(), carry=carry, optimizer=optimizer)
    built = peers_case.build(case, f"numpy{peers_case.RESIDENT}")
    for _ in range(2):  # a call leaves nothing behind
        theta = built.flat(built.run())
        peers_case.check("resident", case, theta, peers_case.reference(case))
    assert len(waits) == 2


def test_outer_iterations_of_both_policies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_times: Callable, given: list
) -> None:
    """Five in a call: a fifth of its times each."""
    monkeypatch.setattr(gpu_meta, "usable", lambda gpu: ("numpy",))
    monkeypatch.setattr(gpu_meta, "QUICK", TINY)
    asked = known_times(gpu_meta, {"numpy": Timing(2.0, 1.5, 4.0, 3)})
    rows = list(gpu_meta.outer_iterations(replace(context(tmp_path), rounds=9)))
    assert [row["case"] for row in rows] == [f"run {TINY}, mean", f"run {TINY}, carry"]
    for row in rows:
        assert (row["seconds"], row["low"], row["high"]) == (0.4, 0.3, 0.8)
        assert row["per_second"] == 2.5
    assert [rounds for _, rounds, _ in asked] == [5, 5]
    assert [loops.state for _, loops in given] == ["mean", "carry"]
    optimizer, loops = given[0]
    assert optimizer == TINY.optimizer
    assert (loops.meta_batch, loops.inner_steps, loops.inner_batch) == (2, 2, 2)


def test_many_iterations_follow_a_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list = []

    def reptile(*_: Any) -> Iterator[Any]:
        for i in range(100):
            made.append(i)
            yield SimpleNamespace(theta=i)

    monkeypatch.setattr(mr, "reptile", reptile)
    nothing: Any = None
    call = runs.many(TINY, nothing, "numpy", nothing, 4)
    assert made == [0]
    assert call() == 4
    assert call() == 8


# ------------------------------------------------------------------------- frameworks, if installed


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

    build = partial(import_module(f"bench.peers_{package}").build, threads=1, gpu=True)
    case = small_case()
    alone = carry != ("vmap" in variant) or variant in ("eager", "CUDA graph", "CUDA graph, TF32")
    for plain in peers_case.in_double(case):
        each = replace(plain, carry=carry)
        if not alone or (not carry and variant == "jit scan over tasks"):
            with pytest.raises(InputError):
                build(each, variant)
            continue
        built, wanted = build(each, variant), peers_case.reference(each)
        for _ in range(2):  # a call leaves nothing behind
            peers_case.check(variant, each, built.flat(built.run()), wanted)


# ------------------------------------------------------------------------------------ the crossover


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
    here = [row for row in rows[:-1] if row["case"] == "adapt tasks=2"]
    assert [row["variant"] for row in here] == ["numpy", "other"]
    assert here[1]["ratio"] == pytest.approx(here[1]["seconds"] / here[0]["seconds"])
    assert (here[0]["axis"], here[0]["value"], here[0]["ratio"]) == ("tasks", 2, 1)


def test_a_gpu_that_learns_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Setting.model

    def model(self: Setting, name: str = "numpy") -> Any:
        made = real(self)
        if name == "other":
            return mr.Model(made.layers, made.input_shape, made.loss, "sum")
        return made

    monkeypatch.setattr(gpu_crossover, "backends", lambda: ["numpy", "other"])
    monkeypatch.setattr(Setting, "model", model)
    with pytest.raises(Mismatch, match="other on"):
        list(gpu_crossover.measure(TINY, 1))


# ----------------------------------------------------------------------------------------- training


def test_as_many_iterations_as_there_is_time_for() -> None:
    assert gpu_train.affordable(100_000, each=1e-3, seconds=200) == 100_000
    assert gpu_train.affordable(100_000, each=1e-3, seconds=12.3456) == 12_000
    assert gpu_train.affordable(100_000, each=1.0, seconds=0.5) == 1
    assert gpu_train.affordable(50, each=0.1, seconds=5) == 50


class Slow:
    """An experiment of so many iterations on a clock: the first takes 100 s, the others 2 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, iterations: int) -> None:
        self.now, self.iterations = 0.0, iterations
        clock = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(gpu_train, "time", clock)

    def run(self) -> Iterator[Any]:
        for i in range(self.iterations):
            self.now += 2.0 if i else 100.0
            yield SimpleNamespace(theta=np.zeros(1))


@pytest.mark.parametrize(("seconds", "gone"), [(0.0, 3), (50.0, 31), (1e9, 511)])
def test_what_compiles_at_first_does_not_tell_the_speed(
    monkeypatch: pytest.MonkeyPatch, seconds: float, gone: int
) -> None:
    """2, then 4, 8, ... of 2 s each, while twice as many more fit into the time, or are 200."""
    slow: Any = Slow(monkeypatch, 1000)
    assert gpu_train.speed(slow, seconds) == 2
    assert slow.now == 100 + 2 * (gone - 1)


@pytest.mark.parametrize("iterations", [2, 8])
def test_the_speed_of_a_run_that_is_over_at_once(
    monkeypatch: pytest.MonkeyPatch, iterations: int
) -> None:
    short: Any = Slow(monkeypatch, iterations)
    assert gpu_train.speed(short, 1e9) == 2


def test_the_accuracy_is_in_percent_beside_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tasks as fit into the time by the pace of the first 64."""
    found = SimpleNamespace(
        accuracy=0.5, accuracy_ci95=0.01, transductive_accuracy=0.6, transductive_accuracy_ci95=0.02
    )
    asked: list = []

    def accuracy(experiment: Any, last: Any, tasks: int) -> tuple:
        asked.append((tasks, experiment.settings.shot, experiment.settings.eval_batch))
        return found, 2.0

    monkeypatch.setattr(gpu_train, "_accuracy", accuracy)
    monkeypatch.setattr(gpu_train, "replace", lambda thing, **new: SimpleNamespace(**new))
    experiment: Any = SimpleNamespace(settings=SimpleNamespace(backend="numpy"))
    last: Any = SimpleNamespace(iteration=33)
    row = gpu_train.evaluated("miniimagenet-5way-5shot", experiment, last, False, 7.0, "; so")
    preset = gpu_train.PRESETS["miniimagenet-5way-5shot"]
    assert asked == [(n, 5, preset["eval_batch"]) for n in (64, 192)]
    assert row == {
        "case": "accuracy miniimagenet-5way-5shot", "variant": "numpy",
        "seconds": 2, "low": 2, "high": 2,
        "accuracy": 50, "ci95": 1, "transductive": 60, "transductive_ci95": 2,
        "paper": 62.74, "paper_transductive": 65.99,
        "iterations": 33, "tasks": 192, "note": "so",
    }  # fmt: skip
    asked.clear()
    for quick, seconds in ((False, 1e9), (True, 1e9), (False, 1.0)):
        gpu_train.evaluated("miniimagenet-5way-1shot", experiment, last, quick, seconds, "")
    assert [tasks for tasks, *_ in asked] == [64, 10_000, 20, 64]


def test_the_papers_figures() -> None:
    """Tables 1 and 2: accuracy one query at a time, and of all queries together."""
    assert gpu_train.PAPER == {
        "omniglot-5way-1shot": (95.39, 97.68), "omniglot-5way-5shot": (98.90, 99.48),
        "omniglot-20way-1shot": (88.14, 89.43), "omniglot-20way-5shot": (96.65, 97.12),
        "miniimagenet-5way-1shot": (47.07, 49.97), "miniimagenet-5way-5shot": (62.74, 65.99),
    }  # fmt: skip


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


@pytest.mark.usefixtures("tiny")
def test_a_run_is_trained_once_and_evaluated_for_both_shots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gpu_train.settings_of
    changes: dict[str, Any] = {"filters": 4, "iterations": 6, "eval_steps": 2, "backend": "numpy"}

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
    run, one, five = gpu_train.trained(gpu_train.RUN, context(tmp_path), seconds=60_000)
    assert run["iterations"] == 6
    assert run["per_second"] == pytest.approx(6 / run["seconds"])
    assert run["case"] == "omniglot-5way, state mean"
    assert np.isfinite(run["loss"])
    assert shots == [(1, 1), (5, 5)]
    assert (one["paper"], five["paper"]) == (95.39, 98.90)
    for row in (one, five):
        assert 0 <= row["accuracy"] <= 100
        assert row["iterations"] == 6
    assert (tmp_path / "omniglot-5way-1shot.safetensors").exists()


def test_the_paper_has_a_figure_for_every_preset() -> None:
    assert set(gpu_train.PAPER) == {name for name in gpu_train.PRESETS if name != "sine"}
