"""Completion in the shell, by click: the script, and the words that it asks for."""

from pathlib import Path

import rich_click as click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from ..runs.folder import CHECKPOINT

VARIABLE = "_MINIREPTILE_COMPLETE"  # what the script sets
INSTALL = {
    "bash": "echo 'eval \"$(minireptile completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(minireptile completion zsh)\"' >> ~/.zshrc",
    "fish": "minireptile completion fish > ~/.config/fish/completions/minireptile.fish",
}


def script(shell: str, commands: click.Group) -> str:
    """What a shell has to run once."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    return kind(commands, {}, "minireptile", VARIABLE).source()


def answer(commands: click.Group, instruction: str) -> int:
    """Print what may come next, for the script; returns the exit code."""
    return shell_complete(commands, {}, "minireptile", VARIABLE, instruction)


def runs(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Folders of runs in runs/ that begin so, or any folder."""
    found = sorted(str(path.parent) for path in Path("runs").glob(f"*/{CHECKPOINT}"))
    fit = [CompletionItem(folder) for folder in found if folder.startswith(begun)]
    return fit or [CompletionItem(begun, type="dir")]
