"""What each command passes on, to whom, and what it prints of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minireptile import explore, testing, weights
from minireptile.cli import commands, main
from minireptile.explore import static
from minireptile.reproduce import outcome
from minireptile.runs import console, look, predict, report, run, trained
from minireptile.runs.settings import Settings

from .run_helpers import Asked, fails

DATA = Path("data")
QUERIES = ["--support", "few", "--query", "more"]


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What workers were asked for; and they are "pool", until the command has ended."""
    asked: list[Any] = []

    @contextmanager
    def workers(*of: Any) -> Iterator[str | None]:
        asked.append(of)
        yield "pool" if of[0] else None
        asked.append("ended")

    monkeypatch.setattr(commands, "workers", workers)
    return asked


def stands_in(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, answer: Any = None) -> Asked:
    monkeypatch.setattr(place, name, asked := Asked(answer))
    return asked


@pytest.mark.parametrize("command", ["train", "resume", "evaluate", "reproduce"])
def test_workers_reach_who_needs_them(
    command: str, pools: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = SimpleNamespace(settings=Settings(backend="numpy"))
    loaded = experiment, SimpleNamespace(iteration=7)
    asked = {
        "train": stands_in(monkeypatch, run, "train"),
        "resume": stands_in(monkeypatch, run, "resume"),
        "evaluate": stands_in(monkeypatch, run, "load", loaded),
        "reproduce": stands_in(monkeypatch, commands, "reproduce", SimpleNamespace(sentence=str)),
    }
    stands_in(monkeypatch, report, "measure")
    stands_in(monkeypatch, report, "show")
    stands_in(monkeypatch, outcome, "keep", ("", ""))
    words = {
        "train": ["sine", "--backend", "numpy", "--out", str(tmp_path)],
        "reproduce": ["overlap", "--backend", "numpy", "--out", str(tmp_path)],
    }.get(command, [str(tmp_path)])
    for given, meant in (
        (["--workers", "2"], ("2", None)),
        (["--scheduler", "there"], (None, Path("there"))),
        ([], (None, None)),
    ):
        assert main([command, *words, *given]) == 0
        [(arguments, options)] = asked[command].calls
        pool = arguments[-1] if command == "reproduce" else options["pool"]
        assert pool == ("pool" if meant[0] else None)
        assert pools == [meant, "ended"]
        pools.clear()
        asked[command].calls.clear()


@dataclass
class Result:
    """Of an evaluation."""

    tasks: int = 3
    accuracy: float = 0.5


@pytest.mark.usefixtures("pools")
def test_an_evaluation_has_the_tasks_and_the_seed_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate, protocol = Asked(), Asked("protocol")
    s = Settings(backend="numba", seed=4, way=3, shot=2, algorithm="maml", dataset="glyphs")
    experiment = SimpleNamespace(settings=s, evaluate=evaluate, protocol=protocol, test="unseen")
    snapshot = SimpleNamespace(iteration=7)
    load = stands_in(monkeypatch, run, "load", (experiment, snapshot))
    measure = stands_in(monkeypatch, report, "measure", Result())
    show = stands_in(monkeypatch, report, "show")

    assert main(["evaluate", "there", "--tasks", "3"]) == 0
    assert load.calls == [((Path("there"),), {"training": False, "pool": None})]
    assert measure.calls == [((experiment, snapshot, 3, 4), {"quiet": False})]
    assert show.calls == [((experiment, {"iteration 7": Result()}), {})]
    assert evaluate.calls == []  # whoever computes it compiles it

    assert main(["evaluate", "there", "--seed", "0", "--json", "--workers", "2"]) == 0
    assert measure.calls[1:] == [((experiment, snapshot, 1000, 0), {"quiet": True})]
    assert json.loads(capsys.readouterr().out) == {
        "dataset": "glyphs", "way": 3, "shot": 2, "algorithm": "maml", "iteration": 7,
        "backend": "numba", "seed": 0, "tasks": 3, "accuracy": 0.5,
    }  # fmt: skip
    # One task here, so that what the workers need is compiled once.
    assert protocol.calls == [((1, 0), {})]
    assert evaluate.calls == [((snapshot, "unseen", "protocol"), {"map": map})]

    experiment.settings = Settings(backend="numpy")  # nothing to compile
    assert main(["evaluate", "there", "--workers", "2"]) == 0
    assert len(evaluate.calls) == 1


def test_what_predict_passes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = stands_in(monkeypatch, trained, "load", "of a run")
    shipped = stands_in(monkeypatch, trained, "pretrained", "shipped")
    found = stands_in(monkeypatch, predict, "predict", "found")
    for form in ("table", "json", "csv"):
        monkeypatch.setattr(predict, f"as_{form}", lambda found, form=form: f"{found}: {form}\n\n")
    few = Path("few"), Path("more")
    plain = {"transductive": False, "skip_unreadable": False}
    for words, model, options, form in (
        (["there"], "of a run", plain, "table"),
        (["--pretrained", "glyphs", "--json"], "shipped", plain, "json"),
        (["there", "--transductive", "--csv"], "of a run", plain | {"transductive": True}, "csv"),
        (["there", "--skip-unreadable"], "of a run", plain | {"skip_unreadable": True}, "table"),
    ):
        assert main(["predict", *words, *QUERIES]) == 0
        assert found.calls.pop() == ((model, *few), options)
        assert capsys.readouterr().out == f"found: {form}\n"
    assert load.calls == 3 * [((Path("there"),), {})]
    assert shipped.calls == [(("glyphs",), {})]


def test_predict_has_one_model_and_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    one = "minireptile: predict needs the folder of a run, or --pretrained NAME, and not both\n"
    fails(capsys, ["predict", *QUERIES], one)
    fails(capsys, ["predict", "there", "--pretrained", "glyphs", *QUERIES], one)
    fails(capsys, ["predict", "there", *QUERIES, "--json", "--csv"],
          "minireptile: --json and --csv are two forms of one answer: choose one\n")  # fmt: skip


def test_what_export_passes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = stands_in(monkeypatch, trained, "load", "a model")
    export = stands_in(monkeypatch, weights, "export")
    assert main(["export", "there", "a.safetensors"]) == 0
    assert main(["export", "there", "b.safetensors", "--layout", "jax", "--half"]) == 0
    assert load.calls == 2 * [((Path("there"),), {})]
    assert export.calls == [
        (("a model", Path("a.safetensors"), "own", False), {}),
        (("a model", Path("b.safetensors"), "jax", True), {}),
    ]
    assert capsys.readouterr().out == (
        "a model\nweights: a.safetensors, in the layout 'own'\n"
        "a model\nweights: b.safetensors, in the layout 'jax'\n"
    )


def test_layers_that_are_wrong_are_named_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = [SimpleNamespace(layer=n, passed=n == "ReLU") for n in ("Dense", "ReLU", "Tanh")]
    rows = [SimpleNamespace(report=each, layer=each.layer) for each in reports for _ in range(2)]
    stands_in(monkeypatch, testing, "check_layers", rows)
    stands_in(monkeypatch, testing, "table", "a table")
    assert main(["check"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "a table\n"
    assert captured.err == "minireptile: gradients of Dense, Tanh are wrong\n"


@pytest.mark.parametrize("option", ["data", "workers", "scheduler"])
def test_what_is_for_claims_on_characters_alone(
    option: str, pools: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = ["--out", str(tmp_path / "out")]
    theirs = "gradient-combinations, overlap, meta-batch: leave it out\n"
    fails(capsys, ["reproduce", "k1", f"--{option}", "a", *out],
          f"minireptile: --{option} is for {theirs}")  # fmt: skip
    assert pools == []
    measured = stands_in(monkeypatch, commands, "reproduce", SimpleNamespace(sentence=str))
    stands_in(monkeypatch, outcome, "keep", ("", ""))
    for name in ("overlap", "meta-batch", "all"):
        assert main(["reproduce", name, f"--{option}", "a", "--backend", "numpy", *out]) == 0
    assert len(measured.calls) == 2 + len(commands.EXPERIMENTS)
    assert (tmp_path / "out").is_dir()  # made before anything is measured


def test_a_claim_is_measured_by_the_fastest_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those on the CPU; and compiling it is announced."""
    fastest = stands_in(monkeypatch, commands, "fastest", "numba")
    announced = stands_in(monkeypatch, commands, "announce_compilation")
    measured = stands_in(monkeypatch, commands, "reproduce", SimpleNamespace(sentence=str))
    stands_in(monkeypatch, outcome, "keep", ("", ""))
    assert main(["reproduce", "k1", "--out", str(tmp_path)]) == 0
    assert fastest.calls == [((("numpy", "numba"),), {})]
    assert announced.calls == [(("numba",), {})]
    assert measured.calls == [(("k1", False, "numba", "", None), {})]


def test_what_explore_passes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = stands_in(monkeypatch, explore, "show")
    build = stands_in(monkeypatch, static, "build", 2_340_000)
    assert main(["explore"]) == 0
    assert main(["explore", "--port", "8080", "--backend", "numba", "--no-browser"]) == 0
    assert show.calls == [((0, "auto", True), {}), ((8080, "numba", False), {})]
    assert main(["explore", "--static", "public", "--pyodide", "copy"]) == 0
    assert main(["explore", "--static", "public"]) == 0
    public = Path("public")
    assert build.calls == [((public, Path("copy")), {}), ((public, None), {})]
    assert capsys.readouterr().out == 2 * "pages: public, 2.3 MB; any web host can serve them\n"
    fails(capsys, ["explore", "--pyodide", "copy"],
          "minireptile: --pyodide is for --static DIR: leave it out\n")  # fmt: skip


@pytest.mark.parametrize("wrong", ["", "too few images"])
def test_looking_at_a_folder_trains_nothing(
    wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = SimpleNamespace(rows=[["class", "images"], ["a", "3"]], lines=["one", "two"],
                           wrong=wrong)  # fmt: skip
    looked = stands_in(monkeypatch, look, "look", seen)
    trains = stands_in(monkeypatch, run, "train")
    words = ["train", "folder", "--data", "data", "--way", "3", "--backend", "numpy", "--check"]
    assert main(words) == (2 if wrong else 0)
    [([settings], _)] = looked.calls
    assert (settings.data, settings.way) == (str(DATA.resolve()), 3)
    captured = capsys.readouterr()
    assert [line.split() for line in captured.out.splitlines()] == [
        ["class", "images"], ["a", "3"], ["one"], ["two"],
        *([] if wrong else [["training", "can", "start:", "leave", "out", "--check"]]),
    ]  # fmt: skip
    assert captured.err == (f"minireptile: {wrong}\n" if wrong else "")
    assert trains.calls == []
    fails(capsys, ["train", "glyphs", "--backend", "numpy", "--check"],
          "minireptile: --check is for folder, not for glyphs: leave it out\n")  # fmt: skip


@pytest.mark.parametrize(("terminal", "width"), [(False, 5), (True, 18), (True, 17)])
def test_runs_on_a_narrow_screen(
    terminal: bool, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder on a line of its own, where a row is longer: 8 + 2 + 4 characters, and 2 behind
    each."""
    rows = [["folder", "at", "mse"], ["runs/one", "9", "0.25"], ["runs/b", "10", "-"]]
    screen = SimpleNamespace(is_terminal=terminal, width=width + 2)
    monkeypatch.setattr(console, "out", lambda: screen)
    table, said = (stands_in(monkeypatch, console, name) for name in ("table", "say"))
    commands._show(rows)
    if not terminal or width == 18:
        assert table.calls == [((rows,), {"whole": True})]
        assert said.calls == []
        return
    assert table.calls == []
    assert said.calls == [
        (("folder",), {"style": "bold"}), (("  at  mse",), {"style": "bold"}),
        (("runs/one",), {"style": "bold"}), (("  9   0.25",), {"style": ""}),
        (("runs/b",), {"style": "bold"}), (("  10  -",), {"style": ""}),
    ]  # fmt: skip
