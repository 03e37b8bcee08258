"""Checkpoints: what is written is read back, and anything else is refused in one sentence."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minireptile as mr
from minireptile.cli import main
from minireptile.delegate import begin
from minireptile.runs import checkpoint
from minireptile.runs.folder import CHECKPOINT
from minireptile.runs.settings import Settings, from_json

SETTINGS = Settings(  # complete: where a check fails, nothing is trained
    dataset="sine", network="sine", backend="numpy", optimizer="adam", beta1=0.5, iterations=3,
    test_tasks=0,
)  # fmt: skip


@pytest.fixture
def run() -> mr.Snapshot:
    start = begin(mr.sine_mlp(), mr.Adam(beta1=0.5), mr.Loops(5))
    return mr.Snapshot(3, start.theta, {**start.state, "t": np.array(15)}, start.loss)


@pytest.fixture
def path(run: mr.Snapshot, tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / CHECKPOINT, run, SETTINGS)
    return tmp_path / CHECKPOINT


def test_what_is_saved_is_loaded(path: Path, run: mr.Snapshot) -> None:
    loaded, settings = checkpoint.load(path)
    assert settings == SETTINGS
    assert (loaded.iteration, loaded.loss.shape) == (3, (0, 0))
    np.testing.assert_array_equal(loaded.theta, run.theta)
    assert loaded.state.keys() == run.state.keys()
    for name, array in run.state.items():
        np.testing.assert_array_equal(loaded.state[name], array)
        assert loaded.state[name].dtype == array.dtype
        assert loaded.state[name].shape == array.shape


def rewrite(path: Path, metadata: dict[str, str], **tensors: np.ndarray) -> None:
    good = {
        "format": "minireptile", "version": "1", "iteration": "3", "settings": SETTINGS.to_json()
    }  # fmt: skip
    save_file({**load_file(path), **tensors}, path, {**good, **metadata})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


WRONG = {
    "cut short": (cut, "): it may be cut short; restore it from a copy or make it again\n"),
    "empty": (lambda p: p.write_bytes(b""), "not a readable checkpoint"),
    "a pickle": (lambda p: p.write_bytes(pickle.dumps({"theta": 1})), "not a readable checkpoint"),
    "text": (lambda p: p.write_text("hello" * 100), "not a readable checkpoint"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "not a readable checkpoint"),
    "missing": (
        lambda p: p.unlink(),
        "there is no checkpoint {path}: is this the folder of a run?",
    ),
    "foreign": (lambda p: rewrite(p, {"format": "other"}), "but not a checkpoint of minireptile\n"),
    "newer": (
        lambda p: rewrite(p, {"version": "2"}),
        "has format version 2, and this minireptile reads up to 1: upgrade minireptile\n",
    ),
    "no version": (lambda p: rewrite(p, {"version": "x"}), "format version"),
    "no iteration": (
        lambda p: rewrite(p, {"iteration": "-1"}),
        "lacks theta or the iteration: restore it from a copy\n",
    ),
    "no settings": (lambda p: rewrite(p, {"settings": "{"}), "not JSON"),
    "unknown settings": (lambda p: rewrite(p, {"settings": '{"warp": 9}'}), "unknown settings"),
    "wrong settings": (lambda p: rewrite(p, {"settings": '{"way": "five"}'}), "--way must be"),
    "NaN": (
        lambda p: rewrite(p, {}, theta=np.full(4353, np.nan, "f4")),
        "holds NaN or infinity in theta: train again\n",
    ),
    "other model": (
        lambda p: rewrite(p, {}, theta=np.zeros(7, "f4")),
        "; its settings and its arrays do not belong together\n",
    ),
    "other state": (lambda p: rewrite(p, {}, **{"state.w": np.zeros(2, "f4")}), "another model"),
}


@pytest.mark.parametrize("command", ["resume", "evaluate", "plot"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_checkpoint_is_one_sentence_and_exit_code_2(
    case: str, command: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, words = WRONG[case]
    damage(path)
    assert main([command, str(path.parent)]) == 2
    captured = capsys.readouterr()
    assert words.format(path=path) in captured.err
    assert captured.err.count("\n") == 1
    assert str(path) in captured.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "unknown settings"),
        ('{"way": true}', "--way must be of type int"),
        ('{"inner_lr": "x"}', "--inner-lr must be of type float"),
        ('{"state": "lost"}', "--state must be one of carry, mean, fresh, not 'lost'$"),
        ('{"network": "sine"}', "glyphs tasks .*: choose --network omniglot or miniimagenet$"),
    ],
)
def test_settings_are_checked(text: str, words: str) -> None:
    with pytest.raises(mr.InputError, match=words):
        from_json(text)


POSITIVE = "size", "classes", "drawers", "shot", "eval_batch", "eval_tasks", "checkpoint_every"


@pytest.mark.parametrize("name", [*POSITIVE, "filters", "eval_steps", "eval_every", "test_tasks"])
def test_the_least_of_every_count(name: str) -> None:
    least, words = (1, "be at least 1") if name in POSITIVE else (0, "not be negative")
    enough: dict[str, Any] = {name: least}
    too_few: dict[str, Any] = {name: least - 1}
    assert getattr(replace(SETTINGS, **enough), name) == least
    with pytest.raises(mr.InputError, match=f"^--{name.replace('_', '-')} must {words}$"):
        replace(SETTINGS, **too_few)


def test_settings_survive_json() -> None:
    assert from_json(SETTINGS.to_json()) == SETTINGS


def test_settings_of_an_older_version_get_defaults_for_what_is_new() -> None:
    older = {"dataset": "sine", "network": "sine", "backend": "numpy", "beta1": 0.5}
    assert from_json(json.dumps({**older, "iterations": 3})) == replace(SETTINGS, test_tasks=200)
