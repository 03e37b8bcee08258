"""How an outer iteration grows with the workers: measured with processes, modelled to 1,000.

An iteration is T tasks of c seconds on W workers, of which the busiest has ceil(T / W). What hands
lots out costs something an iteration, and something a lot; MPI, where every rank runs the same
loop, a message that goes up and down a tree of ranks:

    processes, Dask    ceil(T / W) c + fixed + lot min(T, W)
    MPI                ceil(T / W) c + fixed + message + 2 ceil(log2 W) hop

The efficiency is T c / (W seconds). The constants are rows of bench/results/scaling.json, with
where each is from; a run takes them from there, and writes them beside what it measures.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np

import minireptile as mr
from minireptile.errors import InputError
from minireptile.runs.plot import save_figure
from minireptile.runs.workers.base import one_thread

from .machine import cores, describe, usable
from .measure import clocked
from .plots import distinct, figure, ticks_at
from .results import Row, load
from .runs import FOREVER, images
from .settings import OMNIGLOT, QUICK, Setting
from .tables import TIME, Columns

COLUMNS: Columns = {
    "workers": ("workers", "how many"),
    "tasks": ("tasks", "of an iteration, T"),
    **TIME,
    "efficiency": ("efficiency", "one worker's time for so many tasks, over all the workers' time"),
    "of_ideal": (
        "of ideal",
        "the time of as many processes with no iteration in common, over this",
    ),
}

RESULTS = Path(__file__).parent / "results" / "scaling.json"
CONSTANTS = "constants of the model"
ENGINES = ("processes", "Dask", "MPI")
MEETINGS = {"T = W": (1, 0), "T = 10 W": (10, 0), "T = 1,000": (0, 1000)}
WORKERS = (2, 4, 16, 64, 256, 1000)
TASKS = 8  # of an iteration; weak: of a worker


def seconds(engine: str, tasks: int, workers: int, known: dict[str, float]) -> float:
    """Of an iteration, by the model; `known` has "c", and "Dask, lot" and the like."""
    work = ceil(tasks / workers) * known["c"] + known[f"{engine}, fixed"]
    if engine == "MPI":
        return work + known["MPI, message"] + 2 * ceil(log2(workers)) * known["MPI, hop"]
    return work + min(tasks, workers) * known[f"{engine}, lot"]


def model(known: dict[str, float]) -> list[Row]:
    """The table: meta-batches of 1 and 10 tasks a worker, and of 1,000, on each engine."""
    rows: list[Row] = []
    for name, (each, all_) in MEETINGS.items():
        for engine in ENGINES:
            for workers in WORKERS:
                tasks = each * workers + all_
                time = seconds(engine, tasks, workers, known)
                rows.append({
                    "case": f"model, {name}", "variant": engine, "workers": workers, "tasks": tasks,
                    "seconds": time, "efficiency": tasks * known["c"] / (workers * time),
                })  # fmt: skip
    return rows


def run(rounds: int, quick: bool, number: int | None = None) -> list[Row]:
    """Measure processes of one thread each, and model the rest. `InputError` if another number of
    threads is asked for, or the constants are not there."""
    if number not in (None, 1):
        raise InputError("a worker has one thread here: leave --threads out")
    kept = [row for row in load(RESULTS)["rows"] if row["case"] == CONSTANTS]
    busy, here = describe()["load"] or 0.0, cores()
    measured = measure(QUICK if quick else OMNIGLOT, rounds, (1, 2) if quick else (1, 2, 4))
    if busy > here / 2:
        measured[-1]["note"] = f"beside other work: a load of {busy:.0f} on {here} cores before it"
    return [*kept, *measured, *model({row["variant"]: row["seconds"] for row in kept})]


def measure(
    setting: Setting, rounds: int, counts: tuple[int, ...], backend: str | None = None
) -> list[Row]:
    """Strong scaling, T = 8, and weak, T = 8 W, by ``mr.reptile(..., map=pool.map)``, in turns; in
    each turn also the ideal of this machine: as many processes, each with its tasks at hand."""
    backend = backend or usable()[-1]
    cases = [("strong", w) for w in counts] + [("weak", w) for w in counts if w > 1]
    took: dict[tuple[str, int], list[tuple[float, float]]] = {case: [] for case in cases}
    with ExitStack() as stack:
        pools = {w: stack.enter_context(one_thread_each(w)) for w in counts}
        calls: dict[tuple[str, int], tuple[Callable[[], Any], Callable[[], Any]]] = {}
        for name, w in cases:
            now = replace(setting, tasks=TASKS * (w if name == "weak" else 1))
            lots = [(replace(now, tasks=now.tasks // w), backend)] * w
            calls[name, w] = (
                partial(next, iterations(now, backend, pools[w])),
                lambda ex=pools[w], lots=lots: list(ex.map(alone, lots)),  # type: ignore[misc]
            )
        for turn in range(rounds + 1):  # the first one compiles
            for case, (whole, apart) in calls.items():
                pair = clocked(whole), clocked(apart)
                took[case] += [pair] * (turn > 0)
    one = float(np.median([whole for whole, _ in took["strong", counts[0]]]))
    rows: list[Row] = []
    for name, w in cases:
        whole, apart = np.array(took[name, w]).T
        low, middle, high = map(float, np.percentile(whole, (25, 50, 75)))
        tasks = TASKS * (w if name == "weak" else 1)
        rows.append({
            "case": f"measured, {setting.network}, {backend}", "variant": name, "workers": w,
            "tasks": tasks, "seconds": middle, "low": low, "high": high, "calls": 1,
            "efficiency": one * tasks / TASKS / (w * middle),
            "of_ideal": float(np.median(apart)) / middle,
        })  # fmt: skip
    return rows


@contextmanager
def one_thread_each(workers: int) -> Iterator[Executor]:
    """So many processes, with one thread each."""
    spawn = multiprocessing.get_context("spawn")
    with one_thread(), ProcessPoolExecutor(workers, spawn) as executor:
        list(executor.map(abs, range(4 * workers)))
        yield executor


def iterations(setting: Setting, backend: str, workers: Executor) -> Iterator[mr.Snapshot]:
    """A run whose lots are the workers'."""
    data = images(20, 20, (setting.size, setting.size), bool)
    loops = mr.Loops(
        FOREVER, setting.tasks, epsilon=0.1, inner_steps=setting.steps, inner_batch=setting.batch
    )
    model = setting.model(backend)
    return mr.reptile(model, data, setting.optimizer, loops, map=workers.map)


@lru_cache
def at_hand(setting: Setting, backend: str) -> tuple[mr.Model, Any]:
    """A model and mini-batches, in a worker."""
    return setting.model(backend), setting.data()


def alone(job: tuple[Setting, str]) -> None:
    """Adapt to tasks that nobody sends and nobody waits for."""
    setting, backend = job
    model, (x, y) = at_hand(setting, backend)
    mr.adapt(model, np.repeat(model.init(0)[None], setting.tasks, axis=0), x, y, setting.optimizer)


def draw(rows: list[Row], folder: Path, where: str) -> list[Path]:
    """The efficiency against the number of workers: modelled, and measured here."""
    measured = [row for row in rows if row["case"].startswith("measured")]
    rows = [row for row in rows if row["case"].startswith("model")]
    parts = [[row for row in rows if row["case"] == case] for case in distinct(rows, "case")]
    new, axes = figure(f"Workers of one thread\n{where}", 14, 3.8, ncols=len(parts) + 1)
    for ax, part in zip(axes[0], [*parts, measured], strict=True):
        for n, name in enumerate(distinct(part, "variant")):
            line = [row for row in part if row["variant"] == name]
            at = [row["workers"] for row in line]
            ax.plot(at, [row["efficiency"] for row in line], "o-", ms=3, color=f"C{n}", label=name)
            if part is measured:
                ideal = [row["efficiency"] / row["of_ideal"] for row in line]
                ax.plot(at, ideal, "--", color=f"C{n}", label=f"{name}, ideal")
        ticks_at(ax, sorted({row["workers"] for row in part}))
        ax.set(title=part[0]["case"], xlabel="workers", ylabel="efficiency")
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=7)
    return [save_figure(new, folder / "scaling.png")]
