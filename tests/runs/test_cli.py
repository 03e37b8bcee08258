"""The command line as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import minireptile as mr
from minireptile.cli import commands, main
from minireptile.cli.commands import COMMANDS
from minireptile.reproduce import EXPERIMENTS
from minireptile.runs import checkpoint, run
from minireptile.runs.experiment import build
from minireptile.runs.settings import Settings
from minireptile.runs.sources import SOURCES

from .run_helpers import TINY, Asked, fails, picture_folder, saved, settings, start
from .test_experiment import OTHER


def test_every_setting_has_its_option() -> None:
    """Each given by its name, none at its default, and each arrives where it belongs."""
    given = {**OTHER, "tf32": False}
    words = []
    for name, value in given.items():
        option = name.replace("_", "-")
        flag = value if type(value) is bool else None
        if name != "dataset":
            words += [
                f"--{option}={value}" if flag is None else f"--{'' if flag else 'no-'}{option}"
            ]
    made = settings(given["dataset"], *words)
    assert made == Settings(**{**given, "data": str(Path("elsewhere").resolve())})


@pytest.mark.usefixtures("no_pictures", "tiny")
def test_training_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "glyphs", *TINY, "--shot", "2"]) == 0
    out = capsys.readouterr().out
    for words in ("5-way 2-shot accuracy", "before", "after", "transductive accuracy"):
        assert words in out
    [folder] = Path("runs").iterdir()
    assert folder.name.startswith("glyphs-5way-2shot-reptile-iterations3-meta_batch2-")
    assert out.endswith(f"\nrun: {folder}\n")
    assert {p.name for p in folder.iterdir()} == {"checkpoint.safetensors", "metrics.jsonl"}
    assert main(["train", "glyphs", *TINY, "--shot", "2"]) == 2
    assert f"continue it with 'minireptile resume {folder}'" in capsys.readouterr().err


def test_drawn_characters_can_be_trained_on(tmp_path: Path) -> None:
    few = ["--classes", "12", "--drawers", "2", "--train-shots", "2", "--test-tasks", "0"]
    assert main(["train", "glyphs", *TINY, *few, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "learning_curve.png").stat().st_size > 10_000


@pytest.mark.usefixtures("no_pictures", "tiny")
@pytest.mark.parametrize("algorithm", ["fomaml", "maml", "imaml"])
@pytest.mark.parametrize("dataset", ["sine", "glyphs"])
def test_training_reptiles_relatives_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dataset: str, algorithm: str
) -> None:
    """And resumed, they go on as if they had never stopped, with the outer optimizer's state."""
    tiny = TINY if dataset == "glyphs" else [t for t in TINY if t not in ("--filters", "4")]
    tail = ["--tail", "separate", "--tail-shots", "3", "--outer-beta1", "0.5"]
    stiff = ["--prox", "1000", "--inner-lr", "0.001"] if algorithm == "imaml" else []
    command = ["train", dataset, "--algorithm", algorithm, *tiny, *tail, *stiff]
    assert main([*command, "--out", str(tmp_path)]) == 0, capsys.readouterr().err
    path = tmp_path / "checkpoint.safetensors"
    whole, settings = checkpoint.load(path)
    assert {"outer.m", "outer.v", "outer.t"} <= whole.state.keys()
    assert (settings.tail, settings.tail_shots, settings.outer_beta1) == ("separate", 3, 0.5)

    checkpoint.save(path, next(build(settings).run()), settings)
    assert main(["resume", str(tmp_path)]) == 0
    cut, _ = checkpoint.load(path)
    assert cut.iteration == whole.iteration == 3
    assert cut.theta.tobytes() == whole.theta.tobytes()
    assert all(cut.state[n].tobytes() == a.tobytes() for n, a in whole.state.items())


def test_downloading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before training, when asked for."""
    order: list[str] = []
    monkeypatch.setattr(run, "train", lambda *a, **k: order.append("train"))
    fetch = replace(SOURCES["omniglot"], download=lambda: order.append("download"))
    monkeypatch.setitem(SOURCES, "omniglot", fetch)
    command = ["train", "omniglot", "--backend", "numpy", "--out", str(tmp_path)]
    assert main([*command, "--download"]) == 0
    assert main(command) == 0
    assert order == ["download", "train", "train"]
    monkeypatch.setattr(run, "resume", lambda *a, **k: order.append("resume"))
    saved(tmp_path, Settings(dataset="omniglot", backend="numpy"))
    assert main(["resume", str(tmp_path), "--download"]) == 0
    assert order[3:] == ["download", "resume"]


def test_commands_run_without_numpys_warnings_on_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def look(args: Any) -> None:
        threads = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        seen.append((set(np.geterr().values()), threads))

    monkeypatch.setitem(COMMANDS, "info", look)
    assert main(["info"]) == 0
    assert seen == [({"ignore"}, {1})]


def test_python_m_minireptile() -> None:
    process = start(["--version"])
    out, errors = process.communicate()
    assert (process.returncode, out, errors) == (0, f"minireptile {mr.__version__}\n", "")


def test_the_library_imports_no_command_line() -> None:
    code = "import minireptile, sys; print({'rich_click', 'click', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", ["k1", "overlap"])
def test_what_reproduce_passes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = SimpleNamespace(sentence=lambda: "It holds.")
    asked, kept = Asked(outcome), Asked(("figures.json", "picture.png"))
    monkeypatch.setattr(commands, "reproduce", asked)
    monkeypatch.setattr("minireptile.reproduce.outcome.keep", kept)
    data = ["--data", "there"] if name == "overlap" else []
    options = ["--backend", "numpy", *data, *(["--quick"] if name == "k1" else [])]
    assert main(["reproduce", name, *options, "--out", str(tmp_path)]) == 0
    assert asked.calls == [((name, name == "k1", "numpy", "there" if data else "", None), {})]
    assert kept.calls == [((name, outcome, tmp_path, name == "k1"), {})]
    assert capsys.readouterr().out == (
        f"{name}\nIt holds.\nfigures: figures.json\npicture: picture.png\n\n"
    )


def test_all_claims_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(SimpleNamespace(sentence=str))
    monkeypatch.setattr(commands, "reproduce", asked)
    monkeypatch.setattr("minireptile.reproduce.outcome.keep", Asked(("", "")))
    assert main(["reproduce", "all", "--backend", "numpy", "--out", str(tmp_path)]) == 0
    assert [arguments[0] for arguments, _ in asked.calls] == list(EXPERIMENTS)


def test_training_on_a_folder_of_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture_folder(tmp_path / "data", 8, 5)
    monkeypatch.chdir(tmp_path)
    arguments = [*TINY, "--train-shots", "5", "--way", "2", "--out", "run"]
    assert main(["train", "folder", "--data", "data", *arguments]) == 0
    monkeypatch.chdir("/")  # a run can be used from anywhere
    (tmp_path / "data").rename(tmp_path / "moved")
    capsys.readouterr()
    fails(capsys, ["evaluate", str(tmp_path / "run")], "does not exist")
    moved = ["--data", str(tmp_path / "moved")]
    assert main(["resume", str(tmp_path / "run"), *moved]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--tasks", "2", *moved]) == 0
    (tmp_path / "moved").rename(tmp_path / "data")
    assert main(["evaluate", str(tmp_path / "run"), "--tasks", "2"]) == 0
    assert "2-way 1-shot" in capsys.readouterr().out
    two_shots = ["evaluate", str(tmp_path / "run"), "--tasks", "2", "--shot"]
    assert main([*two_shots, "2", "--backend", "numpy"]) == 0
    assert "2-way 2-shot" in capsys.readouterr().out
    fails(capsys, [*two_shots, "0"], "--shot must be at least 1")
    fails(capsys, [*two_shots, "5"], "has 5 images")


@pytest.mark.usefixtures("no_pictures")
def test_a_run_keeps_the_backend_that_it_is_resumed_with(tmp_path: Path) -> None:
    short = ["--iterations", "4", "--test-tasks", "0"]
    assert main(["train", "sine", *short, "--backend", "numpy", "--out", str(tmp_path)]) == 0
    path = tmp_path / "checkpoint.safetensors"
    start, settings = checkpoint.load(path)
    checkpoint.save(path, start, replace(settings, iterations=6, backend="numba"))
    assert main(["resume", str(tmp_path), "--backend", "numpy"]) == 0
    after, settings = checkpoint.load(path)
    assert (after.iteration, settings.backend) == (6, "numpy")


def test_a_run_is_evaluated_on_another_data_set_if_it_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, settings = tmp_path / "run", Settings(backend="numpy", filters=2, eval_steps=2)
    run.mkdir()
    model = mr.omniglot_cnn(5, 2)
    start = mr.Snapshot(1, model.init(0), mr.Adam(beta1=0.0).init(model.init(0)), np.empty(0))
    checkpoint.save(run / "checkpoint.safetensors", start, settings)
    for classes, images in ((20, 1), (12, 2)):  # a quarter of the classes is for test
        picture_folder(tmp_path / str(classes), classes, images)
    other = ["evaluate", str(run), "--tasks", "2", "--on", "folder", "--data"]
    fails(capsys, [*other, str(tmp_path / "20")], "has 1 images")
    fails(
        capsys,
        [*other, str(tmp_path / "12")],
        "5-way, and the test classes of folder are 3: evaluate it on data with 5 or more, or raise",
    )
    assert main([*other, str(tmp_path / "12"), "--test-fraction", "0.5"]) == 0
    capsys.readouterr()
    fails(capsys, other[:-1], "folder needs --data DIR")
    picture_folder(tmp_path / "good", 20, 2)
    assert main([*other, str(tmp_path / "good")]) == 0
    assert "of unseen classes of folder" in capsys.readouterr().out
    for on in ("sine", "miniimagenet"):
        fails(
            capsys, ["evaluate", str(run), "--on", on],
            f"{on} does not fit the run's network omniglot, trained on examples of shape "
            "(28, 28, 1): --on may be glyphs or omniglot or folder",
        )  # fmt: skip
    capsys.readouterr()
    assert main(["evaluate", str(run), "--on", "folder", "--data", str(tmp_path / "good"),
                 "--tasks", "2", "--seed", "5", "--shot", "1", "--json"]) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert list(said)[:7] == [
        "dataset", "way", "shot", "algorithm", "iteration", "backend", "seed",
    ]  # fmt: skip
    assert [said[name] for name in list(said)[:7]] == [
        "folder", 5, 1, "reptile", 1, "numpy", 5,
    ]  # fmt: skip
    assert said["tasks"] == 2
