"""What a user types wrong, and what stands in the way: a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import minireptile as mr
from minireptile import cli
from minireptile.cli import main
from minireptile.cli.commands import COMMANDS
from minireptile.runs import memory, pictures, report, run
from minireptile.runs.settings import Settings
from minireptile.runs.signals import Stopped

from .run_helpers import TINY, Asked, fails, picture_folder, saved, settings


def test_what_a_run_may_find_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`resume` and `evaluate` pass on what is given and nothing else; `plot` trains nothing."""
    trained = Settings(backend="numpy", way=3, split="vinyals", data="here")
    saved(tmp_path, trained)
    snapshot = SimpleNamespace(iteration=1)
    asked = Asked((SimpleNamespace(settings=Settings(backend="numpy")), snapshot))
    monkeypatch.setattr(run, "load", asked)
    monkeypatch.setattr(run, "resume", asked)
    monkeypatch.setattr(pictures, "draw", asked)
    monkeypatch.setattr(report, "measure", Asked())
    monkeypatch.setattr(report, "show", lambda experiment, results: print("a table"))
    where = {"data": str(Path("there").resolve())}
    for command, given, changes in (
        ("resume", [], {}),
        ("resume", ["--data", "there", "--backend", "numba"], {**where, "backend": "numba"}),
        ("evaluate", ["--backend", "numpy", "--shot", "3"], {"backend": "numpy", "shot": 3}),
        ("resume", ["--iterations", "9", "--inner-lr", "0.5", "--epsilon", "2", "--epsilon-final",
                    "1"], {"iterations": 9, "inner_lr": 0.5, "epsilon": 2.0, "epsilon_final": 1.0}),
        ("evaluate", ["--on", "glyphs"], {}),
        ("evaluate", ["--on", "omniglot"],
         {"dataset": "omniglot", "split": "", "data": "", "size": 28, "channels": 1}),
        ("evaluate", ["--on", "folder", "--data", "there"],
         {"dataset": "folder", "split": "", **where, "size": 28, "channels": 1}),
        ("plot", [], {}),
    ):  # fmt: skip
        asked.calls.clear()
        assert main([command, str(tmp_path), *given]) == 0
        training = {} if command == "resume" else {"training": False}
        pool = {} if command == "plot" else {"pool": None}
        assert asked.calls[0] == ((tmp_path,), {**training, **pool, **changes})
        if command == "plot":
            assert asked.calls[1] == ((asked.answer[0], snapshot, tmp_path), {})
    assert capsys.readouterr().out == 4 * "a table\n"


@pytest.mark.parametrize("overwrite", [False, True])
def test_overwriting_is_asked_for(
    overwrite: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = Asked()
    monkeypatch.setattr(run, "train", asked)
    command = ["train", "sine", "--backend", "numpy", "--out", str(tmp_path)]
    assert main([*command, *(["--overwrite"] if overwrite else [])]) == 0
    [((made, folder), options)] = asked.calls
    assert (made, folder) == (settings("sine", "--backend", "numpy"), tmp_path)
    assert options == {"overwrite": overwrite, "pool": None}


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (mr.InputError("a sentence"), 2, "minireptile: a sentence\n"),
        (mr.MissingPackage("a package"), 2, "minireptile: a package\n"),
        (MemoryError(), 2, "minireptile: not enough memory for that: ask for less\n"),
        (Stopped(signal.SIGTERM, 8), 143, "stopped after iteration 8, and saved"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (BrokenPipeError(), 141, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_exit_codes(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(args: Any) -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "info", fail)
    assert main(["info"]) == code
    captured = capsys.readouterr()
    said, silent = (captured.err, captured.out) if code == 2 else (captured.out, captured.err)
    assert said.startswith(words)
    assert silent == ""


def test_without_rich_click_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich_click", None)
    fails(capsys, ["info"], "needs the package 'rich_click', which is not installed; bring it with")
    fails(capsys, ["info"], 'pip install -e ".[cli]"')


def test_of_mpis_ranks_one_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "launched", lambda: (1, 3))
    assert main(["fly"]) == 2
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(cli, "launched", lambda: (0, 3))
    fails(capsys, ["fly"], "there is no command 'fly'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian", "sine"], "there is no command 'trian': did you mean train?"),
        (["train", "glyph"], "not 'glyph': did you mean glyphs?"),
        (["train", "sine", "--iteratoins", "3"], "did you mean --iterations?"),
        (["train", "sine", "--inner", "3"],
         "train has no option --inner: did you mean --inner-steps, --inner-batch or --inner-lr?"),
        (["train", "sine", "--no-rotation"], "did you mean --no-rotations?"),
        (["train", "sine", "--algorithm", "mamel"], "not 'mamel': did you mean maml?"),
        (["reproduce", "tailor"], "there is no experiment 'tailor': did you mean taylor?"),
        (["evaluate", "run", "--jason"], "evaluate has no option --jason: did you mean --json?"),
        (["--hepl"], "minireptile has no option --hepl: did you mean --help?"),
        (["train"], "train needs DATASET, one of sine, glyphs, omniglot, miniimagenet, folder"),
        (["predict", "run"], "predict needs --support; see minireptile predict --help"),
        (["resume"], "resume needs RUN; see minireptile resume --help"),
        (["train", "sine", "--way"], "option '--way' requires an argument"),
        (["resume", "a", "b"], "got unexpected extra argument (b); see minireptile resume --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_was_meant(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(capsys, arguments, words)


@pytest.mark.usefixtures("tiny")
def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--backend", "numpy", "--out", str(tmp_path / "run")]
    tiny = ["train", "glyphs", *TINY, *out]
    maml, imaml = (["train", "sine", "--algorithm", name, *out] for name in ("maml", "imaml"))
    separate = ["--algorithm", "fomaml", "--tail", "separate", "--tail-shots", "9"]
    for arguments, words in (
        ([], "missing command; see minireptile --help"),
        (["fly"], "there is no command 'fly': choose one of train, resume"),
        (["train", "sine", "--warp", "9"], "train has no option --warp"),
        (
            ["train", "mnist"],
            "must be one of sine, glyphs, omniglot, miniimagenet, folder, not 'mnist'",
        ),
        (
            ["train", "sine", "--iterations", "many"],
            "--iterations must be a whole number, not 'many'",
        ),
        (["train", "sine", "--preset", "omniglot-5way-1shot"], "is for omniglot, not for sine"),
        (["train", "sine", "--iterations", "-1", *out], "iterations must be at least 0"),
        (["train", "sine", "--inner-steps", "0", *out], "inner_steps must be at least 1"),
        (["train", "sine", "--inner-lr", "-1", *out], "lr must be positive"),
        (["train", "sine", "--inner-lr", "nan", *out], "lr must be positive"),
        (["train", "sine", "--epsilon", "nan", *out], "epsilon must be a finite number"),
        (["train", "sine", "--seed", "-1", *out], "seed must be between"),
        (["train", "sine", "--checkpoint-every", "0", *out], "--checkpoint-every must be"),
        (["train", "sine", "--train-shots", "51", *out], "shots must be 1 to 50"),
        (
            ["train", "sine", "--outer", "lion", *out],
            "--outer must be one of plain, sgd, adam, not 'lion'",
        ),
        (["train", "sine", "--outer", "sgd", "--outer-lr", "-1", *out], "the outer SGD: lr must"),
        (["train", "sine", "--outer", "adam", "--outer-beta1", "1", *out], "beta1 must lie in"),
        (
            ["train", "sine", "--tail", "none", *out],
            "--tail must be one of shared, separate, not 'none'",
        ),
        (["train", "sine", "--tail", "separate", "--tail-shots", "50", *out], "leaves none of 50"),
        (["train", "sine", "--tail-shots", "0", *out], "tail_shots must be at least 1"),
        (["train", "sine", "--prox", "0", *out], "prox must be positive"),
        (["train", "sine", "--cg-steps", "0", *out], "cg_steps must be at least 1"),
        (["train", "sine", "--cg-tolerance", "2", *out], "cg_tolerance must lie in"),
        ([*maml, "--optimizer", "adam"], "of SGD, with or without momentum, and not of Adam"),
        ([*imaml, "--inner-steps", "1"], "imaml needs inner_steps of at least 2"),
        ([*imaml, "--weight-decay-rate", "0.9"], "leave it at 1"),
        ([*imaml, "--inner-lr", "0.5"], "overshoot theta"),
        (["train", "sine", "--network", "omniglot", *out], "go together"),
        (["train", "folder", *out], "needs --data"),
        (["train", "folder", "--data", str(tmp_path / "none"), *out], "none"),
        (["train", "glyphs", "--download", *out], "--download is for omniglot"),
        (
            [*tiny, "--way", "500"],
            "needs 500 classes of 10 images to train on (--train-shots) and 500 others of 2",
        ),
        ([*tiny, "--way", "1"], "way must be at least 2"),
        ([*tiny, "--train-shots", "11"], "has 10 images"),
        ([*tiny, "--shot", "7"], "has 7 images"),
        ([*tiny, "--replacement", "--inner-batch", "51"], "lower --inner-batch"),
        ([*tiny, *separate, "--replacement", "--inner-batch", "6"], "lower --inner-batch"),
        (["resume", str(tmp_path)], "there is no checkpoint"),
        (["check", "Pool"], "there is no layer 'Pool': did you mean MaxPool?"),
    ):
        fails(capsys, arguments, words)
    assert not (tmp_path / "run").exists()  # nothing was begun


def test_a_run_that_does_not_fit_into_memory_is_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ["--backend", "numpy", "--iterations", "0", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(memory, "available", lambda: 10**6)
    fails(capsys, ["train", "sine", *out, "--meta-batch", "1000"], "lower --meta-batch to 28 or")
    assert not (tmp_path / "run").exists()


def test_too_few_images_or_classes_in_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(picture_folder(tmp_path / "data", 8, 3))
    base = ["train", "folder", "--data", data, *TINY, "--out", str(tmp_path / "run")]
    fails(capsys, [*base, "--way", "2", "--train-shots", "4"], "lower --train-shots to 3, or add")
    fails(
        capsys,
        [*base, "--way", "7", "--train-shots", "2"],
        "and there are 6 to train on and 2 for test: lower --way to 2, or add classes",
    )
    (tmp_path / "data" / "class3" / "1.png").write_bytes(b"no picture")
    fails(capsys, [*base, "--way", "2", "--train-shots", "3"], "1.png")


def test_an_unwritable_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "run")
    fails(
        capsys,
        ["train", "sine", "--backend", "numpy", "--iterations", "1", "--out", out],
        f"cannot make the run folder {out}: {os.strerror(errno.ENOTDIR)}; choose another --out\n",
    )


@pytest.mark.usefixtures("no_pictures")
def test_evaluate_refuses_no_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = ["--backend", "numpy", "--iterations", "0", "--test-tasks", "0", "--out", str(tmp_path)]
    assert main(["train", "sine", *none]) == 0
    capsys.readouterr()
    fails(capsys, ["evaluate", str(tmp_path), "--tasks", "0"], "tasks must be at least 1")
