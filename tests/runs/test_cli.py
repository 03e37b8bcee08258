"""The command line as a user types it, right and wrong."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minireptile import SGD, Adam
from minireptile.backend import fastest
from minireptile.cli import main
from minireptile.cli.options import settings_from
from minireptile.cli.parser import parser
from minireptile.runs.experiment import build
from minireptile.runs.presets import PRESETS
from minireptile.runs.settings import Settings, from_json

TINY = [
    "--iterations", "3", "--filters", "4", "--meta-batch", "2", "--inner-batch", "5",
    "--inner-steps", "2", "--eval-steps", "2", "--eval-every", "2", "--eval-tasks", "2",
    "--test-tasks", "2",
]  # fmt: skip


def settings(*arguments: str) -> Settings:
    return settings_from(vars(parser().parse_args(["train", *arguments])))


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """Exit code 2, and one sentence."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_used_and_overridden(preset: str) -> None:
    dataset = PRESETS[preset]["dataset"]
    made = settings(dataset, "--preset", preset, "--inner-lr", "0.5", "--replacement")
    for name, value in PRESETS[preset].items():
        if name not in ("inner_lr", "replacement"):
            assert getattr(made, name) == value
    assert (made.inner_lr, made.replacement) == (0.5, True)


def test_the_presets_hold_the_papers_table() -> None:
    table = {  # README of the paper's code: batch x iterations, train shots, rate, total, eval
        "omniglot-5way-1shot": (10, 5, 10, 0.001, 100_000, 5),
        "omniglot-5way-5shot": (10, 5, 10, 0.001, 100_000, 5),
        "omniglot-20way-1shot": (20, 10, 10, 0.0005, 200_000, 10),
        "omniglot-20way-5shot": (20, 10, 10, 0.0005, 200_000, 10),
        "miniimagenet-5way-1shot": (10, 8, 15, 0.001, 100_000, 5),
        "miniimagenet-5way-5shot": (10, 8, 15, 0.001, 100_000, 15),
        "sine": (10, 5, 50, 0.02, 30_000, 10),
    }
    names = ("inner_batch", "inner_steps", "train_shots", "inner_lr", "iterations", "eval_batch")
    assert {p: tuple(v[name] for name in names) for p, v in PRESETS.items()} == table


def test_every_setting_is_an_option() -> None:
    text = parser()._subparsers._group_actions[0].choices["train"].format_help()  # type: ignore
    for f in fields(Settings):
        assert f.name == "dataset" or f"--{f.name.replace('_', '-')}" in text


def test_without_a_preset_tasks_run_in_parallel() -> None:
    made = settings("omniglot", "--way", "20", "--shot", "5")
    assert (made.way, made.shot, made.state, made.iterations) == (20, 5, "mean", 6000)
    assert made.inner_lr == 0.0005


def test_training_on_glyphs_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    drawn = ["--classes", "12", "--out", str(run)]
    assert main(["train", "glyphs", *TINY, *drawn]) == 0
    out = capsys.readouterr().out
    for words in ("5-way 1-shot accuracy", "before", "after", "transductive accuracy", "picture:"):
        assert words in out
    assert (run / "learning_curve.png").stat().st_size > 10_000

    assert main(["evaluate", str(run), "--tasks", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result.keys() == {
        "accuracy", "accuracy_ci95", "transductive_accuracy", "transductive_accuracy_ci95",
        "tasks", "seed",
    }  # fmt: skip
    assert main(["evaluate", str(run), "--tasks", "1"]) == 0
    assert "of unseen classes of glyphs" in capsys.readouterr().out


RELATIVES = pytest.mark.parametrize("algorithm", ["fomaml", "maml", "imaml"])


@RELATIVES
@pytest.mark.parametrize("dataset", ["sine", "glyphs", "omniglot", "miniimagenet", "folder"])
def test_reptiles_relatives_have_defaults(dataset: str, algorithm: str) -> None:
    made = settings(dataset, "--algorithm", algorithm)
    assert (made.algorithm, made.outer) == (algorithm, "adam")
    inner = "adam" if algorithm == "fomaml" and dataset != "sine" else "sgd"
    assert made.optimizer == inner
    assert settings(dataset, "--algorithm", algorithm, "--outer", "plain").outer == "plain"
    assert settings(dataset).outer == settings(dataset, "--algorithm", "joint").outer == "plain"


@RELATIVES
@pytest.mark.parametrize("dataset", ["sine", "glyphs"])
def test_training_reptiles_relatives_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dataset: str, algorithm: str
) -> None:
    """And resumed, they go on as if they had never stopped, with the outer optimizer's state."""
    from minireptile.runs import checkpoint

    tiny = TINY if dataset == "glyphs" else [t for t in TINY if t not in ("--filters", "4")]
    tail = ["--tail", "separate", "--tail-shots", "3", "--outer-beta1", "0.5"]
    more = [*tail, *(["--classes", "12"] if dataset == "glyphs" else [])]
    command = ["train", dataset, "--algorithm", algorithm, *tiny, *more, "--backend", "numpy"]
    for name in ("whole", "cut"):
        assert main([*command, "--out", str(tmp_path / name)]) == 0, capsys.readouterr().err
    whole, settings = checkpoint.load(tmp_path / "whole" / "checkpoint.safetensors")
    assert {"outer.m", "outer.v", "outer.t"} <= whole.state.keys()
    assert (settings.tail, settings.tail_shots, settings.outer_beta1) == ("separate", 3, 0.5)

    experiment = build(settings)
    for run in experiment.run():
        if run.iteration == 1:
            break
    checkpoint.save(tmp_path / "cut" / "checkpoint.safetensors", run, settings)
    assert main(["resume", str(tmp_path / "cut")]) == 0
    cut, _ = checkpoint.load(tmp_path / "cut" / "checkpoint.safetensors")
    assert cut.iteration == whole.iteration == 3
    assert cut.theta.tobytes() == whole.theta.tobytes()
    assert all(cut.state[n].tobytes() == a.tobytes() for n, a in whole.state.items())
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "cut"), "--tasks", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == 2


def test_settings_from_before_the_relatives_can_be_read() -> None:
    older = json.loads(settings("sine").to_json())
    newer = ("tail", "tail_shots", "prox", "cg_steps", "cg_tolerance", "outer", "outer_lr",
             "outer_momentum", "outer_beta1")  # fmt: skip
    for name in newer:
        del older[name]
    read = from_json(json.dumps(older))
    assert read == settings("sine")
    assert build(read).loops.outer is None


def test_the_outer_optimizer_that_is_asked_for() -> None:
    for given, outer in (
        (["--outer", "plain"], None),
        (["--outer", "sgd"], SGD(1.0)),
        (["--outer", "sgd", "--outer-lr", "0.5", "--outer-momentum", "0.9"], SGD(0.5, 0.9)),
        (["--outer", "adam"], Adam(0.001, 0.9)),
        (["--outer", "adam", "--outer-lr", "0.01", "--outer-beta1", "0.0"], Adam(0.01, 0.0)),
    ):
        assert build(settings("sine", *given)).loops.outer == outer


def picture_folder(folder: Path, classes: int, images: int) -> Path:
    rng = np.random.default_rng(0)
    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        for i in range(images):
            pixels = rng.integers(0, 256, (30, 30), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class{c}" / f"{i}.png")
    return folder


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


def test_more_tasks_than_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = ["train", "sine", "--meta-batch", "1000000000", "--out", str(tmp_path / "run")]
    fails(capsys, many, "needs about")
    monkeypatch.setattr("minireptile.runs.memory.available", lambda: 10_000_000)
    fails(capsys, [*many[:3], "1000", *many[4:]], "lower --meta-batch to ")
    assert not (tmp_path / "run").exists()


def test_a_run_can_change_its_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from minireptile.runs import checkpoint

    run = tmp_path / "run"
    short = ["--iterations", "4", "--test-tasks", "2", "--eval-steps", "2"]
    assert main(["train", "sine", *short, "--backend", "numpy", "--out", str(run)]) == 0
    start, settings = checkpoint.load(run / "checkpoint.safetensors")
    longer = dataclasses.replace(settings, iterations=6)
    checkpoint.save(run / "checkpoint.safetensors", start, longer)
    assert main(["resume", str(run), "--backend", fastest()]) == 0
    after, settings = checkpoint.load(run / "checkpoint.safetensors")
    assert (after.iteration, settings.backend) == (6, fastest())


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    tiny = ["train", "glyphs", *TINY, "--classes", "12", *out]
    maml, imaml = (["train", "sine", "--algorithm", name, *out] for name in ("maml", "imaml"))
    separate = ["--algorithm", "fomaml", "--tail", "separate", "--tail-shots", "9"]
    for arguments, words in (
        ([], "COMMAND"),
        (["fly"], "invalid choice"),
        (["train", "sine", "--warp", "9"], "unrecognized arguments: --warp 9"),
        (["train", "mnist"], "invalid choice: 'mnist'"),
        (["train", "sine", "--iterations", "many"], "invalid int value: 'many'"),
        (["train", "sine", "--preset", "omniglot-5way-1shot"], "is for omniglot, not for sine"),
        (["train", "sine", "--iterations", "-1", *out], "iterations must not be negative"),
        (["train", "sine", "--inner-steps", "0", *out], "inner_steps must be at least 1"),
        (["train", "sine", "--inner-lr", "-1", *out], "lr must be positive"),
        (["train", "sine", "--inner-lr", "nan", *out], "lr must be positive"),
        (["train", "sine", "--epsilon", "nan", *out], "epsilon must be a finite number"),
        (["train", "sine", "--seed", "-1", *out], "seed must be between"),
        (["train", "sine", "--checkpoint-every", "0", *out], "--checkpoint-every must be"),
        (["train", "sine", "--train-shots", "51", *out], "shots must be 1 to 50"),
        (["train", "sine", "--outer", "lion", *out], "invalid choice: 'lion'"),
        (["train", "sine", "--outer", "sgd", "--outer-lr", "-1", *out], "the outer SGD: lr must"),
        (["train", "sine", "--outer", "adam", "--outer-beta1", "1", *out], "beta1 must lie in"),
        (["train", "sine", "--tail", "none", *out], "invalid choice: 'none'"),
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
        ([*tiny, "--way", "500"], "500-way tasks need 500 classes"),
        ([*tiny, "--way", "1"], "way must be at least 2"),
        ([*tiny, "--train-shots", "21"], "has 20 images"),
        ([*tiny, "--shot", "20"], "has 20 images"),
        ([*tiny, "--replacement", "--inner-batch", "51"], "lower --inner-batch"),
        ([*tiny, *separate, "--replacement", "--inner-batch", "6"], "lower --inner-batch"),
        (["resume", str(tmp_path)], "there is no checkpoint"),
        (["check", "Conv9D"], "there is no layer 'Conv9D'"),
    ):
        fails(capsys, arguments, words)
    assert not (tmp_path / "run").exists()  # nothing was begun


def test_too_few_images_or_classes_in_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(picture_folder(tmp_path / "data", 8, 3))
    base = ["train", "folder", "--data", data, *TINY, "--out", str(tmp_path / "run")]
    fails(capsys, [*base, "--way", "2", "--train-shots", "4"], "has 3 images")
    fails(capsys, [*base, "--way", "7", "--train-shots", "2"], "7-way tasks need 7 classes")
    (tmp_path / "data" / "class3" / "1.png").write_bytes(b"no picture")
    fails(capsys, [*base, "--way", "2", "--train-shots", "3"], "1.png")


def test_an_unwritable_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "run")
    fails(
        capsys, ["train", "sine", "--iterations", "1", "--out", out], "cannot make the run folder"
    )


def test_evaluate_refuses_no_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sine", "--iterations", "1", "--test-tasks", "0", "--out",
                 str(tmp_path)]) == 0  # fmt: skip
    capsys.readouterr()
    fails(capsys, ["evaluate", str(tmp_path), "--tasks", "0"], "tasks must be at least 1")


def test_a_run_is_evaluated_on_another_data_set_if_it_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "glyphs", *TINY, "--classes", "12", "--out", str(run)]) == 0
    for classes, images in ((20, 1), (12, 2)):  # a quarter of the classes is for test
        picture_folder(tmp_path / str(classes), classes, images)
    other = ["evaluate", str(run), "--tasks", "2", "--on", "folder", "--data"]
    capsys.readouterr()
    fails(capsys, [*other, str(tmp_path / "20")], "has 1 images")
    fails(capsys, [*other, str(tmp_path / "12")], "5-way tasks need 5 classes")
    picture_folder(tmp_path / "good", 20, 2)
    assert main([*other, str(tmp_path / "good")]) == 0
    assert "of unseen classes of folder" in capsys.readouterr().out


def test_check_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "WRONG" not in out
    assert out.count(" ok") > 20
    assert main(["check", "BatchNorm"]) == 0
    assert "Conv2D" not in capsys.readouterr().out
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "numpy" in out
    assert "safetensors" in out


def test_check_fails_when_a_kernel_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from minireptile.backend import kernels

    right = kernels("numpy").tanh_backward
    monkeypatch.setattr(kernels("numpy"), "tanh_backward", lambda dx, dy, y: right(dx, 2 * dy, y))
    assert main(["check", "Tanh"]) == 2
    captured = capsys.readouterr()
    assert "WRONG" in captured.out
    assert "gradients of Tanh are wrong" in captured.err
    assert "ratio 2 everywhere" in captured.out
