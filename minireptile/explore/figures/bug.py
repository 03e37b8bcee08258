"""Find the bug: a backward pass with one wrong line, and what the gradient kit says of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ...testing import Report
from ..answer import Figure, call, figure
from ..values import Check, count, maybe
from .puzzles import PUZZLES, SEED

WHICH: Check = count(0, len(PUZZLES) - 1)


@cache
def report(puzzle: int, wrong: bool) -> Report:
    """The kit's report, the same every time."""
    return PUZZLES[puzzle].verdict(wrong)


@call(puzzle=WHICH)
def listing(puzzle: int) -> dict[str, Any]:
    """The forward pass and the wrong backward pass, line by line; how much the kit finds, and in
    what."""
    p, found = PUZZLES[puzzle], report(puzzle, True).findings
    return {
        "shown": puzzle, "name": p.name, "of": len(PUZZLES),
        "forward": p.forward.strip(), "lines": p.listing,
        "findings": len(found), "blamed": sorted({f.gradient for f in found}),
    }  # fmt: skip


@call(puzzle=WHICH, picked=maybe(count(0, 20)))
def bug(puzzle: int, picked: int | None) -> dict[str, Any]:
    """Whether the line that was picked is the wrong one; if it is, what it should be, and why. With
    it, what the kit says of the listing as it is, and of the right one."""
    p = PUZZLES[puzzle]
    found: dict[str, Any] = {"puzzle": puzzle, "picked": picked, "hit": picked == p.line}
    if picked is not None:
        found |= {"verdict": str(report(puzzle, True))}
    if picked == p.line:
        found |= {"right": p.right, "why": p.why, "proof": str(report(puzzle, False))}
    return found


def code(state: Mapping[str, Any]) -> str:
    """The listing, and the call of the kit."""
    p = PUZZLES[state["puzzle"]]
    backward = "\n".join(p.listing)
    return f"""
import numpy as np
import minireptile as mr
import minireptile.testing


{p.forward.strip()}


{backward}


rng = np.random.default_rng({SEED})
inputs = [rng.standard_normal(shape) if isinstance(shape, tuple) else np.arange(4) % shape
          for shape in {p.shapes}]
try:
    mr.testing.check_gradients((forward, backward), *inputs, name={p.name!r})
    findings = 0
except mr.testing.GradientError as error:
    print(error)
    findings = len(error.report.findings)
"""


figure(
    Figure(
        "bug",
        ("listing", "bug"),
        {"puzzle": 0, "picked": None},
        code,
        {"findings": "findings"},
        {"tries": []},
    )
)
