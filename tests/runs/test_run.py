"""Runs that are stopped, killed, resumed and broken."""

from __future__ import annotations

import random
import resource
import signal
from pathlib import Path

import pytest

from minireptile.cli import main
from minireptile.runs import metrics
from minireptile.runs.folder import CHECKPOINT, METRICS
from minireptile.runs.measures import MEASURES

from .run_helpers import arrays, assert_same_run, small_run, start, wait_for_lines

ITERATIONS = 60
VALUES = MEASURES["regression"].values


def records_of(folder: Path) -> list[metrics.Record]:
    return metrics.read(folder / METRICS, VALUES)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(small_run(ITERATIONS, folder)) == 0
    return folder


def without_seconds(folder: Path) -> list[dict]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records_of(folder)]


def test_a_run_folder_holds_what_it_should(uninterrupted: Path) -> None:
    assert {p.name for p in uninterrupted.iterdir()} == {
        CHECKPOINT, METRICS, "learning_curve.png", "adaptation.png", "joint.safetensors",
    }  # fmt: skip
    assert arrays(uninterrupted).keys() == {"theta", "iteration", "v", "m", "t"}
    records = records_of(uninterrupted)
    assert [r["iteration"] for r in records if "loss" in r] == list(range(1, ITERATIONS + 1))
    assert [r["iteration"] for r in records if "running" in r] == [20, 40, 60]
    assert [r["iteration"] for r in records if "test" in r] == [0, ITERATIONS]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_killed_at_a_random_moment_a_run_resumes_bit_for_bit(
    uninterrupted: Path, tmp_path: Path, seed: int
) -> None:
    folder, rng = tmp_path / "run", random.Random(seed)
    process = start(small_run(ITERATIONS, folder))
    for _ in range(3):  # killed three times on its way
        wait_for_lines(folder, rng.randrange(ITERATIONS - 10), process)
        process.kill()
        process.communicate()
        process = start(["resume", str(folder)])
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert_same_run(folder, uninterrupted)
    assert without_seconds(folder) == without_seconds(uninterrupted)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_iteration_saves_and_exits(
    uninterrupted: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    folder = tmp_path / "run"
    process = start(small_run(ITERATIONS * 100, folder))
    wait_for_lines(folder, 5, process)
    process.send_signal(signum)
    out, errors = process.communicate()
    assert process.returncode == 128 + signum
    assert "Traceback" not in errors
    stopped = int(arrays(folder)["iteration"])
    assert f"stopped after iteration {stopped}, and saved" in out


def test_resuming_a_complete_run_changes_nothing(
    uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p.name: p.read_bytes() for p in uninterrupted.iterdir()}
    assert main(["resume", str(uninterrupted)]) == 0
    assert "complete" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in uninterrupted.iterdir()} == before


def test_killed_during_the_evaluation_at_the_end_a_run_evaluates_again(tmp_path: Path) -> None:
    assert main(small_run(5, tmp_path)) == 0
    whole = (tmp_path / METRICS).read_text()
    (tmp_path / METRICS).write_text("".join(whole.splitlines(keepends=True)[:-1]))
    (tmp_path / "learning_curve.png").unlink()
    assert main(["resume", str(tmp_path)]) == 0
    assert (tmp_path / METRICS).read_text() == whole
    assert (tmp_path / "learning_curve.png").exists()


def test_a_second_run_never_replaces_the_first_unasked(
    uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = arrays(uninterrupted)
    assert main(small_run(5, uninterrupted)) == 2
    assert capsys.readouterr().err == (
        f"minireptile: {uninterrupted} holds a run already: continue it with 'minireptile resume "
        f"{uninterrupted}', choose another --out, or pass --overwrite\n"
    )
    assert arrays(uninterrupted)["iteration"] == before["iteration"]


@pytest.mark.usefixtures("no_pictures")
def test_overwrite_starts_anew(tmp_path: Path) -> None:
    assert main(small_run(5, tmp_path)) == 0
    assert main([*small_run(3, tmp_path), "--overwrite"]) == 0
    assert arrays(tmp_path)["iteration"] == 3
    assert [r["iteration"] for r in records_of(tmp_path)] == [1, 2, 3, 0, 3]


def test_a_full_disk_loses_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    size = (uninterrupted / CHECKPOINT).stat().st_size

    def no_room() -> None:  # the first checkpoint fits, and then the metrics fill up
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))

    process = start([*small_run(100_000, folder), "--eval-every", "1"], preexec_fn=no_room)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "File too large" in errors
    assert "Traceback" not in errors
    assert arrays(folder)["iteration"] % 7 == 0
    assert main(["evaluate", str(folder), "--tasks", "2"]) == 0
    assert sorted(p.name for p in folder.iterdir()) == [CHECKPOINT, METRICS]


@pytest.mark.usefixtures("no_pictures")
def test_a_checkpoint_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(small_run(7, folder)) == 0
    before = (folder / CHECKPOINT).read_bytes()
    limit = len(before) // 2

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start([*small_run(9, folder), "--overwrite"], preexec_fn=no_room)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "cannot write" in errors
    assert (folder / CHECKPOINT).read_bytes() == before
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_a_diverging_run_says_so_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "train",
        "sine",
        "--backend",
        "numpy",
        "--inner-lr",
        "1e30",
        "--iterations",
        "50",
        "--out",
    ]
    assert main([*arguments, str(tmp_path)]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "diverged" in message
    assert "--inner-lr" in message
    assert arrays(tmp_path)["iteration"] == 0


def test_plot_redraws_the_pictures(uninterrupted: Path) -> None:
    pictures = [uninterrupted / "learning_curve.png", uninterrupted / "adaptation.png"]
    before = [p.read_bytes() for p in pictures]
    for picture in pictures:
        picture.unlink()
    assert main(["plot", str(uninterrupted)]) == 0
    assert [p.read_bytes() for p in pictures] == before
