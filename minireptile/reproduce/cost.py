"""Claim: Reptile needs less time and memory than MAML, the more so the more inner steps there are
(both popular accounts of the paper).

Measured: seconds of an outer iteration, and the most memory that it takes, for k inner steps. MAML
is exact here and keeps the parameters at the beginning of each step; frameworks, which keep all
activations of all steps, need far more.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ..fomaml import fomaml
from ..loops import Loops, Snapshot
from ..maml import maml
from ..model import Model
from ..networks import omniglot_cnn
from ..optim import SGD
from ..reptile import reptile
from ..tasks.glyphs import glyph_splits
from ..tasks.images import FewShot
from .outcome import Outcome

ALGORITHMS: dict[str, Callable[..., Iterator[Snapshot]]] = {
    "reptile": reptile, "fomaml": fomaml, "maml": maml
}  # fmt: skip
T = 5


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Time and memory of all three for several k, in turns."""
    steps, rounds = ((2, 4), 2) if quick else ((2, 5, 10, 20), 9)
    model = omniglot_cnn(5, filters=8 if quick else 64, backend=backend)
    classes = glyph_splits(train_classes=30, drawers=20, seed=0, rotations=False)
    tasks = FewShot(classes.train, 5)
    seconds: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
    memory: dict[str, list[int]] = {name: [] for name in ALGORITHMS}
    for k in steps:
        runs = {name: started(name, model, tasks, k) for name in ALGORITHMS}
        times: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
        for _ in range(rounds):
            for name, iterations in runs.items():
                start = perf_counter()
                next(iterations)
                times[name].append(perf_counter() - start)
        for name, iterations in runs.items():
            seconds[name].append(median(times[name]))
            memory[name].append(peak(iterations))
    # What MAML holds beyond Reptile, a step: T vectors of P, by a line through all k.
    more = np.array(memory["maml"]) - np.array(memory["reptile"])
    slope = float(np.polyfit(steps, more, 1)[0]) / (T * model.size * model.dtype.itemsize)
    ratio, of_fomaml = (
        [m / o for m, o in zip(seconds["maml"], seconds[other], strict=True)]
        for other in ("reptile", "fomaml")
    )
    holds = ratio[-1] > ratio[0] > 1 and slope > 0.5

    def draw(left: Any, right: Any) -> None:
        for name in ALGORITHMS:
            left.plot(steps, 1e3 * np.array(seconds[name]), "o-", label=name)
            right.plot(steps, 1e-6 * np.array(memory[name]), "o-", label=name)
        left.set(xlabel="inner steps k", xticks=steps, ylabel="ms an outer iteration")
        right.set(xlabel="inner steps k", xticks=steps, ylabel="most memory held, MB")
        left.legend()

    return Outcome(
        "Reptile needs less time and memory than MAML, the more so the larger k is.",
        bool(holds),
        f"with {backend}, MAML takes {ratio[0]:.1f} times as long as Reptile for k = {steps[0]} "
        f"and {ratio[-1]:.1f} times for k = {steps[-1]} (at most {max(of_fomaml):.1f} times as "
        f"long as FOMAML), and for each step and task it holds {slope:.2f} times the parameters "
        f"more.",
        {"steps": steps, "tasks": T, "parameters": model.size, "seconds": seconds,
         "peak_bytes": memory, "maml_over_fomaml": of_fomaml, "backend": backend},
        draw, panels=2,
    )  # fmt: skip


def started(name: str, model: Model, tasks: FewShot, k: int) -> Iterator[Snapshot]:
    """A run after its first iteration, which allocates what all others use."""
    loops = Loops(10**6, meta_batch=T, epsilon=0.1, inner_steps=k, inner_batch=10)
    iterations = ALGORITHMS[name](model, tasks, SGD(0.01), loops)
    next(iterations)
    return iterations


def peak(iterations: Iterator[Snapshot]) -> int:
    """The most bytes that an iteration holds beyond what was there before it."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    next(iterations)
    most = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return most
