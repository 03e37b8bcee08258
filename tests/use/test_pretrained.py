"""Trained models from runs, and those that ship with the package."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.delegate import begin
from minireptile.loops import Loops, Snapshot
from minireptile.runs import checkpoint
from minireptile.runs import trained as stored
from minireptile.runs.experiment import build_model, build_optimizer
from minireptile.runs.folder import CHECKPOINT, METRICS
from minireptile.runs.presets import PRESETS, defaults
from minireptile.runs.settings import Settings
from minireptile.tasks.glyphs import glyphs
from tests.small import assert_same_state

pytest.importorskip("safetensors", reason="safetensors is not installed")

TEST = {
    "accuracy": 0.9, "accuracy_ci95": 0.01, "transductive_accuracy": 0.925,
    "transductive_accuracy_ci95": None, "tasks": 2000, "seed": 0,
}  # fmt: skip


def settings(**changes: Any) -> Settings:
    """Of a glyphs run with the smallest network."""
    return Settings(**{**defaults("glyphs"), "filters": 2, "backend": "numpy", **changes})


def run_folder(folder: Path, s: Settings, shape: tuple[int, ...] = (28, 28, 1)) -> Snapshot:
    """A run as training leaves it, after three iterations that changed nothing."""
    model, optimizer = build_model(s, shape), build_optimizer(s)
    run = replace(begin(model, optimizer, Loops(iterations=3)), iteration=3)
    for name, array in run.state.items():
        run.state[name] = np.full_like(array, 5e-5 if array.shape else 15)
    checkpoint.save(folder / CHECKPOINT, run, replace(s, backend="cupy"))  # trained elsewhere
    worse = {**TEST, "accuracy": 0.2}
    tests = {0: [worse], 3: [worse, TEST], 5: [worse]}  # the last is of a run that went on
    records = [{"iteration": i, "test": each} for i in tests for each in tests[i]]
    (folder / METRICS).write_text("".join(json.dumps(r) + "\n" for r in records))
    return run


def test_a_run_is_loaded_without_its_data(tmp_path: Path) -> None:
    s = settings(eval_steps=20, eval_batch=3, replacement=True, way=4, shot=2, seed=7)
    run = run_folder(tmp_path, s)
    for path in (tmp_path, str(tmp_path / CHECKPOINT)):
        found = mr.load(path)
        np.testing.assert_array_equal(found.theta, run.theta)
        assert_same_state(found.state, run.state)
        assert (found.steps, found.batch, found.replacement) == (20, 3, True)
        assert found.optimizer == mr.Adam(0.001, beta1=0.0)
        assert (found.model.n_out, found.model.input_shape) == (4, (28, 28, 1))
    assert (found.model.reduction, found.model.backend) == ("mean", "numpy")
    card = dict(found.card)
    assert card.pop("command").startswith("minireptile train glyphs --way 4")
    assert card == {
        "dataset": "glyphs", "network": "omniglot", "algorithm": "reptile", "iteration": 3,
        "seed": 7, "way": 4, "shot": 2, "range": [0, 1], "ink": True, "test": TEST,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "shape", "changes"),
    [
        ("omniglot", (28, 28, 1), {"filters": 2}),
        ("miniimagenet", (84, 84, 3), {"filters": 2}),
        ("folder", (20, 20, 3), {"filters": 2, "size": 20, "channels": 3}),
        ("sine", (1,), {}),
    ],
)
def test_every_source_knows_its_shape(
    dataset: str, shape: tuple[int, ...], changes: dict[str, Any], tmp_path: Path
) -> None:
    s = Settings(**{**defaults(dataset), "backend": "numpy", **changes})
    model, optimizer = build_model(s, shape), build_optimizer(s)
    checkpoint.save(tmp_path / CHECKPOINT, begin(model, optimizer, Loops(iterations=1)), s)
    found = mr.load(tmp_path)
    assert found.model.input_shape == shape
    assert found.classifies == (dataset != "sine")
    assert "test" not in found.card
    assert found.card.get("ink", False) == (dataset == "omniglot")


def test_what_is_no_run_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(mr.InputError, match=r"there is no checkpoint .*: is this the folder"):
        mr.load(tmp_path)
    with pytest.raises(mr.InputError, match="there is no checkpoint"):
        mr.load(tmp_path / "none")
    (tmp_path / CHECKPOINT).write_text("text")
    with pytest.raises(mr.InputError, match="not a readable"):
        mr.load(tmp_path)
    run_folder(tmp_path, settings())
    run, s = checkpoint.load(tmp_path / CHECKPOINT)
    checkpoint.save(tmp_path / CHECKPOINT, run, replace(s, filters=3))
    with pytest.raises(mr.InputError, match="of another network than its settings name"):
        mr.load(tmp_path)
    with pytest.raises(mr.InputError, match=r"no trained model 'cats' ships .* choose one of "):
        mr.pretrained("cats")
    with pytest.raises(mr.InputError, match="backend"):
        mr.pretrained("glyphs", "abacus")


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "minireptile train glyphs"),
        ({"classes": 4800, "iterations": 20000}, "--classes 4800 --iterations 20000"),
        ({"way": 3, "algorithm": "fomaml"}, "--way 3 --algorithm fomaml"),
        ({"rotations": False, "seed": 2}, "--no-rotations --seed 2"),
        ({"data": "/home/me", "backend": "numba", "eval_every": 7}, "minireptile train glyphs --d"),
    ],
)
def test_the_command_says_what_differs(changes: dict[str, Any], command: str) -> None:
    base = {n: changes[n] for n in ("way", "shot", "algorithm") if n in changes}
    s = Settings(**{**defaults("glyphs", **base), "backend": "numpy", **changes})
    found = stored.command(s)
    assert command in found
    assert "me" not in shlex.split(found)[-1]
    assert "numba" not in found
    if not changes:
        assert found == command


def test_the_command_names_a_preset() -> None:
    s = Settings(**{**PRESETS["omniglot-5way-1shot"], "data": "x", "seed": 1, "backend": "numpy"})
    wanted = "minireptile train omniglot --preset omniglot-5way-1shot --data DIR --seed 1"
    assert stored.command(s) == wanted


def test_a_test_belongs_to_a_run_from_its_first_iteration_on(tmp_path: Path) -> None:
    run, s = run_folder(tmp_path, settings()), settings()
    for iteration in (1, 0):
        checkpoint.save(tmp_path / CHECKPOINT, replace(run, iteration=iteration), s)
        (tmp_path / METRICS).write_text(json.dumps({"iteration": iteration, "test": TEST}) + "\n")
        assert ("test" in mr.load(tmp_path).card) == (iteration > 0)


def test_a_run_is_shipped_with_its_card(tmp_path: Path) -> None:
    run = run_folder(tmp_path, settings())
    path = stored.ship(tmp_path, "small", tmp_path, note="All is well.")
    assert path == tmp_path / "small.safetensors"
    found = mr.load(path)
    np.testing.assert_allclose(found.theta, run.theta, rtol=2.0**-11, atol=1e-7)
    assert (found.theta != run.theta).any(), "it is not rounded"
    np.testing.assert_allclose(found.state["v"], run.state["v"], rtol=2.0**-10)
    assert found.card == {**mr.load(tmp_path).card, "note": "All is well."}
    text = (tmp_path / "small.md").read_text()
    assert text.startswith("# small\n")
    assert "\nminireptile train glyphs --filters 2\n" in text
    assert "2,000 tasks of classes that were not trained on, 5-way 1-shot, after 50 steps" in text
    assert "by Adam(lr=0.001, beta1=0.0), from" in text
    assert "\n| accuracy | 90.00 ± 1.00 |\n| transductive accuracy | 92.50  |\n" in text
    assert text.endswith("in float16. All is well.\n")
    (tmp_path / METRICS).unlink()
    with pytest.raises(mr.InputError, match="again has no test on unseen classes to tell of"):
        stored.ship(tmp_path, "again", tmp_path)


SHIPPED = stored.names()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_small_and_has_a_card(name: str) -> None:
    path = stored.SHIPPED / f"{name}.safetensors"
    assert path.stat().st_size < 500_000
    trained = mr.pretrained(name)
    assert path.with_suffix(".md").read_text() == stored.card_text(name, trained)
    assert trained.theta.dtype == np.float32
    assert trained.card["dataset"] == name
    assert 0.8 < trained.card["test"]["accuracy"] < 1


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_tells_drawn_characters_apart(name: str) -> None:
    trained, unseen = mr.pretrained(name), glyphs(12, 2, seed=99)
    right = []
    for first in (0, 4, 8):
        images = unseen.images[2 * first : 2 * first + 8].astype(np.float32)
        labels = np.arange(8) // 2
        adapted = trained.adapt(images[::2], labels[::2])
        right.append(adapted.predict(images[1::2]) == labels[1::2])
    assert np.mean(right) >= 0.5, "guessing is right in a quarter"
