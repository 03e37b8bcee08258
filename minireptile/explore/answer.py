"""A question in, an answer out: each one JSON text, whoever carries it.

A *call* is a function that computes, and the checks of what it takes. A *figure* is what a page
shows: the calls behind it, the state that it begins with, and the same computation as a few lines
of Python that a reader can paste. Both are kept in tables by name; one figure more is a record in
a module of `figures/`, and a page of JavaScript that draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..checks import shown
from ..errors import InputError
from .values import Check, pack, several

LONGEST = 1 << 20  # characters of a question
MODULES = (  # of figures/, in reading order
    "draw",
    "guess",
    "tree",
    "waves",
    "training",
    "meta_loss",
    "curvature",
    "reptile_step",
    "one_step",
    "near_theta",
    "comparison",
    "taylor",
    "manifolds",
    "convolution",
    "bug",
)

Answer = dict[str, Any]


class Call(NamedTuple):
    """A function that computes an answer, and the checks of its arguments by name."""

    compute: Callable[..., Answer]
    takes: Mapping[str, Check]


@dataclass(frozen=True)
class Figure:
    """What stands behind a figure of the page.

    Attributes
    ----------
    name : str
        Of the element in the page, the file in page/figures, and the prefix in the URL.
    calls : tuple of str
        Each is asked with the entries of the state that it takes.
    first : mapping
        The state that the figure begins with.
    code : str or function
        Python that computes what the figure shows, with {name} where an entry of the state stands;
        or a function that writes it for a state.
    gives : mapping
        For entries of the answers, the name that the code gives them: "next": "theta". A test runs
        the code and compares.
    own : mapping
        Entries of the state that no call takes, with what they begin with: a speed, a view.
    """

    name: str
    calls: tuple[str, ...]
    first: Mapping[str, Any]
    code: str | Callable[[Mapping[str, Any]], str] = ""
    gives: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)


CALLS: dict[str, Call] = {}
FIGURES: dict[str, Figure] = {}


def call(**takes: Check) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Enter a function into the table of what can be asked."""

    def enter(compute: Callable[..., Answer]) -> Callable[..., Answer]:
        CALLS[compute.__name__] = Call(compute, takes)
        return compute

    return enter


def figure(record: Figure) -> Figure:
    """Enter a figure into the table."""
    FIGURES[record.name] = record
    return record


def tables() -> tuple[dict[str, Call], dict[str, Figure]]:
    """All calls and figures."""
    for module in MODULES:
        import_module(f".figures.{module}", __package__)
    return CALLS, FIGURES


def answer(text: str) -> str:
    """Answer a question; whatever the text holds, the answer is one of the two forms."""
    try:
        name, arguments = parse(text)
        with np.errstate(all="ignore"):  # a sum that overflows is drawn as what it is
            return json.dumps({"ok": compute(name, arguments)}, default=pack, allow_nan=False)
    except InputError as error:
        sentence = str(error)
    except Exception as error:  # a mistake of ours must not end the reading
        sentence = f"the engine failed on this question: {type(error).__name__}: {error}"
    return json.dumps({"error": sentence})


def compute(name: str, arguments: Mapping[str, Any]) -> Answer:
    """The answer to a call, its arguments checked."""
    calls, figures = tables()
    if name == "figures":
        check(arguments, {}, name)
        return begin(figures)
    if name == "code":
        return code(figures, arguments)
    if name not in calls:
        raise InputError(f"there is no call {shown(name)}: reload the page")
    found = calls[name]
    return found.compute(**check(arguments, found.takes, name))


def begin(figures: Mapping[str, Figure]) -> Answer:
    """What a page has to know of each figure before it draws: its first state, and what each of
    its calls takes."""
    return {
        f.name: {
            "state": {**f.own, **f.first},
            "calls": {name: list(CALLS[name].takes) for name in f.calls},
            "code": bool(f.code),
        }
        for f in figures.values()
    }


def code(figures: Mapping[str, Figure], arguments: Mapping[str, Any]) -> Answer:
    """The lines behind a figure, for the state that it is in."""
    name = arguments.get("figure")
    if not isinstance(name, str) or name not in figures:
        raise InputError(f"there is no figure {shown(name)}: reload the page")
    f = figures[name]
    takes = {n: c for each in f.calls for n, c in CALLS[each].takes.items()}
    state = check({n: a for n, a in arguments.items() if n != "figure"}, takes, f"code of {name}")
    return {"code": written(f, state)}


def written(f: Figure, state: Mapping[str, Any]) -> str:
    """The lines behind a figure."""
    words = {name: repr(value) for name, value in state.items()}
    text = f.code.format_map(words) if isinstance(f.code, str) else f.code(state)
    return text.strip() + "\n"


def check(arguments: Mapping[str, Any], takes: Mapping[str, Check], what: str) -> dict[str, Any]:
    """The arguments of a call, each through its check; none missing, none unknown."""
    if unknown := arguments.keys() - takes.keys():
        raise InputError(f"{what} takes no {several([*unknown])}")
    if missing := takes.keys() - arguments.keys():
        raise InputError(f"{what} needs {several([*missing])}")
    return {name: takes[name](arguments[name], f"{what}: {name}") for name in takes}


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name of a call and its arguments."""
    if len(text) > LONGEST:
        raise InputError(f"a question may have {LONGEST:,} characters, and this has {len(text):,}")
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"a question must be JSON, and this is not: {shown(str(error))}") from None
    match found:
        case [str(name), dict(arguments)]:
            return name, arguments
    raise InputError(f'a question must be ["name", {{arguments}}], not {shown(found)}')


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def first_answers() -> dict[str, Any]:
    """For a page without an engine yet: what `figures` says, and each figure's first answers."""
    calls, figures = tables()
    recorded = [
        [name, arguments, compute(name, arguments)]
        for f in figures.values()
        for name in f.calls
        for arguments in [{n: f.first[n] for n in calls[name].takes}]
    ]
    return {"figures": begin(figures), "answers": recorded}
