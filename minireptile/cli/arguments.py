"""The commands and their options. Every setting is an option of ``train``, under its own name."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..backend import BACKENDS
from ..errors import InputError
from ..reproduce import EXPERIMENTS, ON_CHARACTERS
from ..runs.presets import PRESETS
from ..runs.settings import DATASETS, Settings
from .options import DOWNLOADS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = _Parser(prog="minireptile", description="Reptile meta-learning without a framework.")
    top.add_argument("--version", action="version", version=f"minireptile {__version__}")
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
        "--download",
        action="store_true",
        help=f"{', '.join(DOWNLOADS)}: fetch it once from its official address",
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
