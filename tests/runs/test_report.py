"""What `evaluate` and the tables say, computed a second way from the bare functions."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.cli import main
from minireptile.delegate import begin
from minireptile.runs import checkpoint, experiment, report
from minireptile.runs.folder import CHECKPOINT
from minireptile.runs.settings import Settings
from minireptile.runs.sources import SOURCES
from minireptile.tasks.images import FewShot, Splits
from minireptile.tasks.sine import Sine
from tests.small import tiny_classes

from .run_helpers import Asked

SINE = Settings(
    dataset="sine", network="sine", backend="numpy", seed=4, optimizer="adam", inner_lr=0.01,
    beta1=0.5, shot=9, eval_steps=7, eval_batch=3, replacement=True,
)  # fmt: skip
GLYPHS = Settings(
    backend="numpy", seed=4, way=3, shot=2, filters=3, inner_lr=0.02, eval_steps=3, eval_batch=4
)

OF = {"algorithm": "reptile", "iteration": 12, "backend": "numpy"}  # what an evaluation is of


def saved(folder: Path, settings: Settings, model: mr.Model) -> mr.Snapshot:
    """A run as if it had come to iteration 12, with an optimizer's state that matters."""
    theta = model.init(1)
    start = begin(model, mr.Adam(beta1=settings.beta1), mr.Loops(1))
    state = {n: np.asarray(a + (3 if a.ndim == 0 else 1)) for n, a in start.state.items()}
    run = mr.Snapshot(12, theta, state, start.loss)
    checkpoint.save(folder / CHECKPOINT, run, settings)
    return run


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command says; as JSON it is one line."""
    capsys.readouterr()
    assert main(["evaluate", *arguments]) == 0
    out = capsys.readouterr().out
    return json.loads(out) if "--json" in arguments else out


def test_evaluate_on_functions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path, SINE, mr.sine_mlp())

    def wanted(tasks: int, **changes: Any) -> dict[str, Any]:
        base = {"shot": 9, "seed": 4, "marks": (0, 1, 5, 7), "batch": 3, "replacement": True}
        protocol = mr.Protocol(tasks, **{**base, **changes})
        inner = mr.Adam(0.01, beta1=0.5)
        result = mr.evaluate_regression(
            mr.sine_mlp(), run.theta, run.state, Sine(), inner, protocol
        )
        of = {"dataset": "sine", "way": None, "shot": protocol.shot}
        return {**OF, **of, **json.loads(json.dumps(asdict(result)))}

    folder = str(tmp_path)
    assert said(capsys, folder, "--json", "--tasks", "3") == wanted(3)
    assert said(capsys, folder, "--json", "--tasks", "3", "--seed", "0") == wanted(3, seed=0)
    options = ("--json", "--tasks", "2", "--seed", "9", "--shot", "5")
    assert said(capsys, folder, *options) == wanted(2, seed=9, shot=5)
    text = said(capsys, folder, "--tasks", "3").splitlines()
    assert text[0] == "mean squared error on 3 unseen tasks of sine, 9 points each"
    assert text[1].split() == ["iteration", "12"]
    result = wanted(3)
    cells = [
        [f"{steps}", "steps", f"{mse:.2f}", "±", f"{half:.2f}"]
        for steps, mse, half in zip(*(result[n] for n in ("steps", "mse", "mse_ci95")), strict=True)
    ]
    assert [line.split() for line in text[2:]] == cells


def test_evaluate_takes_a_thousand_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, SINE, mr.sine_mlp())
    asked = Asked(mr.Regression((0,), (1.0,), (0.5,), 1000, 4))
    monkeypatch.setattr(report, "measure", asked)
    assert main(["evaluate", str(tmp_path)]) == 0
    assert main(["evaluate", str(tmp_path), "--json"]) == 0
    found = [(arguments[2:], options) for arguments, options in asked.calls]
    assert found == [((1000, 4), {"quiet": False}), ((1000, 4), {"quiet": True})]


def test_evaluate_on_images_and_on_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: Splits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """On the test classes, of this data set or of another; `--data` says where that one lies."""
    other, places = tiny_classes(5, 7, seed=3), []

    def load(data: str, split: str) -> Splits:
        places.append((data, split))
        return Splits(tiny.train, other, note="of the other kind")

    monkeypatch.setitem(SOURCES, "folder", replace(SOURCES["folder"], load=load))
    model = mr.omniglot_cnn(3, 3, (6, 6, 1))
    run = saved(tmp_path, replace(GLYPHS, split="vinyals", data="/away"), model)

    def wanted(tasks: int, test: Any, **changes: Any) -> dict[str, Any]:
        protocol = mr.Protocol(
            tasks, **{"shot": 2, "seed": 4, "marks": (3,), "batch": 4, **changes}
        )
        inner = mr.Adam(0.02, beta1=0.0)
        tasks_ = FewShot(test, 3)
        result = mr.evaluate(model, run.theta, run.state, tasks_, inner, protocol)
        of = {"dataset": "folder" if test is other else "glyphs", "way": 3, "shot": protocol.shot}
        return {**OF, **of, **json.loads(json.dumps(asdict(result)))}

    folder, ten = str(tmp_path), ("--tasks", "10")
    assert said(capsys, folder, "--json", *ten) == wanted(10, tiny.test)
    assert said(capsys, folder, "--json", *ten, "--shot", "1") == wanted(10, tiny.test, shot=1)
    on = ("--on", "folder", "--data", "pictures")
    assert said(capsys, folder, "--json", *ten, *on) == wanted(10, other)
    assert said(capsys, folder, "--json", *ten, "--on", "folder") == wanted(10, other)
    assert places == [(str(Path("pictures").resolve()), ""), ("", "")]
    text = said(capsys, folder, *ten, *on).splitlines()
    result = wanted(10, other)
    title = "3-way 2-shot accuracy in %, on 10 tasks of unseen classes of folder"
    assert text[0] == title
    assert text[1].split() == ["iteration", "12"]
    for line, name in zip(text[2:4], ("accuracy", "transductive_accuracy"), strict=True):
        words = name.replace("_", " ").split()
        value, half = 100 * result[name], 100 * result[f"{name}_ci95"]
        assert line.split() == [*words, f"{value:.2f}", "±", f"{half:.2f}"]
    assert text[4:] == ["(of the other kind)"]


def test_a_table_as_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns right-aligned, one for each result; no interval for a single task; the note last."""
    built = experiment.build(replace(SINE, shot=3))
    few = mr.Regression((0, 32), (12.346, 0.5), (1.005001, 0.25), 7, 1)
    one = mr.Regression((0, 32), (3.0, 100.125001), (None, None), 7, 1)
    report.show(built, {"before": few, "after": one})
    assert capsys.readouterr().out == (
        "mean squared error on 7 unseen tasks of sine, 3 points each\n"
        "                before   after\n"
        "0 steps   12.35 ± 1.01    3.00\n"
        "32 steps   0.50 ± 0.25  100.13\n"
    )


def test_a_table_of_accuracies(tiny: Splits, capsys: pytest.CaptureFixture[str]) -> None:
    built = replace(experiment.build(GLYPHS), note="seen before")
    low = mr.Accuracy(0.25, 0.0125, 0.5, 0.025, 20, 3)
    report.show(built, {"before": low, "after": replace(low, accuracy=1.0)})
    assert capsys.readouterr().out == (
        "3-way 2-shot accuracy in %, on 20 tasks of unseen classes of glyphs\n"
        "                             before          after\n"
        "accuracy               25.00 ± 1.25  100.00 ± 1.25\n"
        "transductive accuracy  50.00 ± 2.50   50.00 ± 2.50\n"
        "(seen before)\n"
    )


def test_before_is_the_beginning_and_after_the_run_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both on the same tasks: as many as test_tasks, of the run's own seed."""
    settings = replace(SINE, test_tasks=17)
    built = experiment.build(settings)
    run = saved(tmp_path, settings, built.model)
    asked: list[Any] = []

    def measure(*arguments: Any) -> mr.Regression:
        asked.append(arguments)
        return mr.Regression((0,), (float(len(asked)),), (None,), 17, 4)

    monkeypatch.setattr(report, "measure", measure)
    results = report.before_and_after(built, run, tmp_path)
    assert {n: r.mse for n, r in results.items()} == {"before": (1.0,), "after": (2.0,)}  # type: ignore[union-attr]
    start = begin(built.model, built.optimizer, built.loops)
    for (found, snapshot, *numbers), wanted in zip(asked, (start, run), strict=True):
        assert found is built
        assert (snapshot.iteration, numbers) == (wanted.iteration, [17, 4])
        assert snapshot.theta.tobytes() == wanted.theta.tobytes()
