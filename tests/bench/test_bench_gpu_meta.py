"""Meta-iterations on a GPU, without one: cases, jobs, frameworks, the crossover, training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import gpu_case, gpu_crossover, gpu_meta, gpu_train, peers_case
from bench.measure import Mismatch, Timing
from bench.peers_process import Job
from bench.settings import Setting
from minireptile import backend
from minireptile.errors import InputError

from .bench_gpu_helpers import TINY, context
from .test_bench_peers import small_case

CASE = str(gpu_case.QUICK)

# ----------------------------------------------------------------------------------- cases and jobs


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


# ----------------------------------------------------------------------------------------- training


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
