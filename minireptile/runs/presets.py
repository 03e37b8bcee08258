"""The paper's experiments, a table of values each.

Read from the README of the paper's code and from its defaults (supervised_reptile/args.py). Every
value can be overridden on the command line by the option of the same name.

The presets replicate the paper's code: the loss is a sum over the mini-batch, and the optimizer's
state is carried from task to task, which makes the tasks of a meta-batch run one after another.
"""

from __future__ import annotations

from typing import Any

_PAPER: dict[str, Any] = {
    "optimizer": "adam",
    "beta1": 0.0,
    "momentum": 0.0,
    "weight_decay_rate": 1.0,
    "reduction": "sum",
    "state": "carry",
    "replacement": False,
    "meta_batch": 5,
    "epsilon": 1.0,
    "epsilon_final": 0.0,
    "eval_steps": 50,
}

_OMNIGLOT = {**_PAPER, "dataset": "omniglot", "split": "random", "network": "omniglot"}
_MINIIMAGENET = {**_PAPER, "dataset": "miniimagenet", "split": "folders", "network": "miniimagenet"}

PRESETS: dict[str, dict[str, Any]] = {
    "omniglot-5way-1shot": {
        **_OMNIGLOT,
        "way": 5,
        "shot": 1,
        "train_shots": 10,
        "inner_batch": 10,
        "inner_steps": 5,
        "inner_lr": 0.001,
        "iterations": 100_000,
        "eval_batch": 5,
    },
    "omniglot-5way-5shot": {
        **_OMNIGLOT,
        "way": 5,
        "shot": 5,
        "train_shots": 10,
        "inner_batch": 10,
        "inner_steps": 5,
        "inner_lr": 0.001,
        "iterations": 100_000,
        "eval_batch": 5,
    },
    "omniglot-20way-1shot": {
        **_OMNIGLOT,
        "way": 20,
        "shot": 1,
        "train_shots": 10,
        "inner_batch": 20,
        "inner_steps": 10,
        "inner_lr": 0.0005,
        "iterations": 200_000,
        "eval_batch": 10,
    },
    "omniglot-20way-5shot": {
        **_OMNIGLOT,
        "way": 20,
        "shot": 5,
        "train_shots": 10,
        "inner_batch": 20,
        "inner_steps": 10,
        "inner_lr": 0.0005,
        "iterations": 200_000,
        "eval_batch": 10,
    },
    "miniimagenet-5way-1shot": {
        **_MINIIMAGENET,
        "way": 5,
        "shot": 1,
        "train_shots": 15,
        "inner_batch": 10,
        "inner_steps": 8,
        "inner_lr": 0.001,
        "iterations": 100_000,
        "eval_batch": 5,
    },
    "miniimagenet-5way-5shot": {
        **_MINIIMAGENET,
        "way": 5,
        "shot": 5,
        "train_shots": 15,
        "inner_batch": 10,
        "inner_steps": 8,
        "inner_lr": 0.001,
        "iterations": 100_000,
        "eval_batch": 15,
    },
    # The sine experiment's code: one task at a time, a grid of 50 points in 5 mini-batches of 10.
    "sine": {
        "dataset": "sine",
        "network": "sine",
        "optimizer": "sgd",
        "inner_lr": 0.02,
        "reduction": "mean",
        "state": "fresh",
        "replacement": False,
        "meta_batch": 1,
        "epsilon": 0.1,
        "epsilon_final": 0.0,
        "shot": 10,
        "train_shots": 50,
        "inner_batch": 10,
        "inner_steps": 5,
        "iterations": 30_000,
        "eval_steps": 32,
        "eval_batch": 10,
    },
}


# For those whose meta-gradient is of the loss after the inner steps: SGD inside, which can be
# differentiated, and Adam outside, as in their papers.
_RELATIVES: dict[str, dict[str, Any]] = {
    "fomaml": {"outer": "adam"},
    "maml": {"outer": "adam", "optimizer": "sgd", "inner_lr": 0.1},
    "imaml": {"outer": "adam", "optimizer": "sgd", "inner_lr": 0.01, "prox": 100.0},
}
RELATIVES_ON_SINE: dict[str, dict[str, Any]] = {
    "fomaml": {"outer": "adam", "epsilon": 1.0},
    "maml": {"outer": "adam", "epsilon": 1.0},
    # 16 steps to the minimum, as in its paper, with a lambda above what the loss curves down.
    "imaml": {"outer": "adam", "epsilon": 1.0, "inner_lr": 0.01, "inner_steps": 17, "prox": 100.0},
}


def defaults(dataset: str, way: int, shot: int, algorithm: str = "reptile") -> dict[str, Any]:
    """The values of a run for which no preset was named.

    Those of the nearest preset, but with the tasks of a meta-batch in parallel, the loss as a mean,
    and few enough iterations for a first look; and of Reptile's relatives, what they need.
    """
    if dataset == "sine":
        return {**PRESETS["sine"], **RELATIVES_ON_SINE.get(algorithm, {})}
    kind = "miniimagenet" if dataset == "miniimagenet" else "omniglot"
    ways = 20 if way >= 20 and kind == "omniglot" else 5
    nearest = PRESETS[f"{kind}-{ways}way-{5 if shot >= 5 else 1}shot"]
    split = {"omniglot": "random", "miniimagenet": "folders"}.get(dataset, "")
    parallel = {"state": "mean", "reduction": "mean", "iterations": 6000}
    task = {"dataset": dataset, "split": split, "way": way, "shot": shot}
    return {**nearest, **parallel, **_RELATIVES.get(algorithm, {}), **task}
