"""Mutants by what they changed, and those that survivors.md knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SURVIVORS = Path(__file__).with_name("survivors.md")


class Mutant(NamedTuple):
    """A changed line: in which function or file, what stood there, what stands there now."""

    function: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"@@ {self.function} @@\n-{self.old}\n+{self.new}"


def joined(lines: Iterable[str]) -> str:
    """Lines as one, with single blanks."""
    return " ".join(" ".join(lines).split())


def known() -> set[Mutant]:
    """The diffs in survivors.md."""
    text = SURVIVORS.read_text(encoding="utf-8")
    entries = re.findall(r"^@@ (\S+) @@\n((?:[-+].*\n)+)", text, re.MULTILINE)
    return {
        Mutant(function, *(joined(re.findall(rf"^[{s}](.*)", diff, re.M)) for s in "-+"))
        for function, diff in entries
    }
