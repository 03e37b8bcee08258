"""All settings of a run in one record: what the command line sets and a checkpoint keeps.

A field is an option of the command line, an entry of a preset and a key in the checkpoint, under
one name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from inspect import signature
from typing import Any

from ..algorithms import ALGORITHMS
from ..backend import BACKENDS, settled
from ..errors import InputError
from ..loops import TAILS
from ..networks import NETWORKS
from ..optim import OPTIMIZERS, POLICIES
from .sources import SOURCES

DATASETS = tuple(SOURCES)
OUTERS = ("plain", *OPTIMIZERS)
BACKEND_CHOICES = ("auto", *BACKENDS)
# The panels of the settings in the command line's help, in their order.
GROUPS = {
    "task": "Task", "data": "Data", "loops": "Loops", "optimizer": "Inner optimizer",
    "relatives": "Relatives: fomaml, maml, imaml, an outer optimizer", "network": "Network",
    "evaluation": "Evaluation", "machine": "Machine", "run": "Run",
}  # fmt: skip


def _option(group: str, default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"group": group, "help": help, "choices": choices})


@dataclass(frozen=True)
class Settings:
    """One run's settings; the help texts say what each one is. See `Loops` for the two loops."""

    dataset: str = _option("task", "glyphs", "where the tasks come from", DATASETS)
    data: str = _option("data", "", "folder or archive with the data")
    split: str = _option("data", "", "omniglot: random or vinyals; miniimagenet: folders or csv")
    size: int = _option("data", 28, "folder: images are resized to size x size")
    channels: int = _option("data", 1, "folder: 1 for grey, 3 for colour")
    test_fraction: float = _option("data", 0.25, "folder: the part of its classes kept for test")
    classes: int = _option("data", 1200, "glyphs: training characters to draw")
    drawers: int = _option("data", 20, "glyphs: drawings of each character")
    rotations: bool = _option(
        "data", True, "train on characters turned by 90, 180, 270 degrees too"
    )

    way: int = _option("task", 5, "classes in a task, N")
    shot: int = _option("task", 1, "support examples of each class in an evaluation task, K")
    train_shots: int = _option("task", 10, "examples of each class in a training task")

    algorithm: str = _option("loops", "reptile", "the meta-algorithm", tuple(ALGORITHMS))
    iterations: int = _option("loops", 6000, "outer iterations")
    meta_batch: int = _option("loops", 5, "tasks in each outer iteration, T")
    epsilon: float = _option("loops", 1.0, "outer step size at the start")
    epsilon_final: float = _option("loops", 0.0, "outer step size at the end; linear in between")
    inner_steps: int = _option("loops", 5, "gradient steps on each task, k")
    inner_batch: int = _option("loops", 10, "examples in each of them, B")
    replacement: bool = _option(
        "loops", False, "draw mini-batches anew instead of dealing them out"
    )
    state: str = _option("loops", "mean", "the optimizer's state between tasks", POLICIES)
    seed: int = _option("run", 0, "of the tasks, the split and the initial parameters")

    tail: str = _option("relatives", "shared", "the last mini-batch of fomaml, maml, imaml", TAILS)
    tail_shots: int = _option("relatives", 5, "of the train-shots, those for a separate tail")
    prox: float = _option("relatives", 1.0, "imaml: weight of |phi - theta|^2 / 2, lambda")
    cg_steps: int = _option("relatives", 5, "imaml: steps of conjugate gradients, at most")
    cg_tolerance: float = _option("relatives", 0.0, "imaml: relative residual to reach; 0: any")
    outer: str = _option("relatives", "plain", "what moves theta (plain: epsilon alone)", OUTERS)
    outer_lr: float = _option("relatives", 0.0, "its rate; 0: 1 for sgd, 0.001 for adam")
    outer_momentum: float = _option("relatives", 0.0, "of an outer SGD")
    outer_beta1: float = _option("relatives", 0.9, "of an outer Adam")

    optimizer: str = _option("optimizer", "adam", "the inner optimizer", tuple(OPTIMIZERS))
    inner_lr: float = _option("optimizer", 0.001, "inner learning rate, alpha")
    momentum: float = _option("optimizer", 0.0, "of SGD")
    beta1: float = _option("optimizer", 0.0, "of Adam")
    weight_decay_rate: float = _option(
        "optimizer", 1.0, "weights are multiplied by it at each step"
    )
    reduction: str = _option("optimizer", "mean", "of the losses in a mini-batch", ("mean", "sum"))

    network: str = _option("network", "omniglot", "the network", tuple(NETWORKS))
    filters: int = _option("network", 0, "filters of each convolution; 0: as in the paper")
    dtype: str = _option("machine", "float32", "precision", ("float32", "float64"))
    backend: str = _option(
        "machine", "auto", "whose kernels compute (auto: the fastest)", BACKEND_CHOICES
    )
    tf32: bool = _option(
        "machine", False, "cupy: convolutions on tensor cores, with 10 bits of mantissa"
    )

    eval_steps: int = _option("evaluation", 50, "gradient steps on an evaluation task")
    eval_batch: int = _option("evaluation", 5, "examples in each of them")
    eval_every: int = _option("evaluation", 100, "iterations between running evaluations; 0: none")
    eval_tasks: int = _option("evaluation", 5, "tasks of a running evaluation")
    test_tasks: int = _option("evaluation", 200, "tasks of the evaluation at the end; 0: none")
    checkpoint_every: int = _option("run", 100, "iterations between checkpoints")

    def __post_init__(self) -> None:
        for f in fields(self):
            value, name = getattr(self, f.name), f.name.replace("_", "-")
            if f.type == "float" and type(value) is int:
                object.__setattr__(self, f.name, float(value))
            elif type(value).__name__ != f.type:
                raise InputError(f"--{name} must be of type {f.type}, not {value!r}")
            choices = f.metadata["choices"]
            if choices and value not in choices:
                raise InputError(f"--{name} must be one of {', '.join(choices)}, not {value!r}")
        if self.backend == "auto":  # decided once: a run keeps the backend that it began with
            object.__setattr__(self, "backend", settled("auto", SOURCES[self.dataset].gpu))
        for name in (
            "size", "classes", "drawers", "shot", "eval_batch", "eval_tasks", "checkpoint_every",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1")
        for name in ("filters", "eval_steps", "eval_every", "test_tasks"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name.replace('_', '-')} must not be negative")
        fit = SOURCES[self.dataset].networks
        if self.network not in fit:
            raise InputError(
                f"the {self.network} network and the {self.dataset} tasks do not go together: "
                f"choose --network {' or '.join(fit)}"
            )

    def to_json(self) -> str:
        """The settings as a JSON object."""
        return json.dumps(asdict(self))


def named_after(make: Callable[..., Any], s: Settings, prefix: str = "") -> dict[str, Any]:
    """The settings that the parameters of `make` are named after, behind the prefix."""
    names = signature(make).parameters
    return {name: getattr(s, prefix + name) for name in names if hasattr(s, prefix + name)}


def from_json(text: str) -> Settings:
    """Settings from what `to_json` wrote; `InputError` if it is anything else."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"the settings are not JSON: {error}") from None
    known = {f.name for f in fields(Settings)}
    if not isinstance(values, dict) or not set(values) <= known:
        extra = sorted(set(values) - known) if isinstance(values, dict) else values
        raise InputError(f"unknown settings {extra}: they may be of a newer minireptile")
    return Settings(**values)
