"""A run that goes on otherwise than it began: longer, at another rate, after a divergence."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minireptile as mr
from minireptile.cli import main
from minireptile.runs import checkpoint, metrics, run
from minireptile.runs.experiment import build
from minireptile.runs.folder import CHECKPOINT, METRICS
from minireptile.runs.measures import MEASURES
from minireptile.runs.settings import Settings

SETTINGS = Settings(
    dataset="sine", network="sine", backend="numpy", iterations=4, meta_batch=2, epsilon=0.8,
    epsilon_final=0.2, inner_steps=2, inner_batch=5, train_shots=10, optimizer="adam",
    inner_lr=0.004, shot=5, eval_steps=2, eval_batch=5, eval_every=0, test_tasks=2,
    checkpoint_every=3,
)  # fmt: skip
VALUES = MEASURES["regression"].values


def records(folder: Path) -> list[metrics.Record]:
    return metrics.read(folder / METRICS, VALUES)


def ends(folder: Path) -> list[int]:
    """The iterations of its tests."""
    return [r["iteration"] for r in records(folder) if "test" in r]


@pytest.fixture
def done(tmp_path: Path, no_pictures: None, capsys: pytest.CaptureFixture[str]) -> Path:
    """A complete run."""
    run.train(SETTINGS, tmp_path)
    capsys.readouterr()
    return tmp_path


@pytest.mark.usefixtures("no_pictures")
def test_a_run_is_extended(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its last snapshot goes on under the longer run's epsilon; tested anew, the old test gone."""
    before, _ = checkpoint.load(done / CHECKPOINT)
    assert ends(done) == [0, 4]
    first = [r for r in records(done) if "loss" in r]
    run.resume(done, iterations=7)
    out = capsys.readouterr().out
    longer = replace(SETTINGS, iterations=7)
    # 0.2 at the end of 4; of 7, three are left of the way from 0.8 to 0.2.
    assert (
        "epsilon was 0.2 at iteration 4, and is 0.457 now; it goes to 0.2 at iteration 7\n" in out
    )
    assert f"{done}, from iteration 4 on\n" in out
    found, settings = checkpoint.load(done / CHECKPOINT)
    assert (found.iteration, settings) == (7, longer)
    *_, wanted = build(longer).run(before)
    assert found.theta.tobytes() == wanted.theta.tobytes()
    assert ends(done) == [0, 7]
    logged = [r for r in records(done) if "loss" in r]
    assert logged[:4] == first
    assert [r["iteration"] for r in logged] == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose([r["epsilon"] for r in logged[4:]], 0.8 - 0.6 * np.arange(4, 7) / 7)


def test_what_was_asked_for_is_kept_from_the_start(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the first checkpoint of its own, an extended run is an extended run."""

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_iterate", killed)
    with pytest.raises(KeyboardInterrupt):
        run.resume(done, iterations=9, inner_lr=0.001)
    found, settings = checkpoint.load(done / CHECKPOINT)
    assert found.iteration == 4
    assert settings == replace(SETTINGS, iterations=9, inner_lr=0.001)


def test_fewer_iterations_than_are_done_are_refused(done: Path) -> None:
    before = {path.name: path.read_bytes() for path in done.iterdir()}
    with pytest.raises(mr.InputError) as caught:
        run.resume(done, iterations=3)
    assert str(caught.value) == (
        f"{done} has 4 iterations behind it, and cannot go on to 3: ask for more with --iterations"
    )
    with pytest.raises(mr.InputError, match="lr"):
        run.resume(done, iterations=8, inner_lr=-1.0)
    assert {path.name: path.read_bytes() for path in done.iterdir()} == before


def test_what_changes_is_said(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rates by name; nothing where nothing changes, and nothing of where it runs."""
    run.resume(done, iterations=6, inner_lr=0.001, epsilon=0.5, epsilon_final=0.5)
    out = capsys.readouterr().out
    assert "inner-lr was 0.004, and is 0.001 from iteration 4 on\n" in out
    assert "epsilon was 0.2 at iteration 4, and is 0.5 now; it goes to 0.5 at iteration 6\n" in out
    (done / METRICS).write_text("")  # as if it had not been tested
    run.resume(done, data="elsewhere")
    assert " was " not in capsys.readouterr().out


def test_a_complete_run_says_how_to_go_on(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.resume(done)
    out = capsys.readouterr().out
    assert out.startswith(f"{done} is complete: 4 iterations\n")
    assert out.endswith(f"minireptile resume {done} --iterations 100\n")


def test_seconds_go_on(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the last that is kept, and not from zero."""
    lines = [
        '{"iteration": 3, "loss": 1.0, "seconds": 50.25}\n',
        '{"iteration": 4, "loss": 1.0, "seconds": 71.5}\n',
        '{"iteration": 5, "loss": 1.0, "seconds": 99.0}\n',  # after the checkpoint
    ]
    (done / METRICS).write_text("".join(lines))
    clock = SimpleNamespace(perf_counter=iter([1000.0, 1003.0, 1004.0]).__next__)
    monkeypatch.setattr(run, "time", clock)
    run.resume(done, iterations=6)
    found = [r["seconds"] for r in records(done) if "seconds" in r]
    assert found == [50.25, 71.5, 74.5, 75.5]


@pytest.mark.usefixtures("no_pictures")
def test_after_a_divergence_the_way_out_is_named_and_leads_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rate is raised after a checkpoint, so that the next iterations diverge; the command in
    the sentence, as it stands, finishes the run."""
    folder = tmp_path / "a run"
    run.train(replace(SETTINGS, iterations=3, test_tasks=0, optimizer="sgd"), folder)
    with pytest.raises(mr.InputError) as caught, np.errstate(all="ignore"):
        run.resume(folder, iterations=8, inner_lr=0.08, epsilon=1e30, test_tasks=2)
    sentence = str(caught.value)
    assert sentence.startswith(
        "the run diverged: a loss or parameter became NaN or infinite in iteration "
    )
    assert f"; {folder} is saved up to iteration 3: go on with a lower rate, " in sentence
    assert sentence.endswith("--inner-lr 0.02, or with a lower --epsilon than 1e+30")
    assert checkpoint.load(folder / CHECKPOINT)[0].iteration == 3
    command = shlex.split(sentence.split("a lower rate, ")[1].split(", or")[0])
    assert command[:3] == ["minireptile", "resume", str(folder)]
    capsys.readouterr()
    assert main([*command[1:], "--epsilon", "0.5"]) == 0, capsys.readouterr().err
    found, settings = checkpoint.load(folder / CHECKPOINT)
    assert (found.iteration, settings.inner_lr, settings.epsilon) == (8, 0.02, 0.5)
    assert ends(folder) == [0, 8]
