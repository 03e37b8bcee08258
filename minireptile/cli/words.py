"""What the words of a command line may be, and the sentence where one is not: what was meant?"""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import rich_click as click

from ..errors import InputError


def suggestion(word: str, names: Collection[str]) -> str:
    """Which of the names may have been meant, ": did you mean NAME?"; "" where none is like it."""
    beginning = [name for name in names if word.strip("-") and name.startswith(word)]
    meant = beginning[:3] or get_close_matches(word, names, n=1)
    return f": did you mean {listed(meant)}?" if meant else ""


def no_such(what: str, word: str, names: Collection[str]) -> str:
    """The sentence for a name that there is not."""
    meant = suggestion(word, names) or f": choose one of {', '.join(names)}"
    return f"there is no {what} {word!r}{meant}"


def twice(words: Sequence[str]) -> str:
    """The first option that is there twice; "" if each is there once."""
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    return next((o for i, o in enumerate(options) if o in options[:i]), "")


def sentence(error: click.UsageError) -> str:
    """What a person typed wrong, in one line, and where to look."""
    command, look = "minireptile", ""
    if error.ctx:
        command, look = error.ctx.info_name or "", f"; see {error.ctx.command_path} --help"
    if isinstance(error, click.NoSuchOption) and error.ctx:
        parameters = error.ctx.command.get_params(error.ctx)
        names = [name for p in parameters for name in (*p.opts, *p.secondary_opts)]
        long = [name for name in names if name.startswith("--")]
        return f"{command} has no option {error.option_name}" + (
            suggestion(error.option_name, long) or look
        )
    if isinstance(error, click.MissingParameter) and error.param:
        kind = error.param.type
        names = [f", one of {', '.join(kind.choices)}"] if isinstance(kind, OneOf) else []
        return "".join([f"{command} needs {_name(error.param)}", *names, look])
    said = error.format_message().strip().rstrip(".")
    return f"{said[:1].lower()}{said[1:]}{look}"


def _name(parameter: click.Parameter | None) -> str:
    """A parameter as it is typed; an argument in capitals."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name if parameter else "the value"


class OneOf(click.Choice):
    """One of some names, and what they are names of."""

    def __init__(self, names: Sequence[str], what: str = "") -> None:
        super().__init__(names)
        self.what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.choices:
            return str(value)
        if self.what:
            raise InputError(no_such(self.what, value, self.choices))
        raise InputError(
            f"{_name(param)} must be one of {', '.join(self.choices)}, not {value!r}"
            + suggestion(value, self.choices)
        )


class Number(click.ParamType):
    """A number of a type."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind, self.name = kind, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind(value)
        except ValueError:
            raise InputError(f"{_name(param)} must be {self.name}, not {value!r}") from None


class Several(click.ParamType):
    """A value, or a list of them, separated by commas; a comma at the end makes a list of one."""

    def __init__(self, kind: click.ParamType) -> None:
        self.kind, self.name = kind, kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or "," not in value:
            return self.kind.convert(value, param, ctx)
        words = value.removesuffix(",").split(",")
        return [self.kind.convert(word.strip(), param, ctx) for word in words]

    def shell_complete(self, *arguments: Any) -> Any:
        return self.kind.shell_complete(*arguments)


NUMBERS = {"int": Number(int, "a whole number"), "float": Number(float, "a number")}


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b or c."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
