"""The gradient kit finds hand-made mistakes, says where to look, and passes the right versions."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from minireptile.errors import InputError
from minireptile.testing import GradientError, IdentityError
from tests.mistakes import BY_SUBJECT, MISTAKES, Mistake

KIT_ERRORS = (GradientError, IdentityError, InputError)
by_name = pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)


@cache
def said(mistake: Mistake) -> str:
    """What the kit says to it."""
    with pytest.raises(KIT_ERRORS) as caught:
        mistake.make()
    return str(caught.value)


@by_name
def test_is_found_and_the_message_points_at_it(mistake: Mistake) -> None:
    assert re.search(mistake.points_at, said(mistake)), said(mistake)


@by_name
def test_the_right_version_passes_the_same_check(mistake: Mistake) -> None:
    mistake.right()


def test_there_are_many_of_every_subject() -> None:
    assert len(MISTAKES) >= 44
    assert min(map(len, BY_SUBJECT.values())) >= 5
    assert max(Counter(m.name for m in MISTAKES).values()) == 1


def test_the_readme_lists_them_all() -> None:
    readme = (Path(__file__).parents[1] / "mistakes" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if re.match(r"\| [a-z]", line)]
    assert rows == [f"| {m.name} | {m.shows} |" for m in MISTAKES]
    assert f"\n{len(MISTAKES)} wrong backward passes" in readme


def test_the_messages_quoted_in_the_readme_are_the_kits() -> None:
    """All but the numbers, whose last digits may differ from machine to machine."""

    def words(text: str) -> str:
        return re.sub(r"-?\d+\.\d+(e-?\d+)?", "0", text).strip()

    heard = [words(said(mistake)) for mistake in MISTAKES]
    readme = (Path(__file__).parents[1] / "mistakes" / "README.md").read_text(encoding="utf-8")
    quoted = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    assert len(quoted) >= 4
    for block in quoted:
        assert words(block) in heard, block
