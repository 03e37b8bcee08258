"""The command line of the benchmarks.

    python -m bench kernels|inner|step|peers|runs|scaling|all
                    [--quick] [--out FOLDER] [--rounds N] [--threads N]
    python -m bench race FILE [--against OTHER] [--only OPERATION] [--quick] [--rounds N]
                    [--out FOLDER] [--time-limit SECONDS]
    python -m bench gpu [--quick] [--out FOLDER] [--rounds N] [--minutes M] [--parts PART,...]
    python -m bench compare OLD.json NEW.json

Exit codes: 0 done, 1 a variant gave wrong numbers or something got slower, 2 wrong input. A race:
RACE.md.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from minireptile.backend import BACKENDS, DEVICES, why_not
from minireptile.errors import InputError, MissingPackage, require

from .compare import compare
from .machine import cores, describe
from .measure import Mismatch
from .results import Row, save
from .tables import table

# Each module has COLUMNS and run(rounds, quick, threads) -> rows: so many turns of each variant, of
# small things if it is to be quick, on so many threads of compiled loops (`InputError` where they
# have others) unless it says otherwise. It may have summary(rows) and draw(rows, folder, where).
SUITES = {
    "kernels": "kernels",
    "inner": "inner_loop",
    "step": "step",
    "peers": "peers",
    "runs": "runs",
    "scaling": "scaling",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="python -m bench", description="Ratios measured side by side in one run.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    helps = {
        "kernels": "every operation, backend and version, against the machine's limits",
        "inner": "the inner loop: how it grows, its memory, and its matrix products",
        "step": "where the time of an inner step goes",
        "peers": "the same meta-iteration in other frameworks",
        "runs": "whole runs, and the first start",
        "scaling": "workers: measured with processes, modelled to 1,000",
        "all": "all of these",
    }
    helps["race"] = "kernels from a file of your own, against the ladder"
    for name, text in helps.items():
        suite = commands.add_parser(name, help=text)
        suite.add_argument("--quick", action="store_true", help="few rounds, small shapes")
        suite.add_argument("--out", type=Path, default=Path("runs/bench"), metavar="FOLDER",
                           help="where the JSON files and pictures go (runs/bench)")  # fmt: skip
        suite.add_argument("--rounds", type=int, help="turns of each variant (15; quick: 3)")
        if name == "race":
            suite.add_argument("file", type=Path, metavar="FILE",
                               help="functions named after operations; it is run")  # fmt: skip
            suite.add_argument("--against", type=Path, metavar="OTHER", help="another such file")
            suite.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS",
                               help="for a call, with its compiling (60)")  # fmt: skip
            suite.add_argument("--gpu", action="store_true", help="CuPy functions, on a GPU")
            suite.set_defaults(threads=None)  # all have one
        else:
            suite.add_argument(
                "--threads", type=int, help="threads of compiled loops; kernels: of BLAS"
            )
        if name in ("kernels", "race"):
            suite.add_argument("--only", default="", metavar="OPERATION",
                               help="one operation or module, such as conv2d")  # fmt: skip
    gpu = commands.add_parser("gpu", help="all of it on a GPU, within a number of minutes")
    gpu.add_argument("--quick", action="store_true", help="small sizes, 5 minutes")
    gpu.add_argument("--out", type=Path, default=Path("runs/bench"), metavar="FOLDER",
                     help="where gpu.json, gpu.md and the rest go (runs/bench)")  # fmt: skip
    gpu.add_argument("--rounds", type=int, help="turns of each variant (9; quick: 3)")
    gpu.add_argument("--minutes", type=float, help="for everything (25; quick: 5)")
    gpu.add_argument("--parts", default="", metavar="PART,...",
                     help="only these; what earlier ones left in the folder stays")  # fmt: skip
    against = commands.add_parser("compare", help="what got slower between two result files")
    against.add_argument("old", type=Path, metavar="OLD.json")
    against.add_argument("new", type=Path, metavar="NEW.json")
    return top


def _suite(name: str, args: argparse.Namespace) -> None:
    """Run a suite, print its table, save its rows and draw them."""
    module: Any = import_module(f"bench.{SUITES[name]}")
    more = {"only": args.only} if getattr(args, "only", "") else {}
    rows = module.run(_rounds(args), args.quick, args.threads, **more)
    text = table(rows, module.COLUMNS)
    if hasattr(module, "summary"):
        text += f"\n\n{module.summary(rows)}"
    _publish(name, rows, text, args.out, getattr(module, "draw", None))


def _race(args: argparse.Namespace) -> int:
    """Race somebody's file; returns the exit code."""
    race = import_module("bench.race")
    job = race.planned(args.file, args.against, _rounds(args), args.quick, args.only, args.gpu)
    try:
        rows = race.run(job, args.time_limit)
    except race.Unfair as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _publish("race", rows, race.report(rows), args.out, race.draw)
    problem = race.impossible(rows)
    if problem:
        print(f"bench: {problem}", file=sys.stderr)
    return 1 if problem else 0


def _rounds(args: argparse.Namespace) -> int:
    return (3 if args.quick else 15) if args.rounds is None else args.rounds


def _publish(
    name: str, rows: list[Row], text: str, out: Path,
    draw: Callable[[list[Row], Path, str], list[Path]] | None,
) -> None:  # fmt: skip
    """Save rows, print what they say, and draw them."""
    save(out / f"{name}.json", name, rows)  # before anything else can go wrong
    print(f"## {name}\n\n{text}\n")
    machine = describe()
    where = f"{machine['cpu']}, {machine['cores']} cores, {date.today().isoformat()}"
    for path in (out / f"{name}.json", *(draw(rows, out, where) if draw else [])):
        print(f"wrote {path}")


def _prepare(args: argparse.Namespace) -> None:
    """Find out before measuring what would fail after it."""
    if args.rounds is not None and args.rounds < 1:
        raise InputError(f"--rounds must be at least 1, not {args.rounds}")
    if args.threads is not None and not 1 <= args.threads <= cores():
        raise InputError(f"--threads must lie between 1 and {cores()}, not {args.threads}")
    if args.threads is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(args.threads)  # Numba reads it when it starts
    for name in BACKENDS:
        if name not in DEVICES and why_not(name):  # on a GPU: bench gpu
            print(f"bench: without the backend {name}: {why_not(name)}", file=sys.stderr)
    for package in ("matplotlib.figure", "threadpoolctl", "rich"):
        require(package, "cli")
    _writable(args.out)


def _writable(folder: Path) -> None:
    """Make the folder; `InputError` if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    try:
        args = parser().parse_args(arguments)
        if args.command == "compare":
            text, slower = compare(args.old, args.new)
            print(text)
            return 1 if slower else 0
        if args.command == "gpu":
            gpu = import_module("bench.gpu.parts")
            plan = gpu.planned(args)
            _writable(args.out)
            return gpu.main(plan)
        _prepare(args)
        if args.command == "race":
            return _race(args)
        for name in SUITES if args.command == "all" else (args.command,):
            _suite(name, args)
    except (InputError, MissingPackage) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except Mismatch as error:
        print(f"bench: wrong numbers, so nothing was timed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; suites that had ended are saved", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
