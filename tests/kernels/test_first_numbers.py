"""The examples by hand, with which the derivations begin, have the kernels' numbers.

The section "First numbers" of a page ends in a doctest that computes its example by the kernels.
What the formulas of the section say is compared here with what it computed: every side of every
equation that can be evaluated, down to the last digit that is printed.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .test_derivations import FENCE, INLINE, PAGES, PYTHON

TO_PYTHON = [
    (r"\\(?:left|right|[bB]igg?[lr]?)(?![a-z])|\\[,;!]", " "),
    (r"\\(?:mathit|mathrm|operatorname|text)\{([\w\\]+)\}", r"\1"),
    (r"\\_", "_"),
    ("'", "_"),
    (r"\\hat\{(\w+)\}", r"\1hat"),
    (r"\\cdot|\\times", "*"),
    (r"\\[td]?frac(\d)(\d)", r"(\1/\2)"),
    (r"\\(?:ln|log)(?![a-z])", "log"),
    (r"\\(exp|tanh|alpha|beta|gamma|theta|varphi|varepsilon)(?![a-z])", r"\1"),
    (r"varepsilon", "eps"),
    (r"\^\{\\top\}", ".T"),
    (r"\\sqrt\{([^{}]*)\}", r"((\1)**0.5)"),
    (r"\^\{([^{}]*)\}", r"**(\1)"),
    (r"\^(\w)", r"**\1"),
    (r"\\[td]?frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))"),
    (r"_\{?(\w+)\}?", r"_\1"),
]
LITERAL = re.compile(r"[-\d. ]*|array\([-\d., \[\]]*\)")
FUNCTIONS = {"array": np.array, "exp": np.exp, "log": np.log, "tanh": np.tanh, "e": np.e, "i": 1j}


def section(page: Path) -> str:
    """The section "First numbers" of a page."""
    found = re.search(r"^## First numbers\n(.*?)^## ", page.read_text("utf-8"), re.M | re.S)
    assert found, f"{page.name} does not begin with numbers by hand"
    return found[1]


@cache
def computed(page: Path) -> dict[str, Any]:
    """The variables of the section's doctest, the task axis and other axes of length 1 left out."""
    variables: dict[str, Any] = {}
    for fence in PYTHON.findall(section(page)):
        lines = [line[4:] for line in fence.splitlines() if line.startswith((">>> ", "... "))]
        exec("\n".join(lines), variables)
    numeric = (int, float, complex, np.ndarray, np.number)
    return {
        name: np.squeeze(value) if isinstance(value, np.ndarray) else value
        for name, value in variables.items()
        if isinstance(value, numeric)
    }


def matrix(tex: re.Match[str]) -> str:
    """A matrix of numbers as Python; an empty cell is 0."""
    rows = [[cell.strip() or "0" for cell in row.split("&")] for row in tex[1].split(r"\\")]
    return "array([[" + "],[".join(",".join(row) for row in rows) + "]])"


def table(tex: re.Match[str]) -> str:
    """The lines of a table, a name and its numbers, as equations; words in front are left out."""
    rows = re.sub(r"\\text\{[^}]*\}\s*&|\\hline", "", tex[1]).split(r"\\")
    pairs = [row.strip().split("&", 1) for row in rows if re.search(r"&[-\d.&\s]+$", row)]
    return "".join(
        rf"\quad {name} = \begin{{pmatrix}}{cells}\end{{pmatrix}}" for name, cells in pairs
    )


def equations(page: Path) -> list[list[str]]:
    """The sides of each equation in a section, as Python."""
    found = []
    text = PYTHON.sub("", section(page))
    for tex in FENCE.findall(text) + INLINE.findall(FENCE.sub("", text)):
        tex = re.sub(r"\\begin\{array\}\{[lrc|]*\}(.*?)\\end\{array\}", table, tex, flags=re.S)
        python = re.sub(r"\\begin\{pmatrix\}(.*?)\\end\{pmatrix\}", matrix, tex, flags=re.S)
        for pattern, by in TO_PYTHON:
            python = re.sub(pattern, by, python)
        python = re.sub(r"\\\\\s*&\s*=", "=", python)
        for equation in re.split(r"\\\\|\\q?quad|\\(?:begin|end)\{\w+\}", python):
            sides = re.split(r"=|\\approx", equation)
            if len(sides) > 1:
                found.append([" ".join(side.split()).strip(" &,.;") for side in sides])
    return found


def value(side: str, variables: dict[str, Any]) -> Any:
    """What a side says, or None: in words, or by names that the doctest does not have."""
    for operator in "@*":  # what two factors side by side mean
        python = re.sub(r"(?<=[\w)\]])\s+(?=[\w(])", operator, side)
        try:
            return np.ravel(eval(python, {**FUNCTIONS, **variables}))
        except (SyntaxError, NameError, TypeError, ValueError, AttributeError, IndexError):
            continue
    return None


def rounding(side: str) -> float:
    """The most by which the decimals of a side may be off. A factor or a term with less than four
    decimals is exact; the roundings of others may all add up."""
    decimals = [len(digits) for digits in re.findall(r"\d\.(\d+)", side)]
    if LITERAL.fullmatch(side):
        return max((0.5 * 10.0**-n for n in decimals), default=0) + 1e-12
    return sum(0.5 * 10.0**-n for n in decimals if n >= 4) + 1e-12


def wrong(sides: list[str], variables: dict[str, Any]) -> str:
    """What is wrong with an equation; "" if nothing is."""
    values = [(side, value(side, variables)) for side in sides]
    known = [(side, number) for side, number in values if number is not None]
    for side, number in values:
        if number is None and re.search(r"(?<!\w)\d", side) and "\\" not in side:
            return f"this cannot be computed: {side}"
    if len(known) < 2 and any(LITERAL.fullmatch(side) for side, _ in known):
        return f"nothing holds {' = '.join(sides)}"
    for (a, x), (b, y) in combinations(known, 2):
        alike = x.size == y.size or 1 in (x.size, y.size)
        if not alike or not np.all(np.abs(x - y) <= rounding(a) + rounding(b)):
            return f"{a} = {x}, but {b} = {y}"
    return ""


def misprints(sides: list[str]) -> list[list[str]]:
    """An equation with one digit of a result changed up or down, for each of them."""
    found = []
    for i, side in enumerate(sides):
        for at in re.finditer(r"\d", side) if LITERAL.fullmatch(side) else ():
            for up in (1, 9):
                digit = str((int(at[0]) + up) % 10)
                changed = side[: at.start()] + digit + side[at.end() :]
                found.append([*sides[:i], changed, *sides[i + 1 :]])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_numbers_by_hand_are_the_kernels(page: Path) -> None:
    found = equations(page)
    assert any(LITERAL.fullmatch(side) for sides in found for side in sides)
    assert [what for sides in found if (what := wrong(sides, computed(page)))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_wrong_digit_is_seen(page: Path) -> None:
    for sides in equations(page):
        for misprint in misprints(sides):
            assert wrong(misprint, computed(page)), " = ".join(misprint)
