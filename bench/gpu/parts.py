"""All measurements on a GPU, the most important first, within a number of minutes.

    python -m bench gpu [--quick] [--out FOLDER] [--minutes M] [--parts card,meta,...]

Each part runs in a process of its own (part.py), since a kernel that goes wrong takes all of
its process's GPU work with it. What has been measured is saved at once (report.py): a part
that fails, hangs or does not fit into the time is written down, and the next one goes on.
"""

import json
import os
import queue
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from minireptile import backend
from minireptile.errors import InputError

from ..child import end, last_words, lines_of
from ..results import Row
from ..tables import Columns
from .report import Report

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "bench.gpu.part"]
GRACE = 15.0  # seconds beyond its time after which a part is ended


class Part(NamedTuple):
    """A part: its module, what it measures, and its time.

    `least` seconds must be left for it to begin, and stay reserved for it while earlier parts run;
    `share` is the most of the whole time that it gets.
    """

    module: str
    about: str
    least: float
    share: float


PARTS = {
    "card": Part("card", "what the GPU can do at best", 20, 0.05),
    "meta": Part("meta", "a meta-iteration, beside other frameworks on the same GPU", 60, 0.25),
    "train": Part("train", "the paper's 100,000 iterations on 5-way Omniglot", 60, 0.25),
    "kernels": Part("kernels", "every operation and version, against the limits", 45, 0.20),
    "crossover": Part("crossover", "where the GPU is faster than the processor", 30, 0.10),
    "settings": Part("settings", "the paper's other settings, as far as time allows", 60, 1.0),
    "checks": Part("checks", "memory errors, races, and the same bits twice", 45, 0.15),
}


def why_not() -> str:
    """Why nothing can be measured on a GPU here, in one sentence; "" if it can."""
    if "cupy" not in backend.BACKENDS:
        return "this minireptile has no cupy backend"
    return backend.why_not("cupy")


@dataclass
class Budget:
    """Seconds until the end."""

    seconds: float
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.begin = self.now()

    def left(self) -> float:
        return self.begin + self.seconds - self.now()

    def for_part(self, name: str, wanted: list[str]) -> float:
        """Seconds that a part gets: its share, while the least of those behind it stays. 0 if that
        is less than its own least."""
        part = PARTS[name]
        behind = sum(PARTS[n].least for n in wanted[wanted.index(name) + 1 :])
        alone = len(wanted) == 1
        share = self.seconds if alone else max(part.share * self.seconds, part.least)
        left = self.left()
        got = min(share, max(left - behind, min(left, part.least)))
        return got if got >= part.least else 0.0


class Plan(NamedTuple):
    """What to measure, in which time, and where it goes."""

    wanted: list[str]
    minutes: float
    quick: bool
    rounds: int
    out: Path


def planned(args: Namespace) -> Plan:
    """The command line's wishes. `InputError` if one of them makes no sense, or there is no GPU."""
    wanted = _wanted(args.parts)
    minutes = (5.0 if args.quick else 25.0) if args.minutes is None else args.minutes
    if not 0 < minutes < 1e6:
        raise InputError(f"--minutes must be above 0, not {minutes:g}")
    rounds = (3 if args.quick else 9) if args.rounds is None else args.rounds
    if rounds < 1:
        raise InputError(f"--rounds must be at least 1, not {rounds}")
    reason = why_not()
    if reason:
        raise InputError(f"there is no GPU to measure: {reason}")
    return Plan(wanted, minutes, args.quick, rounds, args.out.resolve())


def main(plan: Plan) -> int:
    """Measure; the exit code is 1 if a part failed."""
    report = Report(plan.out, described(), again=plan.wanted)
    failed = run(report, plan, Budget(60 * plan.minutes))
    print(report.text())
    print(f"wrote {report.path}")
    return 1 if failed else 0


def described() -> dict[str, tuple[str, Columns]]:
    """What each part is about, and the columns of its table."""
    modules = {name: import_module(f"bench.gpu.{part.module}") for name, part in PARTS.items()}
    return {name: (part.about, modules[name].COLUMNS) for name, part in PARTS.items()}


def _wanted(text: str) -> list[str]:
    """The parts that a list with commas names, in the order of PARTS; all of them for ""."""
    names = [name.strip() for name in text.split(",")] if text else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(f"there is no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def run(report: Report, plan: Plan, budget: Budget) -> list[str]:
    """Measure the parts; returns those that failed."""
    failed = []
    try:
        for name in plan.wanted:
            seconds = budget.for_part(name, plan.wanted)
            if not seconds:
                left, least = max(budget.left(), 0), PARTS[name].least
                report.note(name, f"skipped: {left:.0f} s were left, and it needs {least:.0f}")
                continue
            print(f"bench gpu: {name}, at most {seconds:.0f} s", file=sys.stderr, flush=True)
            options = {"quick": plan.quick, "rounds": plan.rounds, "seconds": seconds}
            problem = ""
            for row in rows_of(name, {**options, "out": str(report.folder)}, seconds + GRACE):
                problem = problem or (row["note"] if row.get("failed") else "")
                report.add(name, row)
            if problem:
                failed.append(name)
                print(f"bench gpu: {name}: {problem}", file=sys.stderr, flush=True)
            report.write()
    finally:
        report.write()
    return failed


# ------------------------------------------------------------------------------- a part's process


def rows_of(name: str, options: dict[str, Any], limit: float) -> Iterator[Row]:
    """The rows of a part as they come; the last one says what went wrong, if anything did."""
    log = Path(options["out"]) / "gpu.log"
    with log.open("a", errors="replace") as errors:
        start = errors.tell()
        process = subprocess.Popen(
            [*COMMAND, name, json.dumps(options)], stdout=subprocess.PIPE, stderr=errors,
            stdin=subprocess.DEVNULL, text=True, cwd=ROOT, start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        lines = lines_of(process)
        over = time.monotonic() + limit
        try:
            while line := lines.get(timeout=max(over - time.monotonic(), 0.0)):
                yield json.loads(line)
            code = process.wait(timeout=GRACE)
            if code:
                with log.open(errors="replace") as said:
                    said.seek(start)
                    words = last_words(said.read())
                yield _failure(name, f"its process ended with code {code}: {words}")
        except queue.Empty:
            yield _failure(name, f"ended after {limit:.0f} s; what came before is above")
        except subprocess.TimeoutExpired:
            pass  # it has said all it had to say
        finally:
            end(process)


def _failure(name: str, text: str) -> Row:
    return {"case": name, "variant": "", "failed": True, "note": text}
