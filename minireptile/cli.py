"""The command line: ``minireptile train | resume | evaluate | check | plot | reproduce | info``.

Exit codes: 0 done, 2 wrong input (one sentence says what), 130 or 143 stopped by a signal.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .backend import (
    BACKENDS,
    BY_SPEED,
    announce_compilation,
    describe,
    fastest,
    gpu_expected,
    why_not,
)
from .devices import cupy as device_cupy
from .errors import InputError, MissingPackage
from .reproduce import EXPERIMENTS, ON_CHARACTERS
from .reproduce import run as reproduce
from .runs.presets import PRESETS, defaults
from .runs.settings import DATASETS, Settings


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = _Parser(prog="minireptile", description="Reptile meta-learning without a framework.")
    top.add_argument("--version", action="version", version=f"minireptile {_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train", help="meta-train a model", argument_default=argparse.SUPPRESS,
        description="Meta-train a model. Without a preset, the values of the nearest one hold, "
        "with parallel tasks, the mean loss and 6,000 iterations.",
    )  # fmt: skip
    train.add_argument("dataset", choices=DATASETS, help="where the tasks come from")
    train.add_argument("--preset", choices=PRESETS, help="start from the paper's values")
    train.add_argument("--out", type=Path, metavar="RUN", help="folder of the run")
    train.add_argument("--overwrite", action="store_true", help="replace the run in that folder")
    train.add_argument(
        "--download", action="store_true", help="omniglot: fetch it once from its official address"
    )
    for f in fields(Settings):
        if f.name != "dataset":
            _add_option(train, f)

    resume = commands.add_parser("resume", help="continue a run, bit for bit")
    evaluate = commands.add_parser("evaluate", help="few-shot performance on unseen classes")
    plot = commands.add_parser("plot", help="draw a run's pictures again")
    for command in (resume, evaluate, plot):
        command.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    for command in (resume, evaluate):
        command.add_argument("--data", metavar="DATA", help="where the data lies now")
        command.add_argument("--backend", choices=BACKENDS, help="change whose kernels compute")
    evaluate.add_argument("--tasks", type=int, default=1000, help="evaluation tasks (1000)")
    evaluate.add_argument("--seed", type=int, help="of the tasks; the run's own by default")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.add_argument("--shot", type=int, help="support examples a class; as trained for")
    evaluate.add_argument("--on", choices=DATASETS, help="evaluate on another data set")

    check = commands.add_parser("check", help="check every layer's gradients and identities")
    check.add_argument("layer", nargs="?", metavar="LAYER", help="only this one, such as Conv2D")
    check.add_argument("--backend", choices=BACKENDS, default="numpy", help="whose kernels")
    claims = commands.add_parser(
        "reproduce", help="measure a claim about Reptile",
        description="Measure a claim: figures, a picture, and whether it holds. NAME is all, or "
        + "; ".join(f"{name}: {about}" for name, about in EXPERIMENTS.items()) + ".",
    )  # fmt: skip
    claims.add_argument("name", metavar="NAME", help="one of the names above, or all")
    claims.add_argument("--quick", action="store_true", help="small sizes, some seconds each")
    claims.add_argument("--out", type=Path, default=Path("runs/reproduce"), metavar="FOLDER",
                        help="where figures and pictures go (runs/reproduce)")  # fmt: skip
    claims.add_argument("--backend", choices=BACKENDS, help="whose kernels")
    claims.add_argument("--data", metavar="DIR", default="",
                        help="Omniglot, in place of drawn characters: for "
                        + " and ".join(ON_CHARACTERS))  # fmt: skip
    commands.add_parser("info", help="versions, backends and this machine")
    return top


def _add_option(command: argparse.ArgumentParser, f: Any) -> None:
    name, help = "--" + f.name.replace("_", "-"), f.metadata["help"]
    if f.type == "bool":
        command.add_argument(name, action=argparse.BooleanOptionalAction, help=help)
        return
    kind = {"int": int, "float": float, "str": str}[f.type]
    choices = f.metadata["choices"] or None
    metavar = None if choices else {"int": "N", "float": "X", "str": f.name.upper()}[f.type]
    command.add_argument(name, type=kind, choices=choices, metavar=metavar, help=help)


def settings_from(options: dict[str, Any]) -> Settings:
    """Settings from a preset or the data set's defaults, overridden by the options given."""
    given = {f.name: options[f.name] for f in fields(Settings) if f.name in options}
    dataset, preset = given["dataset"], options.get("preset")
    if preset:
        values = dict(PRESETS[preset])
        if values["dataset"] != dataset:
            raise InputError(f"the preset {preset} is for {values['dataset']}, not for {dataset}")
    else:
        algorithm = given.get("algorithm", "reptile")
        values = defaults(dataset, given.get("way", 5), given.get("shot", 1), algorithm)
    if given.get("data"):
        given["data"] = str(Path(given["data"]).resolve())  # a run can be resumed from anywhere
    settings = Settings(**{**values, **given})
    if given.get("backend", "auto") == "auto":
        _say_what_is_missing(settings)
    if settings.tf32 and settings.backend != "cupy":
        raise InputError(f"--tf32 is for --backend cupy, not for {settings.backend}: leave it out")
    return settings


def _say_what_is_missing(settings: Settings) -> None:
    """Why a backend was not chosen that is faster, and that one would expect."""
    chosen, reason = settings.backend, ""
    if chosen == "numpy":
        reason = f"several times slower: {why_not('numba')}"
    elif chosen == "numba" and settings.network != "sine" and gpu_expected():
        reason = f"on the CPU: {why_not('cupy')}"
    if reason:
        print(f"minireptile: using the {chosen} backend, {reason}", file=sys.stderr)


def _train(args: argparse.Namespace) -> None:
    from .runs import run

    settings = settings_from(vars(args))
    folder = getattr(args, "out", None) or Path("runs", _run_name(settings))
    if hasattr(args, "download"):
        from .tasks.files.download import download_omniglot

        if settings.dataset != "omniglot":
            raise InputError(f"--download is for omniglot, not for {settings.dataset}")
        download_omniglot()
    run.train(settings, folder, overwrite=hasattr(args, "overwrite"))
    print(f"run: {folder}")


def _run_name(s: Settings) -> str:
    task = "" if s.dataset == "sine" else f"-{s.way}way-{s.shot}shot"
    return f"{s.dataset}{task}-{s.algorithm}-seed{s.seed}"


def _resume(args: argparse.Namespace) -> None:
    from .runs import run

    run.resume(args.run, **_changed(args))


def _changed(args: argparse.Namespace) -> dict[str, Any]:
    """What a run may find changed: where its data lies, and who computes."""
    changes = {"data": str(Path(args.data).resolve())} if args.data else {}
    return {**changes, "backend": args.backend} if args.backend else changes


def _evaluate(args: argparse.Namespace) -> None:
    from .runs import run

    changes = {"dataset": args.on, "split": "", "data": ""} if args.on else {}
    changes |= _changed(args) | ({} if args.shot is None else {"shot": args.shot})
    experiment, snapshot = run.load(args.run, training=False, **changes)
    seed = experiment.settings.seed if args.seed is None else args.seed
    result = run.measure(experiment, snapshot, args.tasks, seed, quiet=args.json)
    if args.json:
        print(json.dumps(asdict(result)))
    else:
        print(run.table(experiment, {f"iteration {snapshot.iteration}": result}))


def _plot(args: argparse.Namespace) -> None:
    from .runs import run

    experiment, snapshot = run.load(args.run, training=False)
    run.draw_pictures(experiment, snapshot, args.run)


def _check(args: argparse.Namespace) -> None:
    from . import testing

    rows = testing.check_layers(args.layer, args.backend)
    print(testing.table(rows))
    failed = {id(row.report): row for row in rows if not row.report.passed}
    if failed:
        raise InputError(f"gradients of {', '.join(r.layer for r in failed.values())} are wrong")


def _reproduce(args: argparse.Namespace) -> None:
    from .reproduce.outcome import keep, prepare

    if args.data and args.name not in (*ON_CHARACTERS, "all"):
        raise InputError(f"--data is for {' and '.join(ON_CHARACTERS)}: leave it out")
    prepare(args.out)
    backend = args.backend or fastest(BY_SPEED[:-1])
    announce_compilation(backend)
    for name in EXPERIMENTS if args.name == "all" else (args.name,):
        outcome = reproduce(name, args.quick, backend, args.data)
        paths = keep(name, outcome, args.out, args.quick)
        print(f"{name}\n{outcome.sentence()}\nfigures: {paths[0]}\npicture: {paths[1]}\n")
        sys.stdout.flush()  # the next one may take an hour


def _info(args: argparse.Namespace) -> None:
    print(f"minireptile {_version()}, Python {platform.python_version()}, {platform.platform()}")
    for backend in BACKENDS:
        print(f"backend {backend}: {why_not(backend) or describe(backend)}")
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    print(f"numpy {np.__version__}, BLAS {blas['name']} {blas['version']}")
    packages = {"cli": ("safetensors", "tqdm", "Pillow", "matplotlib", "pooch"),
                "numba": ("numba", "scipy", "threadpoolctl", "platformdirs"),
                "cuda13": ("numba-cuda",)}  # fmt: skip
    for extra, names in packages.items():
        for package in names:
            try:
                print(f"{package} {version(package)}")
            except PackageNotFoundError:
                print(f'{package} is not installed: pip install "minireptile[{extra}]"')
    for package in device_cupy.installed():
        print(package)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread, if threadpoolctl is there to do so.

    The products are too small to gain from two, run several times slower where another program
    wants a core, and a sum split over threads would make a run's last digits depend on the machine.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _version() -> str:
    from . import __version__

    return __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    from .runs.run import Stopped

    commands = {
        "train": _train, "resume": _resume, "evaluate": _evaluate,
        "check": _check, "plot": _plot, "info": _info, "reproduce": _reproduce,
    }  # fmt: skip
    try:
        args = parser().parse_args(arguments)
        # A diverging run ends with a sentence of its own, not with NumPy's warnings.
        with np.errstate(all="ignore"), _one_blas_thread():
            commands[args.command](args)
    except (InputError, MissingPackage) as error:
        print(f"minireptile: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print("minireptile: not enough memory for that: ask for less", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(f"stopped after iteration {stop.iteration}, and saved: continue with resume")
        return 128 + stop.signum
    except KeyboardInterrupt:
        print("interrupted; a run that had begun is saved up to its last checkpoint")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    return 0
