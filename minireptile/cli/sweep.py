"""``minireptile sweep``: from options, or a TOML file of them, to runs, a table and a picture."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import fields
from importlib import import_module
from itertools import product
from pathlib import Path
from shlex import quote
from typing import Any

from ..errors import InputError, require
from ..files import write_atomically
from ..runs import console, plot_sweep, sweep, sweep_table
from ..runs.cell import held
from ..runs.folder import CHECKPOINT, SWEEP
from ..runs.naming import folder_of, name_in_sweep
from ..runs.presets import PRESETS
from ..runs.settings import DATASETS, Settings
from ..runs.signals import Stopped
from ..runs.sweep import Cell
from .options import download, settings_from
from .words import no_such, suggestion

NAMES = [f.name for f in fields(Settings) if f.name != "seed"]
MEANT = {"preset", "seeds", "out", "workers", *NAMES}  # what a file may say
KEPT = {"dataset", "preset", "seeds", *NAMES}  # and what is kept in sweep.json
FORMAT = {"format": "minireptile sweep", "version": 1}

Options = dict[str, Any]


def run(args: Namespace) -> int:
    """Do what the command says; returns the exit code."""
    given = {n: v for n, v in vars(args).items() if n in MEANT and v is not None}
    options = {**(_from_toml(args.file) if args.file else {}), **given}
    if "out" not in options and "dataset" not in options:
        raise InputError(
            f"sweep needs a data set, one of {', '.join(DATASETS)}; --file FILE; or --out FOLDER "
            "of a sweep that has begun"
        )
    folder = Path(options["out"]) if "out" in options else _folder(options)
    kept = _kept(folder)
    if "dataset" not in options or args.table:
        if kept is None:
            raise InputError(f"there is no sweep in {folder}: begin one with minireptile sweep "
                             "DATASET --seeds N")  # fmt: skip
        options = {**kept, **({} if args.table else options)}
    elif kept:
        options = {"backend": kept["backend"], **options}  # the one that it began with
    cells = _cells(options, folder)
    if kept:
        _check_grown(_cells(kept, folder), cells, folder)
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
            _keep(options, cells[0].settings, folder)
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
        f"sweep: {_many(len(cells), 'run')}{done}{on}, {count} at a time, in {folder}", stderr=True
    )
    if asked and workers > len(to_do):
        console.say(
            f"sweep: {_many(workers, 'worker')} for {_many(len(to_do), 'run')}: the others have "
            "nothing to do", stderr=True,
        )  # fmt: skip


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


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
        f"minireptile: {len(failed)} of {_many(len(cells), 'run')} failed; {first.folder.name}: "
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


# What a sweep is: options, of which those with several values make the grid.


def _cells(options: Options, folder: Path) -> list[Cell]:
    """All its runs; `InputError` where an option's value cannot be."""
    _check(options)
    seeds = _seeds(options["seeds"])
    grid = {n: _values(n, options[n]) for n in NAMES if isinstance(options.get(n), list)}
    fixed = {n: v for n, v in options.items() if n in KEPT and n not in grid and n != "seeds"}
    cells: list[Cell] = []
    for chosen in product(*grid.values()):
        values = dict(zip(grid, chosen, strict=True))
        for seed in seeds:
            s = settings_from({**fixed, **values, "seed": seed})
            if "backend" not in grid:
                fixed["backend"] = s.backend  # chosen once, and said once why
            cells.append(Cell(folder / name_in_sweep(values, seed), values, s))
    if not cells[0].settings.test_tasks:
        raise InputError("a sweep compares runs by their tests: --test-tasks must be at least 1")
    return cells


def _check(options: Mapping[str, Any]) -> None:
    dataset, preset = options.get("dataset"), options.get("preset")
    if dataset not in DATASETS:
        raise InputError(no_such("dataset", str(dataset), DATASETS))
    if preset is not None and preset not in PRESETS:
        raise InputError(no_such("preset", str(preset), PRESETS))
    for name in ("dataset", "preset", "data"):
        if isinstance(options.get(name), list):
            raise InputError(f"--{name} has one value in a sweep, not several")
    if "seeds" not in options:
        raise InputError("sweep needs --seeds, such as --seeds 5 for 0 to 4, or --seeds 3,7")


def _seeds(given: Any) -> list[int]:
    """So many from 0 on, or these."""
    if type(given) is int and given >= 1:
        return list(range(given))
    if not isinstance(given, list) or not all(type(s) is int and s >= 0 for s in given):
        raise InputError(
            f"--seeds must be how many, at least 1, or a list of seeds such as 3,7, not {given!r}"
        )
    return _values("seeds", given)


def _values(name: str, given: list[Any]) -> list[Any]:
    """The values of one option, each once; numbers in their order."""
    dashed = name.replace("_", "-")
    if not given:
        raise InputError(f"--{dashed} has no values: give it one, or leave it out")
    twice = [value for i, value in enumerate(given) if value in given[:i]]
    if twice:
        raise InputError(f"--{dashed} has {twice[0]} twice: name each value once")
    return sorted(given) if all(type(v) in (int, float) for v in given) else given


def _from_toml(path: Path) -> Options:
    """The options that a file says; `InputError` if it cannot be read, or says anything else."""
    for module in ("tomllib", "tomli"):  # the first from Python 3.11 on
        try:
            toml = import_module(module)
            break
        except ImportError:
            continue
    else:
        raise InputError("a TOML file needs Python 3.11 or newer, or: pip install tomli")
    try:
        with open(path, "rb") as file:
            said = toml.load(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # of the syntax, or of UTF-8
        raise InputError(f"{path} is no TOML: {error}") from None
    options: Options = {}
    for key, value in said.items():
        name = key.replace("-", "_")
        dashed = [n.replace("_", "-") for n in sorted(MEANT)]
        if name not in MEANT:
            meant = suggestion(key.replace("_", "-"), dashed) or (
                ": it may have seeds, out, workers, preset and the options of train"
            )
            raise InputError(f"{path} has {key!r}, which is no option of sweep{meant}")
        if name in options:
            raise InputError(f"{path} has {key!r} twice, once with - and once with _")
        if not isinstance(value, (int, float, str, list)):
            raise InputError(f"{path}: {key} must be a value or a list of values, not {value!r}")
        options[name] = value
    if not isinstance(options.get("out", ""), str):
        raise InputError(f"{path}: out must be a folder, in quotes, not {options['out']!r}")
    return options


# Its folder.


def _folder(options: Options) -> Path:
    """The folder of a sweep for which none was named: after what is fixed, and what varies."""
    _check(options)
    varied = [n for n in NAMES if isinstance(options.get(n), list)]
    fixed = {n: v for n, v in options.items() if n in KEPT and n not in varied and n != "seeds"}
    usual = folder_of(settings_from({"backend": "numpy", **fixed, "seed": 0}), fixed)
    name = usual.name.removesuffix("-seed0")
    return Path("runs", "-".join(["sweep", name, *(n.replace("_", "-") for n in varied)]))


def _kept(folder: Path) -> Options | None:
    """The options of the sweep in a folder, None without one; `InputError` if something else is
    there."""
    path = folder / SWEEP
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        if (folder / CHECKPOINT).exists():
            raise InputError(f"{folder} holds a run, and no sweep: choose another --out") from None
        if folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise InputError(
                f"{folder} is not empty, and holds no sweep: choose another --out"
            ) from None
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; choose another --out") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or {n: found.pop(n, None) for n in FORMAT} != FORMAT:
        raise InputError(f"{path} is not of a sweep, or of a newer one: choose another --out")
    if not found.keys() <= KEPT:
        raise InputError(f"{path} has unknown options: it may be of a newer minireptile")
    return found


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}; choose another --out") from None


def _keep(options: Options, first: Settings, folder: Path) -> None:
    """Write what the sweep is, with the backend and the place of the data that it has."""
    kept = {n: v for n, v in options.items() if n in KEPT} | {"seeds": _seeds(options["seeds"])}
    if not isinstance(kept.get("backend"), list):
        kept["backend"] = first.backend
    if first.data:
        kept["data"] = first.data
    write_atomically(folder / SWEEP, json.dumps({**FORMAT, **kept}, indent=1).encode() + b"\n")


def _check_grown(old: list[Cell], new: list[Cell], folder: Path) -> None:
    """`InputError` unless every run of a sweep is one of what it is to become."""
    varied = [[n.replace("_", "-") for n in cells[0].values] for cells in (old, new)]
    if varied[0] != varied[1]:
        was, is_ = (", ".join(names) or "seeds alone" for names in varied)
        raise InputError(
            f"{folder} is a sweep over {was}, and this one is over {is_}: choose another --out"
        )
    settings = {cell.folder: cell.settings for cell in new}
    for cell in old:
        if cell.folder not in settings:
            raise InputError(
                f"{folder} has {cell.folder.name} too, which these options leave out: name its "
                "values with the others, or choose another --out"
            )
        if name := sweep.differs(cell.settings, settings[cell.folder]):
            raise InputError(
                f"{folder} is a sweep with --{name.replace('_', '-')} "
                f"{getattr(cell.settings, name)}, not {getattr(settings[cell.folder], name)}: "
                "a sweep may gain seeds and values of what varies; for another one, choose "
                "another --out"
            )
