"""What the command line is made of: commands, and options in panels, by rich-click."""

from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any

import rich_click as click
from click.core import ParameterSource
from rich.text import Text
from rich_click import RichArgument, RichCommand, RichGroup, RichOption

from ..errors import InputError
from .words import NUMBERS, OneOf, listed, no_such

WIDTH = 21  # of the first column, the same in all panels
PATH = click.Path(path_type=Path)
METAVARS = {"int": "N", "float": "X"}


def context(**more: Any) -> dict[str, Any]:
    """The settings of a command's context: how its help looks."""
    look = {
        "text_markup": None, "max_width": 100, "append_metavars_help_string": "{}",
        "options_table_column_types": ["opt_all_metavar", "help"],
        "options_table_help_sections": ["help", "default", "required"], "default_string": "\\[{}]",
        "style_commands_table_expand": False,
    }  # fmt: skip
    return {"help_option_names": ["-h", "--help"], "rich_help_config": {**look, **more}}


class Commands(RichGroup):
    """The commands, in the order in which they are given."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name; `InputError` where there is none."""
        found = super().get_command(ctx, name)
        if found is None and not ctx.resilient_parsing:
            raise InputError(no_such("command", name, self.commands))
        return found


def command(
    name: str, summary: str, *parameters: click.Parameter, about: str = "", panel: str = "Commands",
    examples: Iterable[str] = (), **look: Any,
) -> RichCommand:  # fmt: skip
    """A command that gives its name and the values of its parameters, but for a `Setting` that is
    not given. `summary` and `panel`: what stands in the list of commands, and where; `about` and
    `examples`: its own help, else the summary; `look`: of rich-click's configuration."""
    optional = {p.name for p in parameters if isinstance(p, Setting)}

    @click.pass_context
    def given(ctx: click.Context, /, **values: Any) -> Namespace:
        own = {
            n: v for n, v in values.items()
            if n not in optional or ctx.get_parameter_source(n) is not ParameterSource.DEFAULT
        }  # fmt: skip
        return Namespace(command=name, **own)

    return _Command(
        name=name, params=list(parameters), callback=given, short_help=summary, panel=panel,
        help=about or f"{summary[0].upper()}{summary[1:]}.", context_settings=context(**look),
        epilog=Text("\n".join(["Examples:", *examples])) if examples else None,  # type: ignore[arg-type]
    )  # fmt: skip


def _row(row: Any, name: str = "") -> Any:
    """A row of the help, its first column as wide as in the other panels; with a name, cut to its
    length."""
    first = row[0][: len(name)] if name else row[0]
    first.pad_right(WIDTH - first.cell_len)
    return [first, *row[1:]]


class _Command(RichCommand):
    def get_rich_table_row(self, *arguments: Any) -> Any:
        return _row(super().get_rich_table_row(*arguments))


class Option(RichOption):
    """An option."""

    def get_rich_table_row(self, *arguments: Any) -> Any:
        """Its row of the help; of two names, the first."""
        row = super().get_rich_table_row(*arguments)
        return _row(row, self.opts[0] if self.secondary_opts else "")


class Argument(RichArgument):
    """What stands by itself."""

    def get_rich_table_row(self, *arguments: Any) -> Any:
        """Its row of the help: its name alone."""
        return _row(super().get_rich_table_row(*arguments), self.name or "")


class Setting(Option):
    """An option that is left out where it is not given, since other values may hold then."""


def option(name: str, help: str, **more: Any) -> Option:
    """An option that takes a value."""
    return Option([flagged(name)], help=help, show_default=bool(more.get("default")), **more)


def flag(name: str, help: str, **more: Any) -> Option:
    """An option that is there or not."""
    return Option([flagged(name)], help=help, is_flag=True, **more)


def chosen(name: str, help: str, names: Sequence[str], **more: Any) -> Option:
    """An option that takes one of some names."""
    return option(name, f"{help}: {listed(names)}", type=OneOf(names), metavar="NAME", **more)


def whole(name: str, help: str, **more: Any) -> Option:
    """An option that takes a whole number."""
    return option(name, help, type=NUMBERS["int"], metavar="N", **more)


def argument(name: str, help: str, **more: Any) -> Argument:
    """What stands by itself."""
    return Argument([name], help=help, **{"metavar": name.upper(), **more})


def setting(f: Field[Any], help: str = "", **more: Any) -> Setting:
    """The option of a setting, with its default."""
    name, choices = flagged(f.name), f.metadata["choices"]
    help = help or f.metadata["help"]
    default = {"default": f.default, "show_default": f.default != ""}
    if f.type == "bool":
        negative = "--no-" + name.removeprefix("--")
        meant = f"{help}; or {negative}"
        return Setting([f"{name}/{negative}"], help=meant, **{**default, **more})
    if choices:
        kind: Any = OneOf(choices)
        return Setting([name], help=f"{help}: {listed(choices)}", type=kind, metavar="NAME",
                       **{**default, **more})  # fmt: skip
    kind = NUMBERS.get(str(f.type))
    metavar = METAVARS.get(str(f.type), f.name.upper())
    return Setting([name], help=help, type=kind, metavar=metavar, **{**default, **more})


def flagged(name: str) -> str:
    """An option as it is typed."""
    return "--" + name.replace("_", "-")
