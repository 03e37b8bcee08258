"""Claim: Reptile needs less time and memory than MAML, the more so the more inner steps there are
(both popular accounts of the paper).

Measured: seconds of an outer iteration, and the most memory that it takes, for k inner steps. MAML
is exact here and keeps the parameters at the beginning of each step; frameworks, which keep all
activations of all steps, need far more.
"""

import tracemalloc
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ..algorithms import ALGORITHMS as KNOWN
from ..loops import Loops
from ..model import Model
from ..networks import omniglot_cnn, sine_mlp
from ..optim import SGD
from ..tasks.base import Tasks
from ..tasks.glyphs import glyph_splits
from ..tasks.images import FewShot
from ..tasks.sine import Sine
from .outcome import Finding, Outcome, around, ratio, student

ALGORITHMS = {name: KNOWN[name].run for name in ("reptile", "fomaml", "maml")}
T, ITERATIONS = 5, 4
# The numbers of inner steps, and how often each is timed, if it is to be quick.
SIZES: dict[bool, tuple[tuple[int, ...], int]] = {
    True: ((2, 5, 10), 15),
    False: ((2, 5, 10, 20), 9),
}


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Time and memory of all three for several k, in turns."""
    steps, rounds = SIZES[quick]
    tasks: Tasks = Sine()
    model, of = sine_mlp(64, backend=backend), "a network of two hidden layers on sine waves"
    if not quick:
        classes = glyph_splits(train_classes=30, drawers=20, seed=0, rotations=False)
        tasks = FewShot(classes.train, 5)
        model, of = omniglot_cnn(5, backend=backend), "the paper's network on drawn characters"
    data: dict[str, Any] = {
        "steps": steps, "tasks": T, "parameters": model.size, "itemsize": model.dtype.itemsize,
        "backend": backend, "rounds": {name: [] for name in ALGORITHMS},
        "peak_bytes": {name: [] for name in ALGORITHMS},
    }  # fmt: skip
    for k in steps:
        times: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
        for n in range(1 + rounds):
            for name in ALGORITHMS:
                start = perf_counter()
                whole(name, model, tasks, k)
                if n:  # the first one compiles, and fills caches
                    times[name].append((perf_counter() - start) / ITERATIONS)
        for name in ALGORITHMS:
            data["rounds"][name].append(times[name])
            data["peak_bytes"][name].append(peak(lambda: whole(name, model, tasks, k)))  # noqa: B023
    seconds = {name: [median(each) for each in data["rounds"][name]] for name in ALGORITHMS}
    memory = data["peak_bytes"]
    data["seconds"] = seconds
    text = ", ".join(
        f"{m / r:.1f} and {m / f:.1f} for k = {k}"
        for k, r, f, m in zip(steps, *seconds.values(), strict=True)
    )

    def draw(left: Any, right: Any) -> None:
        for name in ALGORITHMS:
            left.plot(steps, 1e3 * np.array(seconds[name]), "o-", label=name)
            right.plot(steps, 1e-6 * np.array(memory[name]), "o-", label=name)
        left.set(xlabel="inner steps k", xticks=steps, ylabel="ms an outer iteration")
        right.set(xlabel="inner steps k", xticks=steps, ylabel="most memory held, MB")
        left.legend()

    return Outcome(
        "Reptile needs less time and memory than MAML, the more so the larger k is.",
        findings(data),
        f"For {of}, medians with {backend}, in multiples of Reptile's time and FOMAML's: {text}.",
        data, draw, panels=2,
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """MAML takes longer for the most steps, and by a larger factor than for the fewest, round by
    round; and for each step more it holds more: T vectors of P, if it keeps phi alone."""
    steps = data["steps"]
    few, many = ([np.array(data["rounds"][n][i]) for n in ("maml", "reptile")] for i in (0, -1))
    more = np.subtract(*(data["peak_bytes"][name] for name in ("maml", "reptile")))
    vectors = np.diff(more) / np.diff(steps) / (data["tasks"] * data["parameters"])
    return [
        ratio(f"MAML's time over Reptile's for k = {steps[-1]}", many[0], many[1]),
        ratio(f"that quotient for k = {steps[-1]} over that for k = {steps[0]}",
              many[0] / many[1], few[0] / few[1]),
        around("what MAML holds more for each step and task, in vectors of parameters",
               *student(vectors / data["itemsize"])),
    ]  # fmt: skip


def whole(name: str, model: Model, tasks: Tasks, k: int) -> None:
    """A short run to its end: an engine may compute several iterations in one call, so that no
    single one can be timed."""
    loops = Loops(ITERATIONS, meta_batch=T, epsilon=0.1, inner_steps=k, inner_batch=10)
    for _ in ALGORITHMS[name](model, tasks, SGD(0.01), loops):
        pass


def peak(call: Callable[[], None]) -> int:
    """The most bytes that a call holds beyond what was there before it."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call()
    most = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return most
