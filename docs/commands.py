"""python -m docs.commands writes commands.md, the page of the command line, from the commands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from minireptile.cli.arguments import program

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# The command line

What `minireptile COMMAND --help` says, on one page: written by `python -m docs.commands`.
"""


def page() -> str:
    """All commands, in the order of the help."""
    commands = program()
    parts = [HEAD, summaries(commands)]
    for command in commands.commands.values():
        parts += section(click.Context(command, info_name=f"minireptile {command.name}"))
    return "\n".join(parts)


def summaries(commands: click.Group) -> str:
    """A line for each command, under the title of its panel."""
    rows = ["| | |", "| --- | --- |"]
    panels: dict[str, list[str]] = {}
    for c in commands.commands.values():
        line = f"| [{c.name}](#minireptile-{c.name}) | {c.short_help} |"
        panels.setdefault(panel_of(c), []).append(line)
    for panel, lines in panels.items():
        rows += [f"| **{panel}** | |", *lines]
    return "\n".join([*rows, ""])


def section(ctx: click.Context) -> Iterator[str]:
    """A command: how it is called, what it does, its options by panels, examples."""
    command = ctx.command
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    yield f"## {ctx.command_path}\n\n```sh\n{usage}\n```\n\n{escaped(command.help or '')}\n"
    usual = command.context_settings["rich_help_config"].get("options_panel_title", "Options")
    panels: dict[str, list[str]] = {}
    for p in command.params:
        name, said = p.get_help_record(ctx) or ("", "")
        title = panel_of(p) or ("Arguments" if isinstance(p, click.Argument) else usual)
        panels.setdefault(title, []).append(f"| `{name}` | {escaped(said)} |")
    for title, rows in panels.items():
        yield "\n".join([f"| {title} | |", "| --- | --- |", *rows, ""])
    if command.epilog:
        yield "\n".join(["```sh", *str(command.epilog).splitlines()[1:], "```", ""])


def panel_of(part: Any) -> str:
    """The title under which a command or an option stands; click knows of none."""
    return part.panel or ""


def escaped(text: str) -> str:
    """A bar that ends no cell."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
