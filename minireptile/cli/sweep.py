"""``minireptile sweep``: from options, or a TOML file of them, to runs, a table and a picture."""

import json
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path
from shlex import quote

from ..errors import InputError, require
from ..runs import console, plot_sweep, sweep, sweep_table
from ..runs.cell import held
from ..runs.settings import DATASETS
from ..runs.signals import Stopped
from ..runs.sweep import Cell
from ..runs.words import many
from . import grid
from .grid import MEANT, Options
from .options import download


def run(args: Namespace) -> int:
    """Do what the command says; returns the exit code."""
    given = {n: v for n, v in vars(args).items() if n in MEANT and v is not None}
    options = {**(grid.from_toml(args.file) if args.file else {}), **given}
    if "out" not in options and "dataset" not in options:
        raise InputError(
            f"sweep needs a data set, one of {', '.join(DATASETS)}; --file FILE; or --out FOLDER "
            "of a sweep that has begun"
        )
    folder = Path(options["out"]) if "out" in options else grid.folder_of_sweep(options)
    kept = grid.kept(folder)
    if "dataset" not in options or args.table:
        if kept is None:
            raise InputError(f"there is no sweep in {folder}: begin one with minireptile sweep "
                             "DATASET --seeds N")  # fmt: skip
        options = {**kept, **({} if args.table else options)}
    elif kept:
        options = {"backend": kept["backend"], **options}  # the one that it began with
    cells = grid.cells_of(options, folder)
    if kept:
        grid.check_grown(grid.cells_of(kept, folder), cells, folder)
    code = 0 if args.table else _run(options, cells, folder, args)
    if code < 128:
        _show(cells, folder, args.json)
    return code


def _run(options: Options, cells: list[Cell], folder: Path, args: Namespace) -> int:
    """Take every run to its end; returns the exit code."""
    workers = options.get("workers", sweep.usual_workers(cells[0].settings))
    if type(workers) is not int or workers < 1:
        raise InputError(f"--workers must be a whole number, at least 1, not {workers!r}")
    for package in ("safetensors.numpy", "rich", "matplotlib"):
        require(package, "cli")
    to_do = [cell for cell in cells if cell.standing().values is None]
    if args.download:
        download(cells[0].settings.dataset)
    if to_do:
        with redirect_stdout(sys.stderr):  # the table alone is the answer
            sweep.try_out(to_do)
    _make(folder)
    try:
        with held(folder, wait=False):
            grid.keep(options, cells[0].settings, folder)
            if to_do:
                _say_what_is_to_do(cells, to_do, workers, folder, "workers" in options)
                sweep.run_all(cells, min(workers, len(to_do)))
    except BlockingIOError:
        raise InputError(
            f"another sweep is at work in {folder}: wait for its end, or stop it"
        ) from None
    except Stopped as stop:
        left = sum(cell.standing().values is None for cell in cells)
        print(
            f"stopped, and saved: {len(cells) - left} of {len(cells)} runs are complete; continue "
            f"with: minireptile sweep --out {quote(str(folder))}"
        )
        return 128 + stop.signum
    return _code(cells)


def _say_what_is_to_do(
    cells: list[Cell], to_do: list[Cell], workers: int, folder: Path, asked: bool
) -> None:
    begun = sum(cell.standing().iteration > 0 for cell in to_do)
    done = f", {len(cells) - len(to_do)} of them complete" * (len(to_do) < len(cells))
    on = f", {begun} begun" * bool(begun)
    count = min(workers, len(to_do))
    console.say(
        f"sweep: {many(len(cells), 'run')}{done}{on}, {count} at a time, in {folder}", stderr=True
    )
    if asked and workers > len(to_do):
        console.say(
            f"sweep: {many(workers, 'worker')} for {many(len(to_do), 'run')}: the others have "
            "nothing to do", stderr=True,
        )  # fmt: skip


def _code(cells: list[Cell]) -> int:
    """0 if all are complete, else 1 and a sentence; `InputError` if all failed, for one reason."""
    standings = {cell: cell.standing() for cell in cells}
    failed = {cell: standing.failed for cell, standing in standings.items() if not standing.done}
    if not failed:
        return 0
    reasons = set(failed.values())
    if len(failed) == len(cells) and len(reasons) == 1 and len(cells) > 1:
        raise InputError(f"all runs failed: {reasons.pop() or 'see their log.txt'}")
    first, why = next(iter(failed.items()))
    print(
        f"minireptile: {len(failed)} of {many(len(cells), 'run')} failed; {first.folder.name}: "
        f"{why or 'see its log.txt'}", file=sys.stderr,
    )  # fmt: skip
    return 1


def _show(cells: list[Cell], folder: Path, as_json: bool) -> None:
    """The table, or its JSON, and the picture."""
    found = sweep_table.rows({cell: cell.standing() for cell in cells})
    s, measure = cells[0].settings, cells[0].measure
    picture = None
    if any(row.seeds for row in found):
        picture = plot_sweep.draw(found, measure, s, folder)
    if as_json:
        print(json.dumps({
            "folder": str(folder), "dataset": s.dataset, "tasks": s.test_tasks,
            "interval": "95 %, Student, over seeds", "rows": sweep_table.records(found),
            "picture": picture and str(picture),
        }, indent=1))  # fmt: skip
        return
    title = measure.title.format(tasks=s.test_tasks, **vars(s))
    varied = [n for n in ("way", "shot") if n in cells[0].values]
    if varied:
        title = f"tests on {s.test_tasks} unseen tasks of {s.dataset}"
    console.table(sweep_table.table(found, measure), title, sweep_table.NOTE, whole=True)
    if picture:
        console.say(f"picture: {picture}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}; choose another --out") from None
