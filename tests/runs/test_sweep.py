"""Sweeps: the runs of one are those trained alone, whatever interrupts it; what it says of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.cli import grid as options_of
from minireptile.cli import main
from minireptile.cli import sweep as command
from minireptile.runs import checkpoint, plot_sweep, sweep, sweep_table
from minireptile.runs.cell import held
from minireptile.runs.folder import CHECKPOINT, LOG, METRICS, SWEEP
from minireptile.runs.naming import name_in_sweep
from minireptile.runs.sweep import Cell, Standing

from .run_helpers import SMALL, Asked, assert_same_run, fails, start

COMMAND = ["sweep", *SMALL[1:]]
RATES = ["0.002", "0.02"]


def asked(*more: str, iterations: int = 3, out: Path | None = None) -> list[str]:
    """A small sweep over sine waves."""
    words = [w for w in COMMAND if w not in ("--inner-lr", "0.002")]
    return [*words, "--iterations", str(iterations), *more, *(["--out", str(out)] if out else [])]


def alone(folder: Path, rate: str, seed: int, iterations: int = 3) -> Path:
    """One of its runs, by `train`."""
    words = asked("--inner-lr", rate, "--seed", str(seed), iterations=iterations, out=folder)
    assert main(["train", *words[1:]]) == 0
    return folder


def cells(folder: Path, *more: str, **options: Any) -> list[Cell]:
    """Those of a sweep, without a process."""
    given = {"dataset": "sine", "backend": "numpy", "iterations": 3, "seeds": 3, **options}
    return options_of.cells_of(given, folder)


def made(all: list[Cell], tests: dict[int, Any]) -> list[Cell]:
    """Complete runs, of these test records by their order; None: begun; a text: failed, and why."""
    for i, test in tests.items():
        cell = all[i]
        cell.folder.mkdir(parents=True)
        if isinstance(test, str):
            (cell.folder / LOG).write_text(f"header\nminireptile: {test}\n")
            continue
        done = 1 if test is None else cell.settings.iterations
        run = mr.Snapshot(done, np.ones(1), {}, np.empty(0))
        checkpoint.save(cell.folder / CHECKPOINT, run, cell.settings)
        records: list[dict[str, Any]] = [{"iteration": 1, "loss": 0.5}]
        records += [{"iteration": n, "test": test} for n in (0, done) if test]
        (cell.folder / METRICS).write_text("".join(json.dumps(r) + "\n" for r in records))
    return all


def error(mse: float) -> dict[str, Any]:
    return {"steps": [0, 32], "mse": [3.0, mse], "mse_ci95": [0.5, None], "tasks": 2}


def accuracy(plain: float, transductive: float) -> dict[str, Any]:
    return {"accuracy": plain, "accuracy_ci95": 0.01, "transductive_accuracy": transductive,
            "transductive_accuracy_ci95": 0.01, "tasks": 5}  # fmt: skip


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


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Means over seeds, by Student's t: of 1 and 3, 2 ± 12.71; what failed and what is to do."""
    grid = cells(tmp_path, inner_lr=[0.02, 0.01], rotations=True)
    made(grid, {0: error(1.0), 1: error(3.0), 3: error(0.125), 4: "no luck", 5: None})
    options_of.keep({"dataset": "sine", "seeds": 3, "iterations": 3, "inner_lr": [0.01, 0.02]},
                  grid[0].settings, tmp_path)  # fmt: skip
    assert main(["sweep", "--out", str(tmp_path), "--table"]) == 0
    head, names, *lines, note, picture = capsys.readouterr().out.splitlines()
    assert head == "mean squared error on 200 unseen tasks of sine, 10 points each"
    assert names.split() == ["inner-lr", "mean", "squared", "error", "seeds"]
    assert [" ".join(line.split()) for line in lines] == [
        "0.01 2.00 ± 12.71 2 1 to do",
        "0.02 0.125 1 seed 1 failed, 1 to do",
    ]
    assert "Student" in note
    assert picture == f"picture: {tmp_path / 'sweep.png'}"
    assert main(["sweep", "--out", str(tmp_path), "--table", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["settings"] for row in found["rows"]] == [{"inner_lr": 0.01}, {"inner_lr": 0.02}]
    figure = found["rows"][0]["figures"]["mean squared error"]
    assert figure["mean"] == 2.0
    assert figure["ci95"] == pytest.approx(12.71)
    assert figure["values"] == [1.0, 3.0]
    assert found["rows"][0]["seeds"] == [0, 1]
    assert found["rows"][0]["to_do"] == [2]
    assert found["rows"][1]["failed"] == {"1": "no luck"}
    assert found["rows"][1]["figures"]["mean squared error"]["ci95"] is None


def test_both_accuracies(tmp_path: Path) -> None:
    grid = cells(tmp_path, dataset="glyphs", seeds=[3, 7])
    made(grid, {0: accuracy(0.8, 0.9), 1: accuracy(0.82, 0.9)})
    found = sweep_table.rows({cell: cell.standing() for cell in grid})
    assert sweep_table.table(found, grid[0].measure) == [
        ["", "accuracy", "transductive accuracy", "seeds"],
        ["all", "81.00 ± 12.71", "90.00 ± 0.00", "2"],
    ]


def test_a_test_that_diverged_is_no_figure(tmp_path: Path) -> None:
    (cell,) = made(cells(tmp_path, seeds=1), {0: error(float("inf"))})
    standing = cell.standing()
    assert standing.values  # complete, and not trained again
    assert standing.failed == "it diverged on tasks of its test"
    assert sweep_table.rows({cell: standing})[0].seeds == []


def draw(drawn: Callable, grid: list[Cell], tests: list[float]) -> Any:
    """The picture of a sweep with these losses."""
    figures = drawn(plot_sweep)
    made(grid, dict(enumerate(map(error, tests))))
    found = sweep_table.rows({cell: cell.standing() for cell in grid})
    plot_sweep.draw(found, grid[0].measure, grid[0].settings, grid[0].folder.parent)
    (figure,) = figures
    return figure


def test_the_picture(tmp_path: Path, drawn: Callable) -> None:
    """The number with most values along the axis, logarithmic over more than a factor of 10; a
    line for each value of the other setting, each seed a dot."""
    grid = cells(tmp_path, inner_lr=[0.001, 0.01, 0.02], inner_steps=[2, 5], seeds=2)
    (ax,) = draw(drawn, grid, [1.0 + 0.1 * i for i in range(12)]).axes
    assert ax.get_xlabel() == "inner-lr"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    labels = ax.get_legend_handles_labels()[1]
    assert labels == ["inner-steps 2", "inner-steps 5"]
    (line, *_), *_ = ax.containers
    order = [cell.values["inner_steps"] for cell in grid[::2]]
    means = [1.05 + 0.2 * i for i in range(6)]
    assert list(line.get_xdata()) == [0.001, 0.01, 0.02]
    np.testing.assert_allclose(
        line.get_ydata(), [m for m, steps in zip(means, order, strict=True) if steps == 2]
    )
    dots = [each for each in ax.lines if each.get_marker() == "."]
    assert sorted(y for each in dots for y in each.get_ydata()) == pytest.approx(
        [1.0 + 0.1 * i for i in range(12)]
    )
    low, high = ax.get_ylim()
    half = 12.71 * 0.05
    assert low < means[0] - half or low <= 0
    assert high > means[-1] + half


def test_what_diverged_leaves_room_for_the_others(tmp_path: Path, drawn: Callable) -> None:
    grid = cells(tmp_path, algorithm=["reptile", "fomaml", "maml"], seeds=1)
    figure = draw(drawn, grid, [1.0, 2.0, 1e30])
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["reptile", "fomaml", "maml"]
    assert ax.get_ylim()[1] < 10
    assert "1 beyond the axis" in figure.get_suptitle()


def test_no_line_leads_to_what_diverged(tmp_path: Path, drawn: Callable) -> None:
    grid = cells(tmp_path, inner_lr=[0.01, 0.02, 0.06], seeds=1)
    (line, *_), *_ = draw(drawn, grid, [1.0, 2.0, 1e30]).axes[0].containers
    np.testing.assert_array_equal(line.get_ydata(), [1.0, 2.0, np.nan])


def test_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By seeds and by values of what varies; what is complete is not trained again."""
    old = {"dataset": "sine", "seeds": 1, "iterations": 3, "inner_lr": [0.01, 0.02]}
    grid = made(cells(tmp_path, **old), {0: error(1.0), 1: error(2.0)})
    options_of.keep(old, grid[0].settings, tmp_path)
    to_do = Asked()
    monkeypatch.setattr(sweep, "run_all", to_do)
    monkeypatch.setattr(command, "_code", lambda cells: 0)
    words = ["sweep", "sine", "--iterations", "3", "--out", str(tmp_path), "--workers", "9"]
    assert main([*words, "--seeds", "0,3", "--inner-lr", "0.01,0.02,0.04"]) == 0
    ((all, count), _), *more = to_do.calls
    assert not more
    names = [cell.folder.name for cell in all if cell.standing().values is None]
    assert names == [f"inner-lr-{rate}-seed-{seed}" for rate, seed in
                     (("0.01", 3), ("0.02", 3), ("0.04", 0), ("0.04", 3))]  # fmt: skip
    assert count == 4
    kept = json.loads((tmp_path / SWEEP).read_text())
    assert (kept["seeds"], kept["inner_lr"]) == ([0, 3], [0.01, 0.02, 0.04])
    assert kept["backend"] == "numpy"


SINE = ["sweep", "sine", "--backend", "numpy", "--seeds", "2"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweep"], "sweep needs a data set, one of sine, glyphs, "),
        (["sweep", "sine"], "sweep needs --seeds, such as --seeds 5 for 0 to 4"),
        (["sweep", "sine", "--seeds", "0"], "--seeds must be how many, at least 1, or a list of"),
        (["sweep", "sine", "--seeds", "3,3"], "--seeds has 3 twice: name each value once"),
        (["sweep", "sine", "--seeds", "two"], "--seeds must be a whole number, not 'two'"),
        (["sweep", "sine", "--seed", "2"], "sweep has no option --seed: did you mean --seeds?"),
        ([*SINE, "--inner-lr", "0.1,x"], "--inner-lr must be a number, not 'x'"),
        ([*SINE, "--inner-lr", "0.1,1e-1"], "--inner-lr has 0.1 twice: name each value once"),
        ([*SINE, "--split", "a b,a_b"],
         "two of the values mean the same: name each once"),
        ([*SINE, "--inner-lr", "0.1,-1"], "--inner-lr -1.0: SGD: lr must be positive, not -1.0"),
        ([*SINE, "--algorithm", "maml,mam"], "--algorithm must be one of reptile, "),
        ([*SINE, "--inner-lr", "1", "--inner-lr", "2"], "sweep has --inner-lr twice: its values "),
        ([*SINE, "--seeds=3"], "sweep has --seeds twice: its values go into one list, --seeds A,B"),
        ([*SINE, "--workers", "0"], "--workers must be a whole number, at least 1, not 0"),
        ([*SINE, "--test-tasks", "0"], "a sweep compares runs by their tests: --test-tasks must"),
        ([*SINE, "--shot", "0,1"], "--shot must be at least 1"),
        ([*SINE, "--table", "--out", "nowhere"], "there is no sweep in nowhere: begin one with"),
        ([*SINE, "--out", "run"], "run holds a run, and no sweep: choose another --out"),
        ([*SINE, "--out", "full"], "full is not empty, and holds no sweep: choose another --out"),
        ([*SINE, "--out", "file"], "cannot read file/sweep.json: Not a directory; choose another"),
        ([*SINE, "--out", "damaged"], "damaged/sweep.json is not of a sweep, or of a newer one"),
        ([*SINE, "--out", "other", "--inner-lr", "0.1,0.2"],
         "other is a sweep over seeds alone, and this one is over inner-lr: choose another --out"),
        ([*SINE, "--out", "other", "--inner-lr", "0.1"],
         "other is a sweep with --inner-lr 0.02, not 0.1: a sweep may gain seeds and values"),
        (["sweep", "sine", "--backend", "numpy", "--seeds", "1,", "--out", "other"],
         "other has seed-0 too, which these options leave out: name its values with the others"),
        ([*SINE, "--iterations", "3", "--out", "way"],
         "way/seed-0 is in the way: its run has --iterations 4, and not 3; choose another --out"),
    ],
)  # fmt: skip
def test_what_cannot_be(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A sentence, and nothing half-written."""
    monkeypatch.chdir(tmp_path)
    for name in ("run", "full", "damaged"):
        Path(name).mkdir()
    Path("run", CHECKPOINT).touch()
    Path("full", "thesis.tex").touch()
    Path("file").touch()
    Path("damaged", SWEEP).write_text("[]")
    other = {"dataset": "sine", "seeds": 2}
    for name, options in (("other", other), ("way", {**other, "iterations": 3})):
        Path(name).mkdir()
        options_of.keep(options, cells(Path(name), **options)[0].settings, Path(name))
    made(cells(Path("way"), seeds=1, iterations=4), {0: None})
    before = sorted(tmp_path.rglob("*"))
    fails(capsys, words, f"minireptile: {sentence}")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML comes with Python 3.11")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "seeds = 5\ndataset = sine",
            "sweep.toml is no TOML: Invalid value (at line 2, column 11)",
        ),
        ("inner-rl = 1", "sweep.toml has 'inner-rl', which is no option of sweep: did you mean"),
        ("[inner-lr]\na = 1", "sweep.toml: inner-lr must be a value or a list of values, not {"),
        ("inner-lr = 1\ninner_lr = 2", "sweep.toml has 'inner_lr' twice, once with - and once "),
        ("inner-lr = []", "--inner-lr has no values: give it one, or leave it out"),
        ("inner-lr = ['a']", "--inner-lr must be of type float, not 'a'"),
        ("dataset = 'sin'", "there is no dataset 'sin': did you mean sine?"),
        ("dataset = ['sine']", "there is no dataset \"['sine']\""),
        ("preset = 'sin'", "there is no preset 'sin': did you mean sine?"),
        ("data = ['a', 'b']", "--data has one value in a sweep, not several"),
        ("seeds = 'all'", "--seeds must be how many, at least 1, or a list of seeds"),
        ("seeds = [1, 2.5]", "--seeds must be how many, at least 1, or a list of seeds"),
        ("workers = 'many'", "--workers must be a whole number, at least 1, not 'many'"),
        ("out = 3", "sweep.toml: out must be a folder, in quotes, not 3"),
    ],
    ids=count(),
)
def test_a_file_that_cannot_be(
    text: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    usual = {"dataset": "'sine'", "backend": "'numpy'", "seeds": "2"}
    lines = [f"{key} = {value}" for key, value in usual.items() if f"{key} =" not in text]
    Path("sweep.toml").write_text("\n".join([text, ""] if "at line" in sentence or "[inner" in text
                                            else [text, *lines, ""]))  # fmt: skip
    fails(capsys, ["sweep", "--file", "sweep.toml"], f"minireptile: {sentence}")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.toml"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML comes with Python 3.11")
def test_a_file_and_options_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line says holds; the folder is named after what is fixed and what varies."""
    monkeypatch.chdir(tmp_path)
    Path("sweep.toml").write_text(
        'dataset = "glyphs"\nbackend = "numpy"\nseeds = [4, 2]\nworkers = 3\ninner-lr = [1, 0.5]\n'
        "rotations = [true, false]\nmeta_batch = 3\n"
    )
    monkeypatch.setattr(sweep, "try_out", Asked())
    monkeypatch.setattr(sweep, "run_all", asked := Asked())
    monkeypatch.setattr(command, "_code", lambda cells: 0)
    assert main(["sweep", "--file", "sweep.toml", "--seeds", "7,"]) == 0
    (((found, workers), _),) = asked.calls
    assert workers == 3
    folder = Path(
        "runs/sweep-glyphs-5way-1shot-reptile-meta_batch3-backend_numpy-rotations-inner-lr"
    )
    assert [cell.folder for cell in found] == [
        folder / f"rotations-{yes}-inner-lr-{rate}-seed-7"
        for yes in ("yes", "no") for rate in ("0.5", "1.0")
    ]  # fmt: skip
    assert {cell.settings.meta_batch for cell in found} == {3}
    assert [cell.settings.inner_lr for cell in found] == [0.5, 1.0, 0.5, 1.0]


def test_two_sweeps_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(tmp_path):
        fails(capsys, [*SINE, "--out", str(tmp_path)],
              f"another sweep is at work in {tmp_path}: wait for its end, or stop it")  # fmt: skip


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


def test_if_all_fail_alike_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where there are no data."""
    grid = made(cells(tmp_path), dict.fromkeys(range(3), "there are no data"))
    with pytest.raises(mr.InputError, match="all runs failed: there are no data"):
        command._code(grid)


def test_names_in_a_sweep() -> None:
    values = {"inner_lr": 1e-05, "rotations": False, "split": "a b/c"}
    assert name_in_sweep(values, 2) == "inner-lr-1e-05-rotations-no-split-a_b_c-seed-2"
    many = {f"number_{i}": i for i in range(30)}
    names = {name_in_sweep({**many, "number_29": n}, 10) for n in range(3)}
    assert len(names) == 3
    assert all(len(name) <= 100 and name.endswith("-seed-10") for name in names)


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
