"""What each command does, once its options are known."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..backend import BACKENDS, BY_SPEED, announce_compilation, describe, fastest, why_not
from ..devices import cupy as device_cupy
from ..errors import InputError
from ..reproduce import EXPERIMENTS, ON_CHARACTERS
from ..reproduce import run as reproduce
from ..runs import pictures, report, run
from ..runs.naming import folder_of
from .options import download, settings_from


def _train(args: argparse.Namespace) -> None:
    settings = settings_from(vars(args))
    folder = args.out or folder_of(settings, vars(args))
    if args.download:
        download(settings.dataset)
    run.train(settings, folder, overwrite=args.overwrite)
    print(f"run: {folder}")


def _resume(args: argparse.Namespace) -> None:
    run.resume(args.run, **_changed(args))


def _changed(args: argparse.Namespace) -> dict[str, Any]:
    """What a run may find changed: where its data lies, and who computes."""
    changes = {"data": str(Path(args.data).resolve())} if args.data else {}
    return {**changes, "backend": args.backend} if args.backend else changes


def _evaluate(args: argparse.Namespace) -> None:
    changes = {"dataset": args.on, "split": "", "data": ""} if args.on else {}
    changes |= _changed(args) | ({} if args.shot is None else {"shot": args.shot})
    experiment, snapshot = run.load(args.run, training=False, **changes)
    seed = experiment.settings.seed if args.seed is None else args.seed
    result = report.measure(experiment, snapshot, args.tasks, seed, quiet=args.json)
    if args.json:
        print(json.dumps(asdict(result)))
    else:
        report.show(experiment, {f"iteration {snapshot.iteration}": result})


def _plot(args: argparse.Namespace) -> None:
    experiment, snapshot = run.load(args.run, training=False)
    pictures.draw(experiment, snapshot, args.run)


def _predict(args: argparse.Namespace) -> None:
    from ..runs import predict, trained

    if (args.run is None) == (args.pretrained is None):
        raise InputError("predict needs the folder of a run, or --pretrained NAME, and not both")
    if args.json and args.csv:
        raise InputError("--json and --csv are two forms of one answer: choose one")
    model = trained.load(args.run) if args.run else trained.pretrained(args.pretrained)
    found = predict.predict(
        model, args.support, args.query,
        transductive=args.transductive, skip_unreadable=args.skip_unreadable,
    )  # fmt: skip
    form = predict.as_json if args.json else predict.as_csv if args.csv else predict.as_table
    print(form(found).rstrip("\n"))


def _export(args: argparse.Namespace) -> None:
    from ..runs.trained import load
    from ..weights import export

    trained = load(args.run)
    export(trained, args.file, args.layout, args.half)
    print(f"{trained}\nweights: {args.file}, in the layout {args.layout!r}")


def _check(args: argparse.Namespace) -> None:
    from .. import testing

    rows = testing.check_layers(args.layer, args.backend)
    print(testing.table(rows))
    failed = {id(row.report): row for row in rows if not row.report.passed}
    if failed:
        raise InputError(f"gradients of {', '.join(r.layer for r in failed.values())} are wrong")


def _reproduce(args: argparse.Namespace) -> None:
    from ..reproduce.outcome import keep, prepare

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
    print(f"minireptile {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for backend in BACKENDS:
        print(f"backend {backend}: {why_not(backend) or describe(backend)}")
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    print(f"numpy {np.__version__}, BLAS {blas['name']} {blas['version']}")
    packages = {"cli": ("safetensors", "rich", "Pillow", "matplotlib", "pooch"),
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


COMMANDS = {
    "train": _train, "resume": _resume, "evaluate": _evaluate,
    "check": _check, "plot": _plot, "predict": _predict, "export": _export, "info": _info, "reproduce": _reproduce,
}  # fmt: skip
