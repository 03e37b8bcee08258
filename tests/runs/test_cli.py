"""The command line as a user types it, right and wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_info

import minireptile as mr
from minireptile.cli import commands, info, main, options
from minireptile.cli.arguments import CHECKED, parse
from minireptile.cli.commands import COMMANDS
from minireptile.cli.options import settings_from
from minireptile.reproduce import EXPERIMENTS
from minireptile.runs import checkpoint, memory, pictures, report, run
from minireptile.runs.experiment import build
from minireptile.runs.settings import GROUPS, Settings
from minireptile.runs.signals import Stopped
from minireptile.runs.sources import SOURCES

from .run_helpers import Asked, start
from .test_experiment import OTHER

TINY = [
    "--iterations", "3", "--filters", "4", "--meta-batch", "2", "--inner-batch", "5",
    "--inner-steps", "2", "--eval-steps", "2", "--eval-every", "2", "--eval-tasks", "2",
    "--test-tasks", "2", "--backend", "numpy",
]  # fmt: skip


def settings(*arguments: str) -> Settings:
    return settings_from(vars(parse(["train", *arguments])))


def saved(folder: Path, settings: Settings) -> None:
    """A run's checkpoint, of any parameters."""
    snapshot = mr.Snapshot(1, np.ones(1), {}, np.empty(0))
    checkpoint.save(folder / "checkpoint.safetensors", snapshot, settings)


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """Exit code 2, and one sentence."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err


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


@pytest.mark.parametrize(
    ("dataset", "chosen", "words"),
    [
        ("glyphs", "numpy", "using the numpy backend, several times slower: numba will not"),
        ("sine", "numpy", "using the numpy backend, several times slower: numba will not"),
        ("glyphs", "numba", "using the numba backend, on the CPU: cupy will not"),
        ("sine", "numba", ""),
        ("glyphs", "cupy", ""),
    ],
)
def test_what_auto_chose_and_why_not_faster(
    dataset: str, chosen: str, words: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A GPU is a candidate for images alone, and missed where one would expect it."""
    asked = Asked(chosen)
    monkeypatch.setattr("minireptile.backend.fastest", asked)
    monkeypatch.setattr(options, "why_not", lambda backend: f"{backend} will not")
    monkeypatch.setattr(options, "gpu_expected", lambda: True)
    assert settings(dataset).backend == chosen
    candidates = ("numpy", "numba") if dataset == "sine" else ("numpy", "numba", "cupy")
    assert asked.calls == [((candidates,), {})]
    said = capsys.readouterr().err
    assert said == (f"minireptile: {words}\n" if words else "")
    monkeypatch.setattr(options, "gpu_expected", lambda: False)
    settings(dataset)
    assert capsys.readouterr().err == (said if chosen == "numpy" else "")
    settings(dataset, "--backend", "numpy")  # as asked for
    assert capsys.readouterr().err == ""


def test_tf32_is_for_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings("glyphs", "--backend", "cupy", "--tf32").tf32
    with pytest.raises(mr.InputError, match="--tf32 is for --backend cupy, not for numpy"):
        settings("glyphs", "--backend", "numpy", "--tf32")


def test_check_passes_on_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from minireptile import testing

    asked = Asked([])
    monkeypatch.setattr(testing, "check_layers", asked)
    monkeypatch.setattr(testing, "table", str)
    assert main(["check"]) == 0
    assert main(["check", "ReLU", "--backend", "numba"]) == 0
    assert asked.calls == [((None, "numpy"), {}), (("ReLU", "numba"), {})]


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
    drawn = [
        "--classes",
        "12",
        "--drawers",
        "2",
        "--train-shots",
        "2",
        "--test-tasks",
        "0",
        "--out",
        str(tmp_path),
    ]
    assert main(["train", "glyphs", *TINY, *drawn]) == 0
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
        assert asked.calls[0] == ((tmp_path,), {**training, **changes})
        if command == "plot":
            assert asked.calls[1] == ((asked.answer[0], snapshot, tmp_path), {})
    assert capsys.readouterr().out == 4 * "a table\n"


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
    assert options == {"overwrite": overwrite}


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
    ids=repr,
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


def test_without_rich_click_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich_click", None)
    fails(capsys, ["info"], "needs the package 'rich_click', which is not installed; bring it with")


def test_the_library_imports_no_command_line() -> None:
    code = "import minireptile, sys; print({'rich_click', 'click', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


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
    assert asked.calls == [((name, name == "k1", "numpy", "there" if data else ""), {})]
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


def test_what_check_offers_it_has() -> None:
    from minireptile import testing

    assert {row.layer for row in testing.check_layers()} == {*CHECKED} - {"Model"} | {
        row.layer for row in testing.check_layers("Model")
    }


def test_what_info_says_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(info, "why_not", lambda backend: f"{backend} is not here")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"processor: {info.processor()}, 8 cores, 3 of them usable here"
    assert lines[2] == "threads: no Numba, 1 of BLAS's"
    assert lines[3] == "backend numpy: numpy is not here"
    assert info.processor().strip()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    assert info.cores() == "8 cores"
    assert f"numpy {np.__version__}, BLAS " in "\n".join(lines)
    monkeypatch.setattr(np, "show_config", lambda: None)  # before 1.26, it takes no mode
    assert f"numpy {np.__version__}" in info.lines()


def test_help_has_every_setting_in_its_panel_and_fits_the_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the defaults, which are those of glyphs."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    panels = [line[3:].split(" ─")[0] for line in lines if line.startswith("╭─")]
    assert panels == list(GROUPS.values())
    at = [lines.index(line) for line in lines if line.startswith("╭─")] + [len(lines)]
    inside = {p: lines[a:b] for p, a, b in zip(panels, at, at[1:], strict=False)}
    for f in fields(Settings):
        option = "DATASET" if f.name == "dataset" else f"--{f.name.replace('_', '-')}"
        panel = inside[GROUPS[f.metadata["group"]]]
        assert sum(line.startswith((f"│ {option} ", f"│ {option}\n")) for line in panel) == 1, (
            option
        )
    for words in ("[5]", "[0.001]", "[rotations]", "Examples:", "minireptile train glyphs\n"):
        assert words in said.replace(" \n", "\n").replace("  ", "")
    assert settings("glyphs", "--backend", "numpy") == Settings(backend="numpy")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "-h"]) == 0
    assert f"Usage: minireptile {command}" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert f"\n│ {command} " in capsys.readouterr().out


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
