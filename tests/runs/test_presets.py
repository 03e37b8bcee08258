"""Every value of every preset, and of every run for which none is named, written out."""

from __future__ import annotations

from typing import Any

import pytest

from minireptile.cli.options import settings_from
from minireptile.runs.presets import PRESETS, defaults, nearest
from minireptile.runs.settings import Settings
from minireptile.runs.sources import SOURCES

# README of the paper's code, lines 33 to 56, and its defaults (supervised_reptile/args.py).
COLUMNS = ("way", "shot", "inner_batch", "inner_steps", "train_shots", "inner_lr", "iterations",
           "eval_batch")  # fmt: skip
TABLE = {
    "omniglot-5way-1shot": (5, 1, 10, 5, 10, 0.001, 100_000, 5),
    "omniglot-5way-5shot": (5, 5, 10, 5, 10, 0.001, 100_000, 5),
    "omniglot-20way-1shot": (20, 1, 20, 10, 10, 0.0005, 200_000, 10),
    "omniglot-20way-5shot": (20, 5, 20, 10, 10, 0.0005, 200_000, 10),
    "miniimagenet-5way-1shot": (5, 1, 10, 8, 15, 0.001, 100_000, 5),
    "miniimagenet-5way-5shot": (5, 5, 10, 8, 15, 0.001, 100_000, 15),
}
SHARED = {
    "optimizer": "adam", "beta1": 0.0, "momentum": 0.0, "weight_decay_rate": 1.0,
    "reduction": "sum", "state": "carry", "replacement": False, "meta_batch": 5,
    "epsilon": 1.0, "epsilon_final": 0.0, "eval_steps": 50,
}  # fmt: skip
SPLIT = {"omniglot": "random", "miniimagenet": "folders"}
SINE = {
    "dataset": "sine", "network": "sine", "optimizer": "sgd", "inner_lr": 0.02,
    "reduction": "mean", "state": "fresh", "replacement": False, "meta_batch": 1,
    "epsilon": 0.1, "epsilon_final": 0.0, "shot": 10, "train_shots": 50, "inner_batch": 10,
    "inner_steps": 5, "iterations": 30_000, "eval_steps": 32, "eval_batch": 10,
}  # fmt: skip


def paper(name: str) -> dict[str, Any]:
    """A row of the table as settings."""
    dataset = name.split("-")[0]
    row = dict(zip(COLUMNS, TABLE[name], strict=True))
    return {**SHARED, **row, "dataset": dataset, "network": dataset, "split": SPLIT[dataset]}


def test_the_presets_hold_the_papers_values() -> None:
    assert {**{name: paper(name) for name in TABLE}, "sine": SINE} == PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_gives_settings_and_nothing_else(preset: str) -> None:
    """What it does not name is at its default, and what is given goes before."""
    dataset = PRESETS[preset]["dataset"]
    options = {"dataset": dataset, "preset": preset, "backend": "numpy"}
    made = settings_from(options)
    assert made == Settings(**{**PRESETS[preset], "backend": "numpy"})
    other = settings_from({**options, "inner_lr": 0.5, "replacement": True, "way": 7})
    assert other == Settings(
        **{**PRESETS[preset], "backend": "numpy", "inner_lr": 0.5, "replacement": True, "way": 7}
    )


@pytest.mark.parametrize(
    ("dataset", "way", "shot", "preset"),
    [
        ("omniglot", 5, 1, "omniglot-5way-1shot"),
        ("omniglot", 5, 4, "omniglot-5way-1shot"),
        ("omniglot", 5, 5, "omniglot-5way-5shot"),
        ("omniglot", 2, 5, "omniglot-5way-5shot"),
        ("omniglot", 19, 20, "omniglot-5way-5shot"),
        ("omniglot", 20, 1, "omniglot-20way-1shot"),
        ("omniglot", 50, 6, "omniglot-20way-5shot"),
        ("miniimagenet", 20, 4, "miniimagenet-5way-1shot"),
        ("miniimagenet", 3, 5, "miniimagenet-5way-5shot"),
        ("sine", 5, 1, "sine"),
        ("sine", 20, 50, "sine"),
    ],
)
def test_the_nearest_preset(dataset: str, way: int, shot: int, preset: str) -> None:
    assert nearest(dataset, way, shot) == preset


LOOK = {"state": "mean", "reduction": "mean", "iterations": 6000}
SOURCE: dict[str, dict[str, Any]] = {
    "sine": SINE,
    "glyphs": {**paper("omniglot-5way-1shot"), **LOOK, "split": "", "dataset": "glyphs"},
    "omniglot": {**paper("omniglot-5way-1shot"), **LOOK},
    "miniimagenet": {**paper("miniimagenet-5way-1shot"), **LOOK},
    "folder": {**paper("omniglot-5way-1shot"), **LOOK, "split": "", "dataset": "folder"},
}
ON_IMAGES: dict[str, dict[str, Any]] = {
    "reptile": {},
    "joint": {},
    "fomaml": {"outer": "adam"},
    "maml": {"outer": "adam", "optimizer": "sgd", "inner_lr": 0.1},
    "imaml": {"outer": "adam", "optimizer": "sgd", "inner_lr": 0.01, "prox": 100.0},
}
ON_SINE: dict[str, dict[str, Any]] = {
    "reptile": {},
    "joint": {},
    "fomaml": {"outer": "adam", "epsilon": 1.0},
    "maml": {"outer": "adam", "epsilon": 1.0},
    "imaml": {"outer": "adam", "epsilon": 1.0, "inner_lr": 0.01, "inner_steps": 17, "prox": 100.0},
}


@pytest.mark.parametrize("algorithm", ON_IMAGES)
@pytest.mark.parametrize("dataset", SOURCES)
def test_defaults(dataset: str, algorithm: str) -> None:
    own = (ON_SINE if dataset == "sine" else ON_IMAGES)[algorithm]
    assert defaults(dataset, algorithm=algorithm) == {**SOURCE[dataset], **own}
    made = settings_from({"dataset": dataset, "algorithm": algorithm, "backend": "numpy"})
    given = {"algorithm": algorithm, "backend": "numpy"}
    assert made == Settings(**{**SOURCE[dataset], **own, **given})


def test_defaults_follow_way_and_shot() -> None:
    made = settings_from({"dataset": "omniglot", "way": 25, "shot": 6, "backend": "numpy"})
    near: dict[str, Any] = {
        **paper("omniglot-20way-5shot"),
        **LOOK,
        "way": 25,
        "shot": 6,
        "backend": "numpy",
    }
    assert made == Settings(**near)
    made = settings_from({"dataset": "miniimagenet", "shot": 7, "backend": "numpy"})
    near = {**paper("miniimagenet-5way-5shot"), **LOOK, "shot": 7, "backend": "numpy"}
    assert made == Settings(**near)


def test_settings_have_these_defaults() -> None:
    """A run without a preset's value, and a checkpoint from before a setting, get these."""
    assert Settings(backend="numpy") == Settings(
        dataset="glyphs", data="", split="", size=28, channels=1, classes=1200, drawers=20,
        rotations=True, way=5, shot=1, train_shots=10, algorithm="reptile", iterations=6000,
        meta_batch=5, epsilon=1.0, epsilon_final=0.0, inner_steps=5, inner_batch=10,
        replacement=False, state="mean", seed=0, tail="shared", tail_shots=5, prox=1.0,
        cg_steps=5, cg_tolerance=0.0, outer="plain", outer_lr=0.0, outer_momentum=0.0,
        outer_beta1=0.9, optimizer="adam", inner_lr=0.001, momentum=0.0, beta1=0.0,
        weight_decay_rate=1.0, reduction="mean", network="omniglot", filters=0,
        dtype="float32", backend="numpy", tf32=False, eval_steps=50, eval_batch=5,
        eval_every=100, eval_tasks=5, test_tasks=200, checkpoint_every=100,
    )  # fmt: skip
