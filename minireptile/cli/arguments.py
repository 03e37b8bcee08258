"""The commands and their options. Every setting is an option of ``train``, under its own name.

By rich-click: options are made from the record of settings, which click does with plain objects
and typer with signatures of functions; panels, suggestions and completion come with it.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import rich_click as click
from click.core import ParameterSource
from click.exceptions import Exit
from rich_click import RichArgument, RichCommand, RichGroup, RichOption

from .. import __version__
from ..backend import BACKENDS
from ..errors import InputError
from ..reproduce import EXPERIMENTS, ON_CHARACTERS
from ..runs.presets import PRESETS
from ..runs.settings import DATASETS, Settings
from .options import DOWNLOADS
from .words import NUMBERS, OneOf, listed, no_such, sentence

LOOK = {
    "text_markup": None, "max_width": 100, "append_metavars_help_string": "{}",
    "options_table_column_types": ["opt_all_metavar", "help"],
}  # fmt: skip
PATH = click.Path(path_type=Path)
METAVARS = {"int": "N", "float": "X"}


def parse(arguments: Sequence[str] | None = None) -> Namespace | None:
    """The command and its options; None where help or the version was asked for, and is printed.

    Raises
    ------
    InputError
        If there is no such command or option, or a value is none for it.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    commands = program()
    try:
        with commands.make_context("minireptile", words) as context:
            args: Namespace = commands.invoke(context)
            return args
    except Exit:
        return None
    except click.UsageError as error:
        raise InputError(sentence(error)) from None


class _Commands(RichGroup):
    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        found = super().get_command(ctx, name)
        if found is None and not ctx.resilient_parsing:
            raise InputError(no_such("command", name, self.commands))
        return found


def program() -> RichGroup:
    """All commands."""
    commands = [
        _command(
            "train", "meta-train a model", _dataset(), *_of_training(), *_settings(),
            about="Meta-train a model. Without a preset, the values of the nearest one hold, with "
            "parallel tasks, the mean loss and 6,000 iterations.",
        ),
        _command("resume", "continue a run, bit for bit", _run(), *_found_changed()),
        _command(
            "evaluate", "few-shot performance on unseen classes", _run(), *_found_changed(),
            _option("tasks", "evaluation tasks", type=NUMBERS["int"], default=1000, metavar="N"),
            _option("seed", "of the tasks; the run's own by default", type=NUMBERS["int"],
                    metavar="N"),
            _flag("json", "print one JSON object"),
            _option("shot", "support examples a class; as trained for", type=NUMBERS["int"],
                    metavar="N"),
            _chosen("on", "evaluate on another data set", DATASETS),
        ),
        _command("plot", "draw a run's pictures again", _run()),
        _command(
            "check", "check every layer's gradients and identities",
            RichArgument(["layer"], required=False, metavar="LAYER",
                         help="only this one, such as Conv2D"),
            _chosen("backend", "whose kernels", BACKENDS, default="numpy"),
        ),
        _command(
            "reproduce", "measure a claim about Reptile",
            RichArgument(["name"], type=OneOf([*EXPERIMENTS, "all"], "experiment"), metavar="NAME",
                         help="one of the names above, or all"),
            _flag("quick", "small sizes, some seconds each"),
            _option("out", "where figures and pictures go", type=PATH, metavar="FOLDER",
                    default=Path("runs/reproduce")),
            _chosen("backend", "whose kernels", BACKENDS),
            _option("data", "Omniglot, in place of drawn characters: for "
                    + " and ".join(ON_CHARACTERS), default="", metavar="DIR"),
            about="Measure a claim: figures, a picture, and whether it holds. NAME is all, or "
            + "; ".join(f"{name}: {about}" for name, about in EXPERIMENTS.items()) + ".",
        ),
        _command("info", "versions, backends and this machine"),
    ]  # fmt: skip
    return _Commands(
        name="minireptile", commands={str(c.name): c for c in commands}, no_args_is_help=False,
        help="Reptile meta-learning without a framework.",
        params=[_version()], context_settings=_context(),
    )  # fmt: skip


def _context() -> dict[str, Any]:
    return {"help_option_names": ["-h", "--help"], "rich_help_config": dict(LOOK)}


def _command(
    name: str, summary: str, *parameters: click.Parameter, about: str = ""
) -> RichCommand:  # fmt: skip
    """A command that gives its name and the values of its parameters; of the settings, those
    alone that were given."""
    optional = {p.name for p in parameters if isinstance(p, _Setting)}

    @click.pass_context
    def given(context: click.Context, **values: Any) -> Namespace:
        own = {
            n: v for n, v in values.items()
            if n not in optional or context.get_parameter_source(n) is not ParameterSource.DEFAULT
        }  # fmt: skip
        return Namespace(command=name, **own)

    return RichCommand(
        name=name, params=list(parameters), callback=given, short_help=summary,
        help=about or f"{summary.capitalize()}.", context_settings=_context(),
    )  # fmt: skip


class _Setting(RichOption):
    """An option that is left out where it was not given: other values may hold by default."""


def _version() -> click.Option:
    def show(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
        if asked and not context.resilient_parsing:
            click.echo(f"minireptile {__version__}")
            context.exit()

    return RichOption(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show,
        help="Show the version and exit.",
    )  # fmt: skip


def _option(name: str, help: str, **more: Any) -> RichOption:
    more = {"show_default": bool(more.get("default")), **more}
    return RichOption([_flagged(name)], help=help, **more)


def _flag(name: str, help: str) -> RichOption:
    return RichOption([_flagged(name)], help=help, is_flag=True)


def _chosen(name: str, help: str, names: Sequence[str], **more: Any) -> RichOption:
    return _option(name, f"{help}: {listed(names)}", type=OneOf(names), metavar="NAME", **more)


def _flagged(name: str) -> str:
    return "--" + name.replace("_", "-")


def _run() -> RichArgument:
    return RichArgument(["run"], type=PATH, metavar="RUN", help="folder of the run")


def _dataset() -> RichArgument:
    return RichArgument(
        ["dataset"], type=OneOf(DATASETS), metavar="DATASET",
        help=f"where the tasks come from: {listed(DATASETS)}",
    )  # fmt: skip


def _found_changed() -> list[RichOption]:
    return [
        _option("data", "where the data lies now", metavar="DATA"),
        _chosen("backend", "change whose kernels compute", BACKENDS),
    ]


def _of_training() -> list[RichOption]:
    return [
        _chosen("preset", "start from the paper's values", tuple(PRESETS)),
        _option("out", "folder of the run", type=PATH, metavar="RUN"),
        _flag("overwrite", "replace the run in that folder"),
        _flag("download", f"{', '.join(DOWNLOADS)}: fetch it once from its official address"),
    ]


def _settings() -> list[_Setting]:
    return [_setting(f) for f in fields(Settings) if f.name != "dataset"]


def _setting(f: Field[Any]) -> _Setting:
    """A setting's option."""
    name, help, choices = _flagged(f.name), f.metadata["help"], f.metadata["choices"]
    if f.type == "bool":
        names = f"{name}/--no-{name.removeprefix('--')}"
        return _Setting([names], help=help, default=f.default, show_default=True)
    kind = OneOf(choices) if choices else NUMBERS.get(str(f.type), click.STRING)
    metavar = "NAME" if choices else METAVARS.get(str(f.type), f.name.upper())
    if choices:
        help = f"{help}: {listed(choices)}"
    return _Setting(
        [name], type=kind, help=help, metavar=metavar, default=f.default,
        show_default=f.default != "",
    )  # fmt: skip
