"""The runs of a sweep are those trained alone, whatever interrupts it; how they share the cores."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import minireptile as mr
from minireptile.cli import main
from minireptile.runs import checkpoint, console, sweep
from minireptile.runs.cell import held
from minireptile.runs.folder import CHECKPOINT, LOG, METRICS
from minireptile.runs.sweep import Cell, Standing

from .run_helpers import Asked, assert_same_run, start
from .sweep_helpers import alone, asked, cells, error, made

RATES = ["0.002", "0.02"]


def rest_at_work(folder: Path) -> list[str]:
    """The runs of a sweep that a process still holds."""
    at_work = []
    for lock in folder.glob("*/.lock"):
        try:
            with held(lock.parent, wait=False):
                pass
        except BlockingIOError:
            at_work.append(lock.parent.name)
    return at_work


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(3, marks=pytest.mark.long)]
)
def test_its_runs_are_those_trained_alone(
    workers: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bit for bit; and the same command again trains nothing."""
    words = asked("--seeds", "2", "--inner-lr", ",".join(RATES), "--workers", str(workers),
                  out=tmp_path / "all")  # fmt: skip
    assert main(words) == 0
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert lines[1].split() == ["inner-lr", "mean", "squared", "error", "seeds"]
    assert [line.split()[0] for line in lines[2:4]] == RATES
    assert lines[-1] == f"picture: {tmp_path / 'all' / 'sweep.png'}"
    assert f"sweep: 4 runs, {workers} at a time, in " in said.err
    for rate in RATES:
        for seed in range(2):
            name = f"inner-lr-{rate}-seed-{seed}"
            assert_same_run(tmp_path / "all" / name, alone(tmp_path / name, rate, seed))
            assert (tmp_path / "all" / name / LOG).read_text().startswith("backend    numpy")
    capfd.readouterr()
    assert main(["sweep", "--out", str(tmp_path / "all")]) == 0
    again = capfd.readouterr()
    assert again.out == said.out
    assert again.err == ""


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_or_killed_it_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    """In the middle of its runs, which no checkpoint is due in: as a terminal interrupts all of its
    processes, or the sweep alone is killed. They are saved, no process is left, and in the end the
    bits are the same."""
    iterations, folder = 200, tmp_path / "all"
    words = asked("--seeds", "2", "--inner-lr", "0.002,", "--workers", "2",
                  iterations=iterations, out=folder)  # fmt: skip
    words[words.index("--checkpoint-every") + 1] = "1000"
    begun = start(words, start_new_session=True)
    first = folder / "inner-lr-0.002-seed-0"
    while not (first / METRICS).exists() or (first / METRICS).read_text().count("\n") < 7:
        assert begun.poll() is None, begun.communicate()
        time.sleep(0.01)
    if how == signal.SIGINT:
        os.killpg(begun.pid, signal.SIGINT)
        out, err = begun.communicate()
        assert begun.returncode == 130, err
        assert re.match(r"stopped, and saved: \d of 2 runs are complete; continue with: ", out)
        assert out.endswith(f"minireptile sweep --out {folder}\n")
        assert rest_at_work(folder) == []
    else:
        begun.kill()
        begun.communicate()
        with held(first):  # once its process is done with saving
            pass
    reached = checkpoint.load(first / CHECKPOINT)[0].iteration
    assert reached >= 7
    assert main(["sweep", "--out", str(folder)]) == 0
    assert rest_at_work(folder) == []
    assert reached == iterations or f"from iteration {reached} on" in (first / LOG).read_text()
    for seed in range(2):
        trained = alone(tmp_path / str(seed), "0.002", seed, iterations)
        assert_same_run(folder / f"inner-lr-0.002-seed-{seed}", trained)


def test_a_run_ends_with_its_sweep(tmp_path: Path) -> None:
    """Its standard input is a pipe, which ends with whoever holds the other end."""
    (cell,) = cells(tmp_path, iterations=100_000, seeds=1, optimizer="sgd", eval_every=0)
    workers = sweep.Workers()
    workers.start(cell, 1)
    ((process, log),) = workers.at_work.values()
    log.close()
    while not cell.logged():
        assert process.poll() is None, (cell.folder / LOG).read_text()
        time.sleep(0.01)
    assert rest_at_work(tmp_path) == [cell.folder.name]
    assert process.stdin
    process.stdin.close()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert 0 < cell.standing().iteration < 100_000


@pytest.mark.usefixtures("no_pictures")
def test_one_that_fails_stops_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = asked("--seeds", "1", "--inner-lr", "0.002,1e30", "--optimizer", "sgd", out=tmp_path)
    words[words.index("adam") - 1 : words.index("adam") + 1] = []
    assert main(words) == 1
    said = capfd.readouterr()
    rows = [line.split() for line in said.out.splitlines()[2:4]]
    assert rows[0][0] == "0.002"
    assert rows[0][-1] == "1"
    assert rows[1] == ["1e+30", "-", "0", "seed", "0", "failed"]
    assert said.err.splitlines()[-1] == (
        "minireptile: 1 of 2 runs failed; inner-lr-1e+30-seed-0: the run diverged: a loss or "
        "parameter became NaN or infinite in iteration 1"
    )


def test_what_compiles_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each kind of run, before their processes start."""
    monkeypatch.setattr(sweep, "warm_up", asked := Asked())
    monkeypatch.setattr(sweep, "build", lambda s, data: SimpleNamespace(settings=s))
    walked = cells(tmp_path, inner_lr=[0.1, 0.2], optimizer=["adam", "sgd"])
    compiled = [replace(c, settings=replace(c.settings, backend="numba")) for c in walked]
    sweep.try_out([*compiled, *cells(tmp_path)])
    warmed = [arguments[0].settings for arguments, _ in asked.calls]
    assert {s.optimizer for s in warmed} == {"adam", "sgd"}
    assert {s.backend for s in warmed} == {"numba"}
    assert len(warmed) == 2


def test_what_ended_a_run_is_in_its_log(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, seeds=1)
    cell.folder.mkdir()
    workers = sweep.Workers()
    process = subprocess.Popen(
        [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], stdin=subprocess.PIPE
    )
    workers.at_work[cell] = process, open(cell.folder / LOG, "ab")  # noqa: SIM115
    process.wait()
    assert workers.ended() == [cell]
    assert cell.standing() == Standing(failed="ended by SIGKILL")
    assert sweep._result(cell, cell.standing()) == "failed: ended by SIGKILL"


@pytest.mark.parametrize(
    ("cores", "given", "runs", "workers", "threads"),
    [
        (8, None, 4, 2, "4 4 4 4"),
        (2, None, 5, 2, "1 1 1 1 2"),  # the last one has both cores
        (2, None, 3, 3, "1 1 1"),
        (64, None, 5, 5, "12 12 12 12 12"),
        (8, "3", 3, 2, "3 3 3"),
    ],
)
def test_the_cores_are_shared_out(
    cores: int, given: str | None, runs: int, workers: int, threads: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Among the runs of a wave, unless somebody says otherwise; BLAS has one thread."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("NUMBA_NUM_THREADS", given)
    started: list[dict[str, str]] = []

    def process(command: list[str], env: dict[str, str], **more: Any) -> Any:
        started.append(env)
        return subprocess_popen([sys.executable, "-c", ""], **more)

    subprocess_popen = subprocess.Popen
    monkeypatch.setattr(sweep.subprocess, "Popen", process)
    sweep.run_all(cells(tmp_path, seeds=runs), workers)
    assert [env["NUMBA_NUM_THREADS"] for env in started] == threads.split()
    assert {env["OPENBLAS_NUM_THREADS"] for env in started} == {"1"}
    package = str(Path(mr.__file__).parents[1])
    assert {env["PYTHONPATH"].split(os.pathsep)[0] for env in started} == {package}


def test_the_bar_is_of_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those from before count, and what a run that failed leaves undone counts no more."""
    lines: list[list[str]] = []

    class Twice:
        """At work until it was looked at twice; then it has failed, or is complete."""

        def __init__(self) -> None:
            self.at_work: dict[Cell, int] = {}

        def start(self, cell: Cell, share: int) -> None:
            self.at_work[cell] = 0
            if not cell.folder.exists():
                made([cell], {0: None})

        def ended(self) -> list[Cell]:
            self.at_work = {cell: looks + 1 for cell, looks in self.at_work.items()}
            done = [cell for cell, looks in self.at_work.items() if looks == 3]
            for cell in done:
                del self.at_work[cell]
                (cell.folder / LOG).write_text("minireptile: no luck\n")
            return done

        def end(self) -> None:
            assert not self.at_work

    @contextmanager
    def progress(*about: Any) -> Iterator[console.Bar]:
        bar = console.Bar(*about)
        bar.every, bar.draw = 0, lambda: lines.append([bar.name, *bar.figures()])
        bar.looks.clear()
        bar.looks.append((float("inf"), 0))  # no rate, so no time that is left
        yield bar

    for name, value in {"Workers": Twice, "COUNT": 0.0, "LOOK": 0.0}.items():
        monkeypatch.setattr(sweep, name, value)
    monkeypatch.setattr(console, "progress", progress)
    grid = made(cells(tmp_path, seeds=3, iterations=4), {0: error(1.0)})
    sweep.run_all(grid, 1)
    at_work = ["sweep", "5/12 iterations", "runs 1/3", "at work 25%"]
    assert at_work in lines
    assert ["sweep", "6/9 iterations", "runs 2/3", "at work 25%", "failed 1"] in lines
    assert lines[-1] == ["sweep", "6/6 iterations", "runs 3/3", "at work ", "failed 2"]
