"""What a sweep is: options, of which those with several values make the grid. They come from the
command line, a TOML file, or the folder of a sweep that has begun."""

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_atomically
from ..runs import sweep
from ..runs.folder import CHECKPOINT, SWEEP
from ..runs.naming import folder_of, name_in_sweep
from ..runs.presets import PRESETS
from ..runs.settings import DATASETS, Settings
from ..runs.sweep import Cell
from .options import settings_from
from .words import no_such, suggestion

NAMES = [f.name for f in fields(Settings) if f.name != "seed"]
MEANT = {"preset", "seeds", "out", "workers", *NAMES}  # what a file may say
KEPT = {"dataset", "preset", "seeds", *NAMES}  # and what is kept in sweep.json
FORMAT = {"format": "minireptile sweep", "version": 1}

Options = dict[str, Any]


def cells_of(options: Options, folder: Path) -> list[Cell]:
    """All its runs; `InputError` where an option's value cannot be."""
    _check(options)
    seeds = _seeds(options["seeds"])
    grid = {n: _values(n, options[n]) for n in NAMES if isinstance(options.get(n), list)}
    fixed = {n: v for n, v in options.items() if n in KEPT and n not in grid and n != "seeds"}
    cells: list[Cell] = []
    for chosen in product(*grid.values()):
        for seed in seeds:
            s = settings_from({**fixed, **dict(zip(grid, chosen, strict=True)), "seed": seed})
            values = {name: getattr(s, name) for name in grid}  # 1 is 1.0, auto is numba
            if "backend" not in grid:
                fixed["backend"] = s.backend  # chosen once, and said once why
            cells.append(Cell(folder / name_in_sweep(values, seed), values, s))
    if len({cell.folder for cell in cells}) < len(cells):
        raise InputError("two of the values mean the same: name each once")
    if not all(cell.settings.test_tasks for cell in cells):
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


def from_toml(path: Path) -> Options:
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


def folder_of_sweep(options: Options) -> Path:
    """The folder of a sweep for which none was named: after what is fixed, and what varies."""
    _check(options)
    varied = [n for n in NAMES if isinstance(options.get(n), list)]
    fixed = {n: v for n, v in options.items() if n in KEPT and n not in varied and n != "seeds"}
    usual = folder_of(settings_from({"backend": "numpy", **fixed, "seed": 0}), fixed)
    name = usual.name.removesuffix("-seed0")
    return Path("runs", "-".join(["sweep", name, *(n.replace("_", "-") for n in varied)]))


def kept(folder: Path) -> Options | None:
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


def keep(options: Options, first: Settings, folder: Path) -> None:
    """Write what the sweep is, with the backend and the place of the data that it has."""
    said = {n: v for n, v in options.items() if n in KEPT} | {"seeds": _seeds(options["seeds"])}
    if not isinstance(said.get("backend"), list):
        said["backend"] = first.backend
    if first.data:
        said["data"] = first.data
    write_atomically(folder / SWEEP, json.dumps({**FORMAT, **said}, indent=1).encode() + b"\n")


def check_grown(old: list[Cell], new: list[Cell], folder: Path) -> None:
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
