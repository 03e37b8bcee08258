"""The stub with its functions written: what `python -m learn solution` prints."""

from __future__ import annotations

import ast
import inspect
from textwrap import dedent

from .folder import STUBS
from .record import Exercise


def solved(exercise: Exercise) -> str:
    """The stub's text, each function of the solution in the place of its stub."""
    text = (STUBS / f"{exercise.name}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    functions = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
    for stub in reversed(functions):
        if stub.name in exercise.solution:
            source = dedent(inspect.getsource(exercise.solution[stub.name]))
            lines[stub.lineno - 1 : stub.end_lineno] = source.rstrip().splitlines()
    return "\n".join(lines)
