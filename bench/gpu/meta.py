"""A meta-iteration on a GPU: minireptile, PyTorch and JAX, each in a process of its own.

Each gets the same theta and mini-batches, has them on the GPU before the clock starts (but for the
rows that say otherwise), waits for its result at the end of every call, and is compared with the
NumPy reference before it is timed, in double precision too where that can be had. The processes
are timed in turns.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import islice
from time import monotonic
from typing import Any

import numpy as np

import minireptile as mr
from minireptile.backend import BACKENDS, why_not

from .. import peers_process
from ..machine import usable
from ..measure import Mismatch, in_turns
from ..peers import turns, with_ratios
from ..peers_case import Case, check, in_double
from ..peers_process import Child, Failed, Job, unpacked
from ..results import Row, timed
from ..runs import images
from ..settings import OMNIGLOT, Setting
from ..tables import TIME, Columns
from .case import CARRY, CASES, PEERS, QUICK, jobs_of, theta_after
from .part import Context, sentence

COLUMNS: Columns = {
    **TIME,
    "ratio": ("ratio", "time over that of minireptile's fastest row"),
    "first_seconds": ("first", "time of the first call, which may compile"),
    "difference": ("off", "distance from the reference's theta, in lengths of the update"),
    "difference_double": ("off, 64", "the same in double precision"),
    "per_second": ("a second", "outer iterations in a second"),
}

COMMAND = [sys.executable, "-c", "from bench.gpu.meta import serve; serve()"]
THREADS = 8  # of what runs on the processor
ENOUGH = 100_000  # outer iterations, more than are timed
FIRST_LIMIT = 300.0  # seconds for a first result


def serve() -> None:
    """Be the process of a job, as `peers_process.serve`, with a GPU."""
    os.environ["JAX_PLATFORMS"] = "cuda"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the others need memory too
    peers_process.PEERS.update(PEERS)
    peers_process.CASES.update(CASES)
    peers_process.serve()


def run(context: Context) -> Iterator[Row]:
    """Rows of every case, then of whole outer iterations."""
    names = [str(QUICK)] if context.quick else [str(OMNIGLOT), f"{OMNIGLOT}{CARRY}"]
    threads = min(THREADS, os.cpu_count() or 1)
    yield from outer_iterations(context)
    for i, name in enumerate(names):
        seconds = context.left() / (len(names) - i)
        yield from measure(name, jobs_of(name, threads), context.rounds, seconds)


def measure(
    name: str, jobs: list[Job], rounds: int, seconds: float, command: list[str] = COMMAND
) -> Iterator[Row]:
    """The rows of one case, within so many seconds: first those without figures."""
    end = monotonic() + seconds
    case = CASES[name]()
    cases = [case, *in_double(case)]
    wanted = [reference(each) for each in cases]
    rows = {job: job.row for job in jobs}
    times: dict[Job, list[float]] = {job: [] for job in jobs}
    children: dict[Job, Child] = {}
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        for job in jobs:
            left = end - monotonic()
            absent = missing(job)
            if absent:
                rows[job]["note"] = absent
            elif left < 0.25 * seconds:  # that much is for the turns
                rows[job]["note"] = "skipped: no time was left"
            else:
                child = stack.enter_context(Child(job, command, cache))
                try:
                    limit = min(FIRST_LIMIT, left - 0.2 * seconds)
                    rows[job] |= prepared(job, child, cases, wanted, limit)
                    children[job] = child
                    continue
                except (Failed, Mismatch) as reason:
                    rows[job]["note"] = str(reason)
                    # Rounded to TF32, Adam may go another way; exact ones may not.
                    rows[job]["failed"] = job.framework == "minireptile" and job.double
            yield rows.pop(job)
            times.pop(job)
        for job, found in until(end, turns(children, rounds)):
            if isinstance(found, Failed):
                rows[job]["note"], times[job] = str(found), []
            else:
                times[job].append(found)
    for job, turn in times.items():
        if turn:
            low, median, high = (float(q) for q in np.percentile(turn, (25, 50, 75)))
            rows[job] |= {"seconds": median, "low": low, "high": high}
    yield from with_ratios(list(rows.values()))


def missing(job: Job) -> str:
    """Why a job cannot run here; "" if it can."""
    package, backend = PEERS[job.framework].package, job.variant.partition(",")[0]
    if find_spec(package) is None:
        return f"{package} is not installed"
    if job.framework != "minireptile":
        return ""
    return why_not(backend) if backend in BACKENDS else f"there is no backend {backend!r}"


def prepared(
    job: Job, child: Child, cases: list[Case], wanted: list[np.ndarray], limit: float
) -> Row:
    """Its first results, checked: seconds of the first call, and how far theta is off."""
    answer = child.ask(limit)
    thetas = [unpacked(text) for text in answer["thetas"]]
    count = len(cases) if job.double else 1
    if len(thetas) != count:
        raise Failed(f"gave {len(thetas)} results where {count} were expected")
    apart = [
        check(str(job), case, theta, right)
        for case, theta, right in zip(cases, thetas, wanted, strict=False)
    ]
    exact = {"difference_double": max(apart[1:])} if job.double else {}
    return {"first_seconds": answer["first"], "difference": apart[0], **exact}


def until(end: float, found: Iterator) -> Iterator:
    """As many turns as there is time for."""
    for each in found:
        yield each
        if monotonic() > end:
            return


def reference(case: Case) -> np.ndarray:
    """Theta by the NumPy kernels."""
    return theta_after(case, case.model.on("numpy"))


# ------------------------------------------------------------------------------ whole iterations


def outer_iterations(context: Context) -> Iterator[Row]:
    """`mr.reptile` itself: sampling, the inner loops and the outer update, on random images."""
    setting = QUICK if context.quick else OMNIGLOT
    classes = 20 if context.quick else 1000
    tasks = images(classes, 20, (setting.size, setting.size), bool)
    backends = [name for name in usable(gpu=True) if name != "numpy"] or ["numpy"]
    for state in ("mean", "carry"):
        calls: dict[str, Callable[[], object]] = {}
        count = 5 if context.quick else 20
        for backend in backends:
            try:
                calls[backend] = many(setting, tasks, backend, state, count)
            except Exception as error:
                yield {
                    "case": f"run {setting}, {state}", "variant": backend, "failed": True,
                    "note": sentence(error),
                }  # fmt: skip
        timings = in_turns(calls, min(context.rounds, 5), least=0.05)
        for backend, timing in timings.items():
            row = timed(f"run {setting}, {state}", backend, timing)
            for key in ("seconds", "low", "high"):
                row[key] /= count
            yield {**row, "per_second": 1 / row["seconds"]}


def many(
    setting: Setting, tasks: Any, backend: str, state: str, count: int
) -> Callable[[], object]:
    """A function that makes so many outer iterations, after a first one."""
    loops = mr.Loops(
        ENOUGH, meta_batch=setting.tasks, epsilon=0.1, inner_steps=setting.steps,
        inner_batch=setting.batch, train_shots=10, state=state,
    )  # fmt: skip
    run = mr.reptile(setting.model(backend), tasks, setting.optimizer, loops)
    next(run)

    def call() -> object:
        *_, last = islice(run, count)
        return last.theta  # on a GPU nothing may be done before it is asked for

    return call
