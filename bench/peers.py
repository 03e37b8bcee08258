"""The same meta-iteration in PyTorch, JAX and Thinc, beside minireptile's own backends.

Each variant is written as a good user of the framework would (peers_torch.py, peers_jax.py,
peers_thinc.py), gets the same theta and the same mini-batches, and is compared with the NumPy
reference before it is timed (peers_case.py). The processes of the variants (peers_process.py) are
timed in turns, round by round, so that whatever else the machine does meets all; between its turns
a process sleeps.

A peer that is not installed, fails, hangs or gives another theta gets a row that says so.
"""

import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from minireptile.backend import BACKENDS, why_not
from minireptile.errors import InputError

from .machine import cores
from .measure import Mismatch
from .peers_case import CASES, LIBRARIES, TF32, Case, check, in_double, reference
from .peers_process import (
    COMMAND,
    PEERS,
    QUICK_CASES,
    VARIANTS,
    Child,
    Failed,
    Job,
    jobs_of,
    unpacked,
)
from .results import Row
from .tables import TIME, Columns

LEAST = 0.02  # seconds that a turn should last
FIRST_LIMIT = 600.0  # seconds until the first result: compilers take their time
TURN_LIMIT = 120.0  # seconds until the answer to a question

COLUMNS: Columns = {
    **TIME,
    "ratio": ("ratio", "time over that of minireptile's fastest row"),
    "first_seconds": ("first", "time of the first call, which may compile"),
    "difference": ("off", "distance from the reference's theta, in lengths of the update"),
    "difference_double": ("off, 64", "the same in double precision"),
}


def missing(job: Job) -> str:
    """Why a job cannot run here; "" if it can."""
    package, backend = PEERS[job.framework].package, job.variant.partition(",")[0]
    if find_spec(package) is None:
        return f"not installed: pip install {package}"
    return why_not(backend) if job.framework == "minireptile" and backend in BACKENDS else ""


def prepare(job: Job, child: Child, cases: list[Case], wanted: list[NDArray], limit: float) -> Row:
    """Wait for its first results and check them: seconds of the first call, and the differences.

    `cases` and `wanted`, what the reference gives, come in the order of its results.
    """
    answer = child.ask(limit)
    thetas = [unpacked(text) for text in answer["thetas"]]
    count = len(cases) if job.double else 1
    if len(thetas) != count:
        raise Failed(f"gave {len(thetas)} results where {count} were expected")
    expected = zip(cases[:count], thetas, wanted[:count], strict=True)
    allowed = LIBRARIES if job.gpu and job.framework != "minireptile" else 0.0
    apart = [check(str(job), case, theta, right, allowed) for case, theta, right in expected]
    exact = {"difference_double": max(apart[1:])} if job.double else {}
    return {"first_seconds": answer["first"], "difference": apart[0], **exact}


def turns(children: dict[Job, Child], rounds: int) -> Iterator[tuple[Job, float | Failed]]:
    """Ask the children in turns: a job and the seconds of one of its calls, or why there are none.
    One that fails is not asked again."""
    calls: dict[Job, int] = {}
    for number in range(rounds + 1):  # the first finds how many calls fill a turn
        for job, child in list(children.items()):
            try:
                n = calls.get(job, 2)
                seconds = child.ask(TURN_LIMIT, calls=n)["seconds"] / n
                calls.setdefault(job, max(1, math.ceil(LEAST / max(seconds, 1e-6))))
                if number:
                    yield job, seconds
            except Failed as reason:
                del children[job]
                yield job, reason


def measure(
    name: str, jobs: list[Job], rounds: int, cache: str | None = None, seconds: float = math.inf
) -> Iterator[Row]:
    """The rows of one case, first those without figures; within so many seconds, a quarter of which
    is for the turns. A row has "failed" where a backend of minireptile itself is off."""
    end = monotonic() + seconds
    case = CASES[name]()
    cases = [case, *(in_double(case) if any(job.double for job in jobs) else [])]
    wanted = [reference(each) for each in cases]
    rows = {job: job.row for job in jobs}
    times: dict[Job, list[float]] = {job: [] for job in jobs}
    children: dict[Job, Child] = {}
    with ExitStack() as stack:
        for job in jobs:
            left = end - monotonic()
            rows[job]["note"] = missing(job)
            if left < 0.25 * seconds:
                rows[job]["note"] = "skipped: no time was left"
            if not rows[job]["note"]:
                _say(f"{name}: {job}")
                child = stack.enter_context(Child(job, COMMAND, cache))
                try:
                    most = left if math.isinf(left) else left - 0.2 * seconds
                    rows[job] |= prepare(job, child, cases, wanted, min(FIRST_LIMIT, most))
                    children[job] = child
                    continue
                except (Failed, Mismatch) as reason:
                    rows[job]["note"] = str(reason)
                    # Rounded to TF32, Adam may go another way; exact ones may not.
                    ours = job.framework == "minireptile" and not job.variant.endswith(TF32)
                    rows[job]["failed"] = ours and (job.gpu or isinstance(reason, Mismatch))
            yield rows.pop(job)
            times.pop(job)
        _say(f"{name}: {rounds} rounds")
        for job, found in turns(children, rounds):
            if isinstance(found, Failed):
                rows[job]["note"], times[job] = str(found), []
            else:
                times[job].append(found / len(case.x))
            if monotonic() > end:
                break
    for job, turn in times.items():
        if turn:
            low, median, high = (float(q) for q in np.percentile(turn, (25, 50, 75)))
            rows[job] |= {"seconds": median, "low": low, "high": high}
    yield from with_ratios(list(rows.values()))


def with_ratios(rows: list[Row]) -> list[Row]:
    """`ratio`: seconds over those of minireptile's fastest row."""
    ours = [row["seconds"] for row in rows if row["seconds"] and row["framework"] == "minireptile"]
    for row in rows:
        if ours and row["seconds"]:
            row["ratio"] = row["seconds"] / min(ours)
    return rows


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(rounds: int = 15, quick: bool = False, threads: int | None = None) -> list[Row]:
    """Measure every case with every framework that is installed, with one thread and with the most.

    `quick`: two cases, a variant or two of each framework, the most threads alone, and compilers
    find what they kept from earlier runs. Else they start from nothing, so that `first_seconds`
    holds all they do in the first row of a variant; later rows may use what that one left. A row
    without figures has None for them, and a `note` that says why. `Mismatch` if a backend of
    minireptile differs from the reference.
    """
    for name, number in {"rounds": rounds, "threads": threads}.items():
        if number is not None and number < 1:
            raise InputError(f"--{name} must be at least 1, not {number}")
    most = threads or cores()
    numbers = (most,) if quick else tuple(sorted({1, most}))
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as fresh:
        for case in QUICK_CASES if quick else VARIANTS:
            jobs = jobs_of(case, numbers, quick)
            for row in measure(case, jobs, rounds, None if quick else fresh):
                if row.get("failed"):
                    raise Mismatch(row["note"])
                rows.append(row)
    return rows


def summary(rows: list[Row]) -> str:
    """For each case and framework a line: its fastest variant against minireptile's fastest."""
    fastest: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row["case"], row["framework"]
        if row["ratio"] and (key not in fastest or row["ratio"] < fastest[key]["ratio"]):
            fastest[key] = row
    return "\n".join(
        f"- {case}: {row['variant']} takes {row['ratio']:.2f} times as long as "
        f"{fastest[case, 'minireptile']['variant']}"
        for (case, framework), row in fastest.items()
        if framework != "minireptile"
    )
