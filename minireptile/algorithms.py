"""The meta-algorithms, a record each: what runs, what it asks for, its own defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .fomaml import fomaml
from .imaml import check as check_imaml
from .imaml import imaml
from .joint import joint
from .loops import Loops, Snapshot
from .maml import check as check_maml
from .maml import maml
from .optim import Optimizer
from .reptile import reptile

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Algorithm:
    """A meta-algorithm."""

    # (model, tasks, optimizer, loops, start) -> the run after each outer iteration.
    run: Callable[..., Iterator[Snapshot]]
    # (optimizer, loops) -> None; `InputError` if they are not for this algorithm.
    check: Callable[[Optimizer, Loops], Any] = lambda optimizer, loops: None
    tail: bool = False  # it judges theta by the last mini-batch, drawn apart: `Loops.sample_tail`
    # Vectors of length P that each inner step before the last leaves in memory, to go back by.
    path: int = 0
    # For each kind of tasks, the settings that differ from the preset's.
    defaults: Mapping[str, Values] = field(default_factory=dict)

    def draw(self, loops: Loops) -> Callable[..., Any]:
        """What draws the mini-batches of its iterations, from (tasks, iteration)."""
        return loops.sample_tail if self.tail else loops.sample


# An outer Adam for those whose update is a gradient, as in the papers of MAML and iMAML, and its
# full rate. For images SGD inside, which can be differentiated, where the preset has Adam.
_OUTER: Values = {"outer": "adam"}
_OUTER_ON_SINE: Values = {"outer": "adam", "epsilon": 1.0}
# iMAML: to the minimum, 16 steps on sine as in its paper, with a lambda above the loss's curvature.
_NEAR: Values = {"inner_lr": 0.01, "prox": 100.0}

ALGORITHMS = {
    "reptile": Algorithm(reptile),
    "joint": Algorithm(joint),
    "fomaml": Algorithm(
        fomaml, tail=True,
        defaults={"classification": _OUTER, "regression": _OUTER_ON_SINE},
    ),
    "maml": Algorithm(
        maml, check_maml, tail=True, path=1,
        defaults={"classification": {**_OUTER, "optimizer": "sgd", "inner_lr": 0.1},
                  "regression": _OUTER_ON_SINE},
    ),
    "imaml": Algorithm(
        imaml, check_imaml, tail=True,
        defaults={"classification": {**_OUTER, "optimizer": "sgd", **_NEAR},
                  "regression": {**_OUTER_ON_SINE, "inner_steps": 17, **_NEAR}},
    ),
}  # fmt: skip
