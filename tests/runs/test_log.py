"""What a run writes down and when, against the bare loops with the numbers written out."""

from __future__ import annotations

import errno
import json
import os
import signal
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, call

import pytest

import minireptile as mr
from minireptile.cli import main
from minireptile.rng import Stream
from minireptile.runs import checkpoint, console, metrics, run
from minireptile.runs.folder import CHECKPOINT, METRICS
from minireptile.runs.settings import Settings
from minireptile.tasks.sine import Sine

SETTINGS = Settings(
    dataset="sine", network="sine", backend="numpy", iterations=7, meta_batch=3, epsilon=0.9,
    epsilon_final=0.2, inner_steps=4, inner_batch=6, train_shots=30, state="mean", seed=5,
    optimizer="adam", inner_lr=0.004, beta1=0.5, shot=8, eval_steps=6, eval_batch=3, eval_every=3,
    eval_tasks=2, test_tasks=4, checkpoint_every=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def snapshots() -> list[mr.Snapshot]:
    """The run, without anything of runs/."""
    loops = mr.Loops(
        7, meta_batch=3, epsilon=0.9, epsilon_final=0.2, inner_steps=4, inner_batch=6,
        train_shots=30, state="mean", seed=5,
    )  # fmt: skip
    model, optimizer = mr.sine_mlp(), mr.Adam(0.004, beta1=0.5)
    first = mr.Snapshot(0, model.init(5), optimizer.init(model.init(5)), None)  # type: ignore
    return [first, *mr.reptile(model, Sine(), optimizer, loops)]


def error(run: mr.Snapshot, tasks: int, stream: Stream, iteration: int) -> dict[str, Any]:
    """The evaluation of a snapshot, as JSON gives it."""
    protocol = mr.Protocol(
        tasks, shot=8, marks=(0, 1, 5, 6), batch=3, seed=5, stream=stream, iteration=iteration
    )
    measured = mr.sine_mlp(), run.theta, run.state, Sine(), mr.Adam(0.004, beta1=0.5), protocol
    return json.loads(json.dumps(asdict(mr.evaluate_regression(*measured))))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def test_metrics_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    """The folder itself stands where the file should."""
    reason = os.strerror(errno.EISDIR)
    with pytest.raises(mr.InputError) as caught:
        metrics.append(tmp_path, {"iteration": 1})
    assert str(caught.value) == (
        f"cannot write {tmp_path}: {reason}; the run is saved up to its last checkpoint: "
        "free some space, then continue with: minireptile resume"
    )
    with pytest.raises(mr.InputError, match=f"^cannot read {tmp_path}: .*{reason}"):
        metrics.read(tmp_path, dict)
    assert metrics.read(tmp_path / "none", dict) == []


@pytest.mark.usefixtures("no_pictures")
def test_the_log_and_the_checkpoints(
    tmp_path: Path, snapshots: list[mr.Snapshot], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Logged: every second iteration of 7 where 3 lines are wanted, each third for its running
    evaluation, and the last; then both tests. Saved: the start, each fourth, and the last."""
    saved = []
    save = checkpoint.save

    def noted(path: Path, snapshot: mr.Snapshot, settings: Settings) -> None:
        if path.name == CHECKPOINT:
            saved.append((snapshot.iteration, snapshot.theta.tobytes()))
        save(path, snapshot, settings)

    clock = count(100.0, 0.2504)
    monkeypatch.setattr(checkpoint, "save", noted)
    monkeypatch.setattr(run, "LOG_LINES", 3)
    monkeypatch.setattr(run, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run.train(SETTINGS, tmp_path)

    assert saved == [(i, snapshots[i].theta.tobytes()) for i in (0, 4, 7)]
    wanted: list[dict[str, Any]] = []
    for n, i in enumerate((2, 3, 4, 6, 7), 1):
        done = (i - 1) / 7  # before the iteration
        record = {
            "iteration": i, "loss": pytest.approx(snapshots[i].loss[3].mean(), rel=1e-6),
            "epsilon": pytest.approx(0.9 - done * 0.7),
            "seconds": pytest.approx(round(0.2504 * n, 3), abs=1e-9),
        }  # fmt: skip
        running = {"running": error(snapshots[i], 2, Stream.RUNNING, i)} if i % 3 == 0 else {}
        wanted.append(record | running)
    for i in (0, 7):
        wanted.append({"iteration": i, "test": error(snapshots[i], 4, Stream.TEST, 0)})
    assert lines(tmp_path) == wanted
    out = capsys.readouterr().out.splitlines()
    title = out.index("mean squared error on 4 unseen tasks of sine, 8 points each")
    for steps, line, before, after in zip(
        (0, 1, 5, 6), out[title + 2 :][:4], *(r["test"]["mse"] for r in wanted[-2:]), strict=True
    ):
        assert line.startswith(f"{steps} steps  ")
        columns = line.split("  ", 1)[1].replace(" ± ", "±").split()
        assert [c.split("±")[0] for c in columns] == [f"{before:.2f}", f"{after:.2f}"]


@pytest.mark.usefixtures("no_pictures")
def test_the_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told of every iteration; with the mean of the last 20 running evaluations."""
    progress = MagicMock()
    monkeypatch.setattr(console, "progress", progress)
    settings = replace(
        SETTINGS, iterations=22, meta_batch=1, inner_steps=1, eval_every=1, test_tasks=0
    )
    run.train(settings, tmp_path)
    progress.assert_called_once_with(22, "training", done=0)
    update, records = progress.return_value.__enter__.return_value.update, lines(tmp_path)
    assert len(records) == update.call_count == 22
    last = sum(r["running"]["mse"][-1] for r in records[-20:]) / 20
    shown = {"loss": f"{records[-1]['loss']:.3f}", "mse@6": f"{last:.3f}"}
    assert update.call_args == call(1, shown)


def test_a_thousand_lines_are_wanted() -> None:
    assert run.LOG_LINES == 1000


@pytest.mark.usefixtures("no_pictures")
def test_without_evaluations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 turns each of them off; a run is then complete with its last iteration."""
    command = ["train", "sine", "--backend", "numpy", "--iterations", "3", "--eval-every", "0",
               "--test-tasks", "0", "--algorithm", "joint", "--out", str(tmp_path)]  # fmt: skip
    assert main(command) == 0
    assert [sorted(r) for r in lines(tmp_path)] == 3 * [["epsilon", "iteration", "loss", "seconds"]]
    out = capsys.readouterr().out
    assert "mean squared error" not in out
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert main(["resume", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path} is complete: 3 iterations\n")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("tests", [0, 2])
def test_a_run_of_no_iterations_is_complete(
    tests: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a picture, since there is nothing to draw; asked for one, `plot` says so."""
    command = ["train", "sine", "--backend", "numpy", "--iterations", "0", "--eval-steps", "2",
               "--test-tasks", str(tests), "--out", str(tmp_path)]  # fmt: skip
    assert main(command) == 0
    assert [r["iteration"] for r in lines(tmp_path)] == tests * [0]
    assert {p.name for p in tmp_path.iterdir()} == {CHECKPOINT, METRICS}
    capsys.readouterr()
    assert main(["resume", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path} is complete: 0 iterations\n")
    assert main(["plot", str(tmp_path)]) == 2
    assert "no iterations to draw yet" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_iteration_in_hand(
    signum: int, tmp_path: Path, snapshots: list[mr.Snapshot], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Not due for a checkpoint, it is saved, and nothing is tested; resumed, all is as it was."""
    append, handlers = metrics.append, [signal.getsignal(s) for s in (2, 15)]

    def interrupted(path: Path, record: metrics.Record) -> None:
        append(path, record)
        if record["iteration"] == 3:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(metrics, "append", interrupted)
    monkeypatch.setattr("minireptile.cli.commands.settings_from", lambda options: SETTINGS)
    assert main(["train", "sine", "--out", str(tmp_path)]) == 128 + signum
    assert "stopped after iteration 3, and saved: continue with resume\n" in capsys.readouterr().out
    assert [signal.getsignal(s) for s in (2, 15)] == handlers
    assert [r["iteration"] for r in lines(tmp_path)] == [1, 2, 3]
    assert_saved(tmp_path, snapshots[3])
    monkeypatch.setattr(metrics, "append", append)
    assert main(["resume", str(tmp_path)]) == 0
    assert [r["iteration"] for r in lines(tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 0, 7]
    assert_saved(tmp_path, snapshots[7])


def assert_saved(folder: Path, snapshot: mr.Snapshot) -> None:
    """The checkpoint holds this snapshot bit for bit, with its settings."""
    found, settings = checkpoint.load(folder / CHECKPOINT)
    assert settings == SETTINGS
    assert found.iteration == snapshot.iteration
    assert found.theta.tobytes() == snapshot.theta.tobytes()
    assert {k: v.tobytes() for k, v in found.state.items()} == {
        k: v.tobytes() for k, v in snapshot.state.items()
    }


def test_a_second_signal_kills(tmp_path: Path) -> None:
    from minireptile.runs.signals import collected

    with collected() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert [signal.getsignal(s) for s in (2, 15)] == 2 * [signal.SIG_DFL]


def test_a_run_begins_anew_without_the_old_baseline(tmp_path: Path) -> None:
    """--overwrite leaves nothing of the run before: neither metrics nor its baseline."""
    (tmp_path / "joint.safetensors").write_bytes(b"of another run")
    (tmp_path / METRICS).write_text('{"iteration": 99}\n')
    command = ["train", "sine", "--backend", "numpy", "--iterations", "1", "--test-tasks", "0"]
    assert main([*command, "--overwrite", "--out", str(tmp_path)]) == 0
    assert [r["iteration"] for r in lines(tmp_path)] == [1]
    assert checkpoint.load(tmp_path / "joint.safetensors")[1].algorithm == "joint"


DAMAGED = {
    "no JSON": "nonsense",
    "a number": "12",
    "a list": "[1]",
    "no iteration": '{"loss": 1.0}',
    "a fraction": '{"iteration": 1.5, "loss": 1.0}',
    "a loss in words": '{"iteration": 1, "loss": "low"}',
    "an evaluation that lacks a key": '{"iteration": 1, "loss": 1.0, "running": {"steps": [0]}}',
    "one that is a number": '{"iteration": 1, "loss": 1.0, "running": 3}',
    "one of another kind": '{"iteration": 1, "test": {"accuracy": 0.5, "accuracy_ci95": 0.1}}',
    "one cut short": '{"iteration": 1, "test": {"steps": [0, 1], "mse": [1], "mse_ci95": [1]}}',
    "nesting without end": "[" * 100_000,
}


@pytest.mark.parametrize("command", ["plot", "resume"])
@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_line_is_named(
    case: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, optimizer = mr.sine_mlp(), mr.SGD(0.02)
    settings = Settings(dataset="sine", network="sine", backend="numpy", optimizer="sgd")
    snapshot = mr.Snapshot(2, model.init(0), optimizer.init(model.init(0)), None)  # type: ignore
    checkpoint.save(tmp_path / CHECKPOINT, snapshot, settings)
    good = '{"iteration": 1, "loss": 2.0}\n'
    (tmp_path / METRICS).write_text(good + DAMAGED[case] + "\n" + good)
    assert main([command, str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert errors.endswith(
        f"{tmp_path / METRICS}, line 2 is not a record of this run: remove the line, or restore "
        "the file from a copy\n"
    )
    assert errors.count("\n") == 1
    assert (tmp_path / METRICS).read_text() == good + DAMAGED[case] + "\n" + good


def test_only_a_line_cut_short_at_the_end_is_left_out(tmp_path: Path) -> None:
    path, good = tmp_path / METRICS, '{"iteration": 1, "loss": 2.0}'
    assert metrics.read(path, dict) == []
    path.write_text(f'{good}\n{{"iteration": 2, "lo')
    assert metrics.read(path, dict) == [{"iteration": 1, "loss": 2.0}]
    path.write_text(f'{good}\n{{"iteration": 2, "loss": []}}')
    with pytest.raises(mr.InputError, match="line 2 is not a record"):
        metrics.read(path, dict)


def test_rewinding_keeps_what_was_done(tmp_path: Path) -> None:
    """Up to the iteration, which is kept, and without tests, which come after the last."""
    path = tmp_path / METRICS
    records: list[dict] = [{"iteration": i, "loss": 1.0} for i in (1, 2, 3)]
    tests: list[dict] = [{"iteration": i, "test": {}} for i in (0, 3)]
    path.write_text("".join(json.dumps(r) + "\n" for r in [*records, *tests]))
    metrics.rewind(path, 2, dict)
    assert lines(tmp_path) == records[:2]
