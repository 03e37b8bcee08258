"""Kernels from a file of your own against the ladder: checked, then timed in turns.

    python -m bench race FILE [--against OTHER] [--only OPERATION]

How to write such a file, and what is checked: RACE.md. The file's code runs in a process of its own
(race_turns.py), which may crash, end, fork or never return: here that is a sentence.
"""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minireptile.backend import why_not
from minireptile.errors import InputError
from minireptile.runs.console import waiting

from .child import end, lines_of
from .kernels import COLUMNS as KERNELS
from .kernels import sentence
from .measure import Mismatch
from .peers_process import environment
from .plots import distinct
from .race_check import Unfair
from .race_file import CUDA, FORKED, there
from .race_turns import IMPOSSIBLE, MARGIN, Job
from .results import TIMES, Row
from .roofline import draw_ladders
from .tables import TIME, Columns, duration, table

COLUMNS: Columns = {
    "seconds": TIME["seconds"],
    "low": ("from", "first quartile of the turns"),
    "high": ("to", "third quartile"),
    "gflops": KERNELS["gflops"],
    "share": ("share", f"{KERNELS['share'][1]}; above 1 where products are saved (winograd.md)"),
    "ratio": ("ratio", "time over that of the ladder's fastest"),
}
COMMAND = [sys.executable, "-c", "from bench.race_turns import serve; serve()"]
SHOWN = 10  # lines of what the file prints
PLACES = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
)  # fmt: skip


def planned(
    file: Path, against: Path | None, rounds: int, quick: bool, only: str, gpu: bool
) -> Job:
    """What is to be done. `InputError` if a file is none that can be raced, or there is no GPU for
    it; a CUDA source needs one."""
    files = {"yours": file} | ({} if against is None else {"theirs": against})
    files = {name: there(path) for name, path in files.items()}
    if gpu or CUDA in {path.suffix for path in files.values()}:
        gpu, reason = True, why_not("cupy")
        if reason:
            raise InputError(f"kernels for a GPU can be raced on one alone: {reason}")
    return Job({name: str(path) for name, path in files.items()}, rounds, quick, only, gpu)


def run(job: Job, limit: float) -> list[Row]:
    """The rows of a race. `InputError` if the files cannot be raced, `Mismatch` if a number is
    wrong, `Unfair` if it is once the race is on."""
    if not 0 < limit <= threading.TIMEOUT_MAX:
        raise InputError(f"--time-limit must be above 0 seconds, not {limit:g}")
    names = " and of ".join(Path(path).name for path in job.files.values())
    print(f"runs the code of {names}", flush=True)
    with waiting(f"racing {names}"), _process(job) as process:
        at = last = ""
        lines = lines_of(process)
        while True:
            try:
                line = lines.get(timeout=limit if at else None)
            except queue.Empty:
                raise InputError(
                    f"{at}: it did not return within {limit:g} s; --time-limit SECONDS allows more"
                ) from None
            if not line:
                raise InputError(f"{at or 'the race'}: {_ended(process.wait())}")
            answer = json.loads(line)
            if "doing" not in answer:
                return _rows(answer)
            at = answer["doing"]
            if at == FORKED:
                raise InputError(
                    f"{last}: it forks; a kernel computes in the process that calls it"
                )
            last = at or last


def _rows(answer: dict[str, Any]) -> list[Row]:
    for key, error in {"wrong": Mismatch, "unfair": Unfair, "error": InputError}.items():
        if key in answer:
            raise error(answer[key])
    return answer["rows"]


@contextmanager
def _process(job: Job) -> Iterator[subprocess.Popen[str]]:
    """The process of a race. In the end nothing of it is left, and what it printed is on stderr."""
    process = subprocess.Popen(
        [*COMMAND, json.dumps(asdict(job))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        env=environment(1, None, job.gpu),
    )  # fmt: skip
    printed = _Printed(process)
    try:
        yield process
    finally:
        assert process.stdin is not None
        end(process)
        process.stdin.close()
        printed.show(" or ".join(Path(path).name for path in job.files.values()))


class _Printed:
    """What a process prints: how many lines, and the last ones."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.count, self.last = 0, deque[str](maxlen=SHOWN)
        self.stderr: Any = process.stderr
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with self.stderr:
            for line in self.stderr:
                self.count += 1
                self.last.append(line.rstrip("\n")[:300])

    def show(self, names: str) -> None:
        """Say so on stderr, away from the table."""
        self.thread.join(5)
        if self.count:
            last = f", the last {SHOWN} of them" if self.count > SHOWN else ""
            print(f"bench: {names} printed lines: {self.count}{last}", file=sys.stderr)
            for line in list(self.last):
                print(f"    {line}", file=sys.stderr)


def _ended(code: int) -> str:
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    return f"it ended the process, with exit code {code}"


def report(rows: list[Row]) -> str:
    """The table, and how it went."""
    marked = [{**row, "variant": f"**{row['variant']}**" if row.get("yours") else row["variant"]}
              for row in rows]  # fmt: skip
    return f"{table(marked, COLUMNS)}\n\n{sentence(rows[0])}\n{summary(rows)}"


def summary(rows: list[Row]) -> str:
    """A line for each file, operation and network: its place, and how fast beside the best; two
    files are also held to one another."""
    cases = [row for row in rows if "operation" in row]
    own = [name for name in ("yours", "theirs") if name in distinct(cases, "variant")]
    lines = []
    for operation in distinct(cases, "operation"):
        for group in distinct(cases, "group"):
            here = [r for r in cases if (r["operation"], r["group"]) == (operation, group)]
            times = _inner_step(here)
            told = [f"{name}: {_place(times, name)}" for name in own if name in times]
            if len(told) == 2:
                told.append(f"yours: {_beside(times, *own)}")
            lines += [f"{line} ({operation}, {group})" for line in told]
    return "\n".join(lines)


def _inner_step(rows: list[Row]) -> dict[str, tuple[float, ...]]:
    """Seconds of each variant with their quartiles, over all the layers that make the call."""
    return {
        variant: tuple(sum(r[key] * r["times"] for r in rows if r["variant"] == variant)
                       for key in TIMES)
        for variant in distinct(rows, "variant")
    }  # fmt: skip


def _place(times: dict[str, tuple[float, ...]], name: str) -> str:
    order = sorted(times, key=lambda variant: times[variant])
    place = order.index(name)
    nth = PLACES[place] if place < len(PLACES) else f"number {place + 1}"
    other = order[place == 0]  # the fastest of the others: there is always NumPy's
    return f"{nth} of {len(order)}, {_beside(times, name, other)}"


def _beside(times: dict[str, tuple[float, ...]], name: str, other: str) -> str:
    (seconds, low, high), (others, other_low, other_high) = times[name], times[other]
    close = "; the quartiles overlap" if low <= other_high and other_low <= high else ""
    return (
        f"{others / seconds:.2g} times as fast as {other}: {duration(seconds)} an inner step "
        f"against {duration(others)}{close}"
    )


def impossible(rows: list[Row]) -> str:
    """The sentence on files that were faster than can be; "" if none was."""
    found = [row for row in rows if IMPOSSIBLE in row.get("note", "")]
    if not found:
        return ""
    most = max(found, key=lambda row: row["share"])
    return (
        f"{most['variant']}: {IMPOSSIBLE}: {duration(most['seconds'])} for "
        f"{most['case']}, and its limits leave {duration(most['share'] * most['seconds'])} at "
        f"least, {MARGIN:g} times too much allowed for: is all of it computed in every call?"
    )


def draw(rows: list[Row], folder: Path, where: str) -> list[Path]:
    """The ladder, the files in it."""
    return [draw_ladders(rows, folder / "race-ladders.png", where, by="case")]
