"""What may be asked of a sweep, by options and in a file, and what cannot be."""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path

import pytest

from minireptile.cli import grid as options_of
from minireptile.cli import main
from minireptile.cli import sweep as command
from minireptile.runs import sweep
from minireptile.runs.cell import held
from minireptile.runs.folder import CHECKPOINT, SWEEP
from minireptile.runs.naming import name_in_sweep

from .run_helpers import Asked, fails
from .sweep_helpers import cells, error, made


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


def test_names_in_a_sweep() -> None:
    values = {"inner_lr": 1e-05, "rotations": False, "split": "a b/c"}
    assert name_in_sweep(values, 2) == "inner-lr-1e-05-rotations-no-split-a_b_c-seed-2"
    many = {f"number_{i}": i for i in range(30)}
    names = {name_in_sweep({**many, "number_29": n}, 10) for n in range(3)}
    assert len(names) == 3
    assert all(len(name) <= 100 and name.endswith("-seed-10") for name in names)
