"""How soon Reptile, FOMAML and MAML reach an error on unseen sine waves, all else equal.

All take k steps of SGD on the same mini-batches, and theta moves by a constant epsilon times the
update, without an outer optimizer: what chance there is in an update reaches theta. The updates
differ in length, so each algorithm and each error has the epsilon, of a grid, whose runs are all
there first. It is chosen on other training runs and unseen tasks than those that are reported, of
which the median counts: with a constant epsilon near the largest, a run now and then explodes.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms import ALGORITHMS as KNOWN
from ..delegate import begin
from ..errors import InputError
from ..evaluate import Protocol, evaluate_regression
from ..loops import Loops
from ..model import Model
from ..optim import SGD
from ..rng import Stream
from ..tasks.sine import Sine

ALPHA, K = 0.02, 5
ALGORITHMS = {name: KNOWN[name.lower()].run for name in ("Reptile", "FOMAML", "MAML")}
# A gradient is three products a layer, a Hessian-vector product eight (kernels/loss_and_grad.md).
HVP = 8 / 3
GRADIENTS = {"Reptile": K, "FOMAML": K, "MAML": K + HVP * (K - 1)}
EPSILONS = {
    "Reptile": [2.0**p for p in range(-3, 3)],
    "FOMAML": [2.0**p for p in range(-3, 5)],
    "MAML": [2.0**p for p in range(-2, 5)],
}
LEVELS = ("half way", "at the end")
EXPLODED = 10  # times the untrained error


class Sizes(NamedTuple):
    """Iterations of T tasks each, seeds of the runs to choose epsilon and to report, and how many
    unseen tasks for either."""

    iterations: int
    meta_batch: int
    choice: Sequence[int]
    report: Sequence[int]
    tasks: int


class Curve(NamedTuple):
    """Error on unseen tasks after 5 steps on 10 points, and the half-width of its 95 % interval, at
    `marks`; infinite once a run has exploded."""

    mse: NDArray
    ci95: NDArray


def race(model: Model, sizes: Sizes) -> dict[str, Any]:
    """Choose each algorithm's epsilon for each level, run it anew, and see when it gets there: what
    JSON can hold of all curves, the levels, and `reached`, by level and algorithm."""
    at = marks(sizes.iterations)
    worst = {
        name: {
            e: np.max(
                [curve(model, name, e, s, sizes, Stream.RUNNING).mse for s in sizes.choice], 0
            )
            for e in epsilons
        }
        for name, epsilons in EPSILONS.items()
    }
    chosen = {
        level: {name: soonest(at, by, error) for name, by in worst.items()}
        for level, error in levels({name: list(by.values()) for name, by in worst.items()}).items()
    }
    wanted = {(name, e) for epsilons in chosen.values() for name, e in epsilons.items()}
    runs = {
        (name, e): [curve(model, name, e, s, sizes, Stream.TEST) for s in sizes.report]
        for name, e in sorted(wanted)
    }
    medians = {name: [median(runs[name, e])] for name, e in chosen["at the end"].items()}
    errors = levels(medians)
    reached = {
        level: {name: {"epsilon": e, "at_edge": e in (EPSILONS[name][0], EPSILONS[name][-1]),
                       **counts(at, runs[name, e], errors[level], name, sizes.meta_batch)}
                for name, e in chosen[level].items()}
        for level in LEVELS
    }  # fmt: skip
    return {
        **sizes._asdict(), "epsilons": EPSILONS, "marks": at, "levels": errors, "reached": reached,
        "start": float(medians["Reptile"][0][0]),
        "least": {name: least(each) for name, each in medians.items()},
        "curves": [
            {"algorithm": name, "epsilon": e, "seed": seed, "mse": plain(c.mse),
             "ci95": plain(c.ci95)}
            for (name, e), each in runs.items() for seed, c in zip(sizes.report, each, strict=True)
        ],
        "choice": [
            {"algorithm": name, "epsilon": e, "worst_mse": plain(mse)}
            for name, by in worst.items() for e, mse in by.items()
        ],
    }  # fmt: skip


def marks(iterations: int) -> list[int]:
    """Where errors are measured: 0, and six times a decade."""
    points = int(6 * np.log10(iterations / 10)) + 1
    return [0, *sorted({round(m) for m in np.geomspace(10, iterations, points)})]


def curve(
    model: Model, name: str, epsilon: float, seed: int, sizes: Sizes, stream: Stream
) -> Curve:
    """One training run, seen on the same unseen tasks at every mark."""
    loops = Loops(
        sizes.iterations, meta_batch=sizes.meta_batch, epsilon=epsilon, epsilon_final=epsilon,
        inner_steps=K, train_shots=50, state="fresh", seed=seed,
    )  # fmt: skip
    protocol = Protocol(sizes.tasks, shot=10, marks=(5,), batch=10, stream=stream)
    found = Curve(*np.full((2, len(marks(sizes.iterations))), np.inf))
    run = begin(model, SGD(ALPHA), loops)
    training = ALGORITHMS[name](model, Sine(), SGD(ALPHA), loops)
    with np.errstate(all="ignore"), suppress(InputError):  # a run that diverges stops with it
        for i, mark in enumerate(marks(sizes.iterations)):
            while run.iteration < mark:
                run = next(training)
            at = evaluate_regression(model, run.theta, {}, Sine(), SGD(ALPHA), protocol)
            if not at.mse[0] < EXPLODED * (found.mse[0] if i else np.inf):
                break
            found.mse[i], found.ci95[i] = at.mse[0], at.mse_ci95[0] or 0.0
    return found


def median(runs: list[Curve]) -> NDArray:
    """The median error of several runs at each mark."""
    return np.median([run.mse for run in runs], axis=0)


def levels(curves: dict[str, list[NDArray]]) -> dict[str, float]:
    """The errors to reach, from the curves of each algorithm: at the end the least that Reptile and
    MAML both reach, and on a logarithmic scale half way to it."""
    end = max(least(curves[name]) for name in ("Reptile", "MAML"))
    return {"half way": float(np.sqrt(curves["Reptile"][0][0] * end)), "at the end": end}


def least(curves: list[NDArray]) -> float:
    """The least error of several curves."""
    return min(float(one.min()) for one in curves)


def soonest(at: list[int], by: dict[float, NDArray], error: float) -> float:
    """The epsilon whose curve is the first to reach an error; if none does, the closest to it."""
    return min(by, key=lambda epsilon: (when(at, by[epsilon], error), by[epsilon].min()))


def when(at: list[int], mse: NDArray, error: float) -> float:
    """The iteration where a curve first reaches an error; between marks, its logarithm is taken to
    fall evenly. Infinite if it never does."""
    below = np.flatnonzero(mse <= error)
    if not len(below):
        return np.inf
    i = below[0]
    if not i or mse[i] == error:
        return float(at[i])
    part = np.log(mse[i - 1] / error) / np.log(mse[i - 1] / mse[i])
    return float(at[i - 1] + part * (at[i] - at[i - 1]))


def counts(
    at: list[int], runs: list[Curve], error: float, name: str, meta_batch: int
) -> dict[str, Any]:
    """Iterations and gradients until the median of the runs reaches an error, and until each
    does."""
    iterations = when(at, median(runs), error)
    return {
        "iterations": plain(iterations),
        "gradients": plain(iterations * GRADIENTS[name] * meta_batch),
        "each_run": [plain(when(at, run.mse, error)) for run in runs],
    }


def plain(values: Any) -> Any:
    """Numbers for JSON, which knows no infinity: None instead."""
    if np.ndim(values):
        return [plain(value) for value in values]
    return float(values) if np.isfinite(values) else None


def draw_race(ax: Any, found: dict[str, Any]) -> None:
    """Every run that is reported, with its interval, and the errors to reach."""
    at = np.maximum(found["marks"], found["marks"][1] / 2)  # 0 has no place on the scale
    for n, name in enumerate(ALGORITHMS):
        ends = [found["reached"][level][name]["epsilon"] for level in reversed(LEVELS)]
        label = name
        for row in (row for row in found["curves"] if row["algorithm"] == name):
            mse, ci95 = (np.array(row[key], float) for key in ("mse", "ci95"))
            style = "-" if row["epsilon"] == ends[0] else ":"
            ax.plot(at, mse, style, color=f"C{n}", lw=1, label=label)
            ax.fill_between(at, mse - ci95, mse + ci95, color=f"C{n}", alpha=0.1, lw=0)
            label = "_"
    for error in found["levels"].values():
        ax.axhline(error, color="k", lw=0.5)
    ax.set(
        xscale="log", yscale="log", xlabel="iteration", ylabel="mean squared error after 5 steps",
        ylim=(0.5 * found["levels"]["at the end"], 2 * found["curves"][0]["mse"][0]),
    )  # fmt: skip
    ax.legend(title="dotted: epsilon for half way", fontsize=8, title_fontsize=7)
