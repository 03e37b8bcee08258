"""The race itself, in a process of its own: load, check, take turns with the ladder, check again.

    python -c "from bench.race_turns import serve; serve()" JOB

Answers are lines of JSON: "doing", what the file's code is at, "" when it is done; then one of
"rows", "wrong" (numbers, before anything was timed), "unfair" (after), "error".
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from math import ceil, prod
from pathlib import Path
from typing import Any

from minireptile.errors import InputError, MissingPackage

from .calls import Call, Kernel, alone, check, refresh
from .child import answering, sentence
from .kernels import chosen, ladder, least_turn, of_training, roof, work
from .machine import Limits, blas_threads, limits
from .measure import Mismatch, Timing, in_turns
from .race_check import (
    LATE,
    Unfair,
    changing,
    check_answers,
    check_kept,
    check_one,
    check_small,
    described,
    left,
    numbers,
    reference,
)
from .race_file import FORKED, Racer, load
from .results import Row, timed

# So much faster than its limits no machine is: they too are measured on one that is now faster, now
# slower. Before anything is said they are measured anew, and the best of them counts.
MARGIN = 1.5
IMPOSSIBLE = "faster than this machine can"
AGAIN = 2  # times
SEVERAL = 1.25  # seconds of processors in a second, from which on it is said
TILE = 4  # outputs along an axis that a fast convolution computes at once: F(4, r)

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Job:
    """What is to be raced: files by the names of their rows, the one that it is about first."""

    files: dict[str, str]
    rounds: int
    quick: bool
    only: str = ""
    gpu: bool = False


def race(job: Job, tell: Tell) -> list[Row]:
    """The rows: the machine's limits, then the files' and the ladder's of each case. `Mismatch` if
    a number is wrong, and nothing was timed; `Unfair` if one is later on."""
    gpu: Any = import_module("bench.race_gpu") if job.gpu else None
    loaded = gpu.load if gpu else load
    racers = [loaded(name, Path(path), tell) for name, path in job.files.items()]
    wanted = operations(racers, job.only)
    with blas_threads(1):
        for racer in racers:
            check_small(racer, wanted)
        cases = list(of_training(job.quick, wanted))
        for call, _ in cases:
            for racer in racers:
                own = alone(call)
                check_one(racer, own, late=LATE)
                check_kept(racer, own)
        return (gpu.timed_cases if gpu else timed_cases)(racers, cases, job.rounds, job.quick)


def timed_cases(
    racers: list[Racer], cases: Iterable[tuple[Call, Row]], rounds: int, quick: bool
) -> list[Row]:
    """The rows of a race on the processor."""
    limit, rows = limits("float32", 1, quick), []
    names = [racer.name for racer in racers]
    for call, place in cases:
        timings = take_turns(racers, alone(call), rounds, least_turn(quick))
        tries = AGAIN
        while too_fast(call, timings, names, limit) and tries:
            limit, tries = better(limit, limits("float32", 1, quick)), tries - 1
        rows += rows_of(call, place, timings, names, limit)
    return [roof(limit), *rows]


def operations(racers: list[Racer], only: str) -> set[str]:
    """Those that all files have, of the ones that are wanted."""
    found = set.intersection(*({*racer.kernels} for racer in racers))
    if not found:
        texts = (f"{racer} has {', '.join(racer.kernels)}" for racer in racers)
        raise InputError(f"no operation is in both files: {'; '.join(texts)}")
    if not found & chosen(only):
        raise InputError(f"nothing of {only} is in {racers[0]}: it has {', '.join(sorted(found))}")
    return found & chosen(only)


def take_turns(
    racers: list[Racer], call: Call, rounds: int, least: float
) -> dict[str, tuple[Timing, float]]:
    """Time the files' kernels and the ladder's on a call, other numbers in its arrays each time,
    and hold the last answer and those after it to the reference. Each timing has how many
    processors were at it. `Unfair` if an answer is not right any more."""
    refresh(call)
    operation = call.operation
    kernels: dict[str, Kernel] = {v: kernel for v, (*_, kernel) in ladder(operation).items()}
    check(call, kernels, reference(call))  # which compiles
    kernels |= {racer.name: racer.kernels[operation] for racer in reversed(racers)}
    fresh = numbers()
    calls = {name: changing(call, kernel, fresh) for name, kernel in kernels.items()}
    before = left(call, updated=True)
    what = f"{described(call)}, taking turns"
    with racers[0].doing(what):
        timings = in_turns(calls, rounds, least, partial(racers[0].tell, f"{racers[0]}, {what}"))
        answers = left(call)  # the last turn was the first file's
    found = {}
    try:
        if answers:
            check_answers(racers[0], call, answers)
        for name, timing in timings.items():
            found[name] = timing, processors(calls[name], timing.calls)
        for name, array in before.items():
            call.arguments[name][...] = array
        for racer in racers:
            check_kept(racer, call)
    except Mismatch as error:
        raise Unfair(
            "right before the turns, and no more in them or after them: what was timed is not "
            f"the call, and the times mean nothing: {error}"
        ) from None
    return found


def processors(call: Callable[[], None], turns: int) -> float:
    """Seconds of all processors that a second of the call takes."""
    used, start = time.process_time(), time.perf_counter()
    for _ in range(turns):
        call()
    return (time.process_time() - used) / (time.perf_counter() - start)


def rows_of(
    call: Call, place: Row, timings: Mapping[str, tuple[Timing, float]], racers: list[str],
    limit: Limits,
) -> list[Row]:  # fmt: skip
    """The rows of a case, the fastest first. `ratio` is to the ladder's fastest."""
    best = min(t.median for name, (t, _) in timings.items() if name not in racers)
    impossible = too_fast(call, timings, racers, limit)
    rows = []
    for name, (timing, used) in sorted(timings.items(), key=lambda item: item[1][0].median):
        notes = []
        if name in impossible:
            notes.append(IMPOSSIBLE)
        if name in racers and used >= SEVERAL:
            notes.append(f"computes on {used:.1f} processors at a time, the ladder on one")
        more = {"yours": name in racers, "processors": used, "note": "; ".join(notes)}
        ratio = timing.median / best
        rows.append({**place, **timed(place["case"], name, timing, **work(call, timing, limit),
                                      ratio=ratio, **more)})  # fmt: skip
    return rows


def too_fast(
    call: Call, timings: Mapping[str, tuple[Timing, float]], racers: list[str], limit: Limits
) -> set[str]:
    """The files that took less time than anything can: below the limits by more than `MARGIN`, and
    further than the ladder is if that is below them as well."""
    least = least_seconds(call, limit)
    ladder = min(timing.median for name, (timing, _) in timings.items() if name not in racers)
    return {name for name in racers if timings[name][0].median * MARGIN < min(least, ladder)}


def least_seconds(call: Call, limit: Limits) -> float:
    """What a call takes at least: for its bytes, or for its operations, of a convolution those that
    are left where a tile of outputs shares its products (winograd.md)."""
    done = call.done / shared(call)
    return 1e-9 * done / limit.at(done / call.traffic, call.traffic)


def shared(call: Call) -> float:
    """How many products of the formula F(4, r) has for each of its own: m outputs of r taps along
    an axis take m + r - 1. With a stride s each phase has r / s taps."""
    if not call.operation.startswith("conv2d"):
        return 1.0
    taps = zip(call.arguments["w"].shape[1:3], call.arguments["stride"], strict=True)
    return prod(TILE * r / (TILE + r - 1) for r in (ceil(size / s) for size, s in taps))


def better(one: Limits, other: Limits) -> Limits:
    """The best of two measurements."""
    gbs = {level: max(rate, other.gbs[level]) for level, rate in one.gbs.items()}
    best = max(one.gflops, other.gflops), gbs, one.room, max(one.blas, other.blas)
    return Limits(one.threads, *best)


def serve() -> None:
    """Be the process of the job in argv[1]."""
    nobody = os.open(os.devnull, os.O_RDONLY)
    parent = os.dup(0)
    os.dup2(nobody, 0)  # the file's code has nothing to read
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with answering() as answer:

        def tell(doing: str) -> None:
            answer({"doing": doing})

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                after_in_parent=partial(tell, FORKED), after_in_child=partial(os._exit, 0)
            )
        try:
            answer({"rows": race(Job(**json.loads(sys.argv[1])), tell)})
        except Mismatch as error:
            answer({"wrong": str(error)})
        except Unfair as error:
            answer({"unfair": str(error)})
        except (InputError, MissingPackage) as error:
            answer({"error": str(error)})
        except Exception as error:
            answer({"error": f"the race failed: {sentence(error)}"})


def _end_with(parent: int) -> None:
    """End, with all that the file has started, when the process that asked is no more."""
    with suppress(OSError):
        while os.read(parent, 1):
            pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
