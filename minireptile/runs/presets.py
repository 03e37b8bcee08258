"""The paper's experiments, a table of values each.

Read from the README of the paper's code and from its defaults (supervised_reptile/args.py). Every
value can be overridden on the command line by the option of the same name.

The presets replicate the paper's code: the loss is a sum over the mini-batch, and the optimizer's
state is carried from task to task, which makes the tasks of a meta-batch run one after another.
"""

from collections.abc import Mapping
from typing import Any

from ..algorithms import ALGORITHMS
from .sources import SOURCES

_SHARED: dict[str, Any] = {
    "optimizer": "adam", "beta1": 0.0, "momentum": 0.0, "weight_decay_rate": 1.0,
    "reduction": "sum", "state": "carry", "replacement": False, "meta_batch": 5,
    "epsilon": 1.0, "epsilon_final": 0.0, "eval_steps": 50,
}  # fmt: skip
_OMNIGLOT = {**_SHARED, "dataset": "omniglot", "split": "random", "network": "omniglot"}
_MINIIMAGENET = {
    **_SHARED, "dataset": "miniimagenet", "split": "folders", "network": "miniimagenet"
}  # fmt: skip
_COLUMNS = (
    "way", "shot", "train_shots", "inner_batch", "inner_steps", "inner_lr", "iterations",
    "eval_batch",
)  # fmt: skip
_TABLE: dict[str, tuple[Any, ...]] = {
    "omniglot-5way-1shot": (_OMNIGLOT, 5, 1, 10, 10, 5, 0.001, 100_000, 5),
    "omniglot-5way-5shot": (_OMNIGLOT, 5, 5, 10, 10, 5, 0.001, 100_000, 5),
    "omniglot-20way-1shot": (_OMNIGLOT, 20, 1, 10, 20, 10, 0.0005, 200_000, 10),
    "omniglot-20way-5shot": (_OMNIGLOT, 20, 5, 10, 20, 10, 0.0005, 200_000, 10),
    "miniimagenet-5way-1shot": (_MINIIMAGENET, 5, 1, 15, 10, 8, 0.001, 100_000, 5),
    "miniimagenet-5way-5shot": (_MINIIMAGENET, 5, 5, 15, 10, 8, 0.001, 100_000, 15),
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    name: {**shared, **dict(zip(_COLUMNS, values, strict=True))}
    for name, (shared, *values) in _TABLE.items()
}
# The sine experiment's code: one task at a time, a grid of 50 points in 5 mini-batches of 10.
PRESETS["sine"] = {
    "dataset": "sine", "network": "sine", "optimizer": "sgd", "inner_lr": 0.02,
    "reduction": "mean", "state": "fresh", "replacement": False, "meta_batch": 1,
    "epsilon": 0.1, "epsilon_final": 0.0, "shot": 10, "train_shots": 50, "inner_batch": 10,
    "inner_steps": 5, "iterations": 30_000, "eval_steps": 32, "eval_batch": 10,
}  # fmt: skip


def nearest(dataset: str, way: int, shot: int) -> str:
    """The preset of a data set with the largest way, and then shot, that do not exceed these; or
    with the least there is."""

    def rank(name: str) -> tuple[int, ...]:
        has = PRESETS[name].get("way", way), PRESETS[name]["shot"]
        return tuple(n for h, of in zip(has, (way, shot), strict=True) for n in (min(of - h, 0), h))

    return max((name for name, v in PRESETS.items() if v["dataset"] == dataset), key=rank)


def unless_given(preset: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The values that hold where an option is not given: the preset's, or the defaults of the data
    set, way, shot and algorithm that are."""
    if preset:
        return dict(PRESETS[preset])
    names = "dataset", "way", "shot", "algorithm"
    return defaults(**{name: options[name] for name in names if name in options})


def defaults(
    dataset: str, way: int = 5, shot: int = 1, algorithm: str = "reptile"
) -> dict[str, Any]:
    """The values of a run for which no preset was named: those of the nearest one, and what is
    other for this source of tasks and this algorithm."""
    source = SOURCES[dataset]
    return {
        **PRESETS[nearest(source.like, way, shot)],
        **source.defaults,
        **ALGORITHMS[algorithm].defaults.get(source.kind, {}),
        "dataset": dataset,
    }
