"""The stub with its functions written: what `python -m learn solution` prints."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from textwrap import dedent

from .folder import STUBS
from .record import Exercise


def solved(exercise: Exercise) -> str:
    """The stub's text, with the body of each function of the solution in the place of its own."""
    text = (STUBS / f"{exercise.name}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    for stub in reversed(ast.parse(text).body):
        if isinstance(stub, ast.FunctionDef) and stub.name in exercise.solution:
            body = _body(exercise.solution[stub.name])
            lines[stub.body[0].lineno - 1 : stub.end_lineno] = body
    return "\n".join(lines)


def _body(function: Callable) -> list[str]:
    """The lines of a function behind its head."""
    source = dedent(inspect.getsource(function))
    (parsed,) = ast.parse(source).body
    assert isinstance(parsed, ast.FunctionDef)
    return source.rstrip().splitlines()[parsed.body[0].lineno - 1 :]
