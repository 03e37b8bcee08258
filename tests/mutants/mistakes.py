"""Small mistakes in a source: in Python by its syntax tree, in CUDA by the look of its text.

Operators and comparisons, constants, indices, minima and maxima, and whole statements: barriers,
updates, assignments to an element, early exits. Not `strict=` of a `zip`: it is a test itself, for
mistakes of ours that make lengths differ, and there is none to find in what is right.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from .survivors import Mutant, joined

OPERATORS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "//"), ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.BitXor: ("^", "&"),
    ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"),
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip
OTHER = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}


class Mistake(NamedTuple):
    """Other text in a source, between two positions; `where` names the file and the function."""

    where: str
    start: int
    stop: int
    text: str

    def made(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.stop :]

    def seen(self, source: str) -> Mutant:
        """The lines that differ."""
        first = source.rfind("\n", 0, self.start) + 1
        last = source.find("\n", self.stop)
        last = len(source) if last < 0 else last
        old, new = source[first:last], self.made(source)
        new = new[first : last + len(new) - len(source)]
        return Mutant(self.where, joined([old]), joined([new]))


def mistakes(name: str, source: str) -> list[Mistake]:
    """Every mistake in a file, in the order of its lines, without those that change nothing."""
    found = _in_python(name, source) if name.endswith(".py") else _in_cuda(name, source)
    different = {m for m in found if source[m.start : m.stop] != m.text}
    return sorted(different, key=lambda m: (m.start, m.stop, m.text))


# ---------------------------------------------------------------------------------- Python


def _in_python(name: str, source: str) -> Iterator[Mistake]:
    lines = source.splitlines(keepends=True)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line))

    def at(row: int, column: int) -> int:  # the tree counts bytes
        return begins[row - 1] + len(lines[row - 1].encode()[:column].decode())

    def span(node: ast.AST) -> tuple[int, int]:
        row, column, last_row, last = (
            getattr(node, key) for key in ("lineno", "col_offset", "end_lineno", "end_col_offset")
        )
        return at(row, column), at(last_row, last)

    def between(where: str, one: ast.AST, two: ast.AST, operator: ast.AST) -> Iterator[Mistake]:
        old, new = OPERATORS.get(type(operator), ("", ""))
        start = source.find(old, span(one)[1], span(two)[0]) if old else -1
        if start >= 0:
            yield Mistake(where, start, start + len(old), new)

    def walk(node: ast.AST, where: str) -> Iterator[Mistake]:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for statement in node.body:
                yield from walk(statement, f"{name}:{node.name}")
            return
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.AnnAssign, ast.Raise)):
            return
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return
        yield from here(node, where)
        if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
            return  # to reshape, -2 is as good as -1
        for child in ast.iter_child_nodes(node):
            yield from walk(child, where)

    def here(node: ast.AST, where: str) -> Iterator[Mistake]:
        if isinstance(node, ast.BinOp):
            yield from between(where, node.left, node.right, node.op)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for (left, right), operator in zip(pairwise(sides), node.ops, strict=True):
                yield from between(where, left, right, operator)
        elif isinstance(node, ast.BoolOp):
            for left, right in pairwise(node.values):
                yield from between(where, left, right, node.op)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            start, _ = span(node)
            yield Mistake(where, start, start + 1, "")
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            value: Any = node.value
            other = not value if type(value) is bool else value + 1
            yield Mistake(where, *span(node), str(other))
        elif isinstance(node, ast.Subscript):
            yield from indices(node, where)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in OTHER:
                yield Mistake(where, *span(node.func), OTHER[node.func.id])
        elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or (
            isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)
        ):
            yield Mistake(where, *span(node), "pass")
        elif isinstance(node, ast.AugAssign):
            yield Mistake(where, *span(node), "pass")
            old, new = OPERATORS[type(node.op)]
            start = source.index(f"{old}=", span(node.target)[1])
            yield Mistake(where, start, start + len(old), new)
            yield Mistake(where, start, start + len(old), "")

    def indices(node: ast.Subscript, where: str) -> Iterator[Mistake]:
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for index in inside:
            if isinstance(index, ast.Name):
                yield Mistake(where, *span(index), f"{index.id} + 1")
        for one, two in pairwise(inside):
            (a, b), (c, d) = span(one), span(two)
            yield Mistake(where, a, d, source[c:d] + source[b:c] + source[a:b])

    for child in ast.parse(source).body:
        yield from walk(child, name)


# ------------------------------------------------------------------------------------ CUDA

# What a text of code becomes: a pattern and what stands in its place, with the match's groups.
TO = {
    "+": "-", "-": "+", "*": "/", "/": "*", "%": "/", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
    "==": "!=", "!=": "==", "&&": "||", "||": "&&", "x": "y", "y": "x",
}  # fmt: skip
DECLARED = r"(?:const|int|real|long|unsigned|typedef|static|struct|template|typename|auto|extern)\b"
RULES: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"(?<= )(?:[+\-*/%]|[<>]=?|[=!]=|&&|\|\|)(?=\s)", lambda m: TO[m[0]]),
    (r"[+\-*/]=(?= )", lambda m: TO[m[0][0]] + "="),
    (r"[+\-*/]=(?= )", lambda m: "="),
    (r"(?<![\w.\"])\d+(?![\w.])", lambda m: str(int(m[0]) + 1)),
    (r"(?<=[dk]Idx\.)[xy]", lambda m: TO[m[0]]),
    (r"(?<=\w\[)(?!\d+\])[^][]+(?=\])", lambda m: f"{m[0]} + 1"),
    (r"\[([^][]+)\]\[([^][]+)\]", lambda m: f"[{m[2]}][{m[1]}]"),
    (r"\b(?:min|max)(?=\()", lambda m: OTHER[m[0]]),
    (r"__sync(?:threads|warp)\(\);", lambda m: ""),
    (rf"(?m)(?<=^)( +)(?!{DECLARED}|for|if|return|else)\w[^;{{}}\n]*=[^;{{}}\n]*;", lambda m: ";"),
    (r"(?m)(?<=^)( +)if \([^;{}\n]*\) (?:return|continue);", lambda m: ";"),
]


def _in_cuda(name: str, source: str) -> Iterator[Mistake]:
    code = _masked(source)
    for pattern, replacement in RULES:
        for match in re.finditer(pattern, code):
            yield Mistake(name, *match.span(), replacement(match))


def _masked(source: str) -> str:
    """The source with blanks for comments, texts, the sizes of arrays, and lines that the compiler
    for the CPU does not see or that speak to the preprocessor."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    source = re.sub(r'//[^\n]*|"[^"\n]*"', blank, source)
    source = re.sub(r"(?m)^ *(?:__shared__|real|unsigned|typename) [^=;()]*\[[^;]*;", blank, source)
    lines, depth = source.split("\n"), 0
    for i, line in enumerate(lines):
        directive = line.lstrip().startswith("#")
        if directive and depth and "#if" in line:
            depth += 1
        elif directive and not depth and "!defined(CUDA_ON_CPU)" in line:
            depth = 1
        if directive or depth:
            lines[i] = " " * len(line)
        if depth and "#endif" in line:
            depth -= 1
    return "\n".join(lines)
