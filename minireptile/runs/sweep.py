"""A sweep: a run for each seed and combination of settings, some at a time, each in a process of
its own (cell.py). What is complete is kept, and what is not goes on from its checkpoint."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..backend import device_of
from ..errors import InputError
from . import checkpoint, console, metrics
from .experiment import build, noise
from .folder import CHECKPOINT, LOG, METRICS
from .machine import cores
from .measures import MEASURES, Measure, Values
from .phases import Phases
from .run import warm_up
from .settings import Settings
from .signals import Stopped, collected
from .sources import SOURCES

LOOK = 0.1  # seconds between two looks at the processes,
COUNT = 1.0  # and at how far their runs are
TAIL = 4096  # bytes at the end of a file in which its last line is found
SAID = "minireptile: "  # how the sentence of a run that failed begins


@dataclass(frozen=True)
class Standing:
    """How far a run is, as its folder tells."""

    values: Values | None = None  # the figures of its test, once it is complete
    iteration: int = 0
    failed: str = ""  # why it could not go on, or why its figures are none

    @property
    def done(self) -> bool:
        """Whether it is complete, and has figures."""
        return self.values is not None and not self.failed


@dataclass(frozen=True, eq=False)
class Cell:
    """A run of a sweep."""

    folder: Path
    values: Mapping[str, Any]  # of the settings that vary
    settings: Settings

    @property
    def measure(self) -> Measure:
        """How its tasks are measured."""
        return MEASURES[SOURCES[self.settings.dataset].kind]

    def standing(self) -> Standing:
        """How far it is; `InputError` where another run is in its folder."""
        s, path = self.settings, self.folder / CHECKPOINT
        last = _tail(self.folder / LOG)[-1:]
        failed = last[0].removeprefix(SAID) if last and last[0].startswith(SAID) else ""
        failed = failed.partition(f"; {self.folder.absolute()}")[0]  # the way out is for `resume`
        if not path.exists():
            return Standing(failed=failed)
        run, found = checkpoint.load(path)
        if name := differs(found, s):
            raise InputError(
                f"{self.folder} is in the way: its run has --{name.replace('_', '-')} "
                f"{getattr(found, name)}, and not {getattr(s, name)}; choose another --out"
            )
        records = metrics.read(self.folder / METRICS, self.measure.values)
        tests = [record["test"] for record in records if "test" in record]
        if run.iteration < s.iterations or len(tests) < 2:  # before and after
            return Standing(iteration=run.iteration, failed=failed)
        values = self.measure.values(tests[-1])
        finite = np.isfinite([mean for mean, _ in values.values()]).all()
        return Standing(values, run.iteration, "" if finite else "it diverged on tasks of its test")

    def logged(self) -> int:
        """The last iteration in its metrics."""
        for line in reversed(_tail(self.folder / METRICS)):
            if line.startswith('{"iteration": ') and '"loss"' in line:
                return int(line[len('{"iteration": ') :].partition(",")[0])
        return 0


def differs(found: Settings, asked: Settings) -> str:
    """The first setting in which they differ; the data may lie elsewhere now."""
    other = asdict(asked)
    return next((n for n, v in asdict(found).items() if n != "data" and v != other[n]), "")


def _tail(path: Path) -> list[str]:
    """The last lines of a file that may be written to; none without one."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def usual_workers(s: Settings) -> int:
    """A worker for each core that this process may use; one where a GPU computes."""
    return 1 if device_of(s.backend) else cores()


def try_out(cells: Sequence[Cell]) -> None:
    """Build each kind of run on noise, so that a value that cannot be is known before any run
    starts: `InputError` names it. And compile what they need, once, and not in every process."""
    firsts = {tuple(cell.values.items()): cell for cell in reversed(cells)}
    kinds = {}
    for cell in firsts.values():
        s = cell.settings
        # Numbers are arguments of the kernels; all else may choose others.
        kind = tuple(v for v in asdict(s).values() if type(v) in (str, bool))
        try:
            kinds[kind] = build(s, data=noise(s))
        except InputError as error:
            where = [f"--{name.replace('_', '-')} {value}" for name, value in cell.values.items()]
            raise InputError(": ".join([*filter(None, [", ".join(where)]), str(error)])) from None
    for made in kinds.values():
        if made.settings.backend == "numba":
            with console.waiting("loading the kernels"):
                warm_up(made, Phases())


class Workers:
    """The processes at work, a run each."""

    def __init__(self) -> None:
        self.at_work: dict[Cell, tuple[subprocess.Popen[bytes], BinaryIO]] = {}
        one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
        # The package that the sweep is of, wherever another one may be installed.
        path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            **os.environ, **one, "PYTHONPATH": os.pathsep.join(filter(None, path))
        }  # fmt: skip

    def start(self, cell: Cell, share: int) -> None:
        """Train the run, or resume it, as one of so many that share the cores. Ctrl-C in a terminal
        is not for it, but for the sweep."""
        try:
            cell.folder.mkdir(parents=True, exist_ok=True)
            log = open(cell.folder / LOG, "ab")  # noqa: SIM115
        except OSError as error:
            raise InputError(
                f"cannot make the run folder {cell.folder}: {error.strerror}; choose another --out"
            ) from None
        command = [sys.executable, "-m", "minireptile.runs.cell", str(cell.folder.absolute()),
                   cell.settings.to_json()]  # fmt: skip
        threads = {"NUMBA_NUM_THREADS": str(max(1, cores() // share))}  # unless somebody says
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log,
            env={**threads, **self.environment},
            start_new_session=True,
        )  # fmt: skip
        self.at_work[cell] = process, log

    def ended(self) -> list[Cell]:
        """The runs whose processes have ended since; one that a signal ended has that in its
        log."""
        done = {c: p for c, (p, _) in self.at_work.items() if p.poll() is not None}
        for cell, process in done.items():
            _, log = self.at_work.pop(cell)
            code = process.returncode
            if code < 0 or code > 128:
                log.write(f"{SAID}ended by {_name_of(code)}\n".encode())
            log.close()
            assert process.stdin
            process.stdin.close()
        return list(done)

    def end(self) -> None:
        """Have all runs saved, and wait until their processes have ended."""
        for process, _ in self.at_work.values():
            process.terminate()
        for process, log in self.at_work.values():
            process.wait()
            log.close()
            assert process.stdin
            process.stdin.close()
        self.at_work.clear()


def _name_of(code: int) -> str:
    number = -code if code < 0 else code - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run_all(cells: Sequence[Cell], count: int) -> None:
    """Take all runs to their ends, so many at a time. One that fails stops no other.

    `Stopped` on SIGINT or SIGTERM, with every run saved and no process left.
    """
    standings = {cell: cell.standing() for cell in cells}
    waiting = deque(cell for cell, standing in standings.items() if standing.values is None)
    reached = {cell: standing.iteration for cell, standing in standings.items()}
    total, ready = sum(cell.settings.iterations for cell in cells), len(cells) - len(waiting)
    failed, counted, workers = 0, 0.0, Workers()
    last = len(waiting) % count or count  # runs of one length come in waves, and the last is short
    with collected() as received, console.progress(
        total, "sweep", "iterations", sum(reached.values())
    ) as bar:  # fmt: skip
        try:
            while (waiting or workers.at_work) and not received:
                while waiting and len(workers.at_work) < count:
                    share = last if len(waiting) <= last else count
                    workers.start(waiting.popleft(), share)
                for cell in workers.ended():
                    standing = cell.standing()
                    failed, ready = failed + (not standing.done), ready + 1
                    bar.say(f"{cell.folder.name}  {_result(cell, standing)}")
                    bar.total -= cell.settings.iterations - standing.iteration  # of one that failed
                    bar.update(standing.iteration - reached[cell])
                    reached[cell] = standing.iteration
                if time.monotonic() - counted >= COUNT:
                    counted = time.monotonic()
                    before = sum(reached.values())
                    reached |= {cell: cell.logged() for cell in workers.at_work}
                    at_work = ", ".join(
                        f"{reached[cell] / max(1, cell.settings.iterations):.0%}"
                        for cell in workers.at_work
                    )
                    shown = {"runs": f"{ready}/{len(cells)}", "at work": at_work}
                    bar.update(
                        sum(reached.values()) - before,
                        shown | ({"failed": str(failed)} if failed else {}),
                    )
                time.sleep(LOOK)
        finally:
            workers.end()
    if received:
        raise Stopped(received[0], sum(reached.values()))


def _result(cell: Cell, standing: Standing) -> str:
    if standing.done and standing.values:
        return cell.measure.short(standing.values)
    return f"failed: {standing.failed or f'see {cell.folder / LOG}'}"
