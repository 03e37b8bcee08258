"""Find the bug: each listing is wrong in one line, and the kit finds it and says why."""

from __future__ import annotations

import json
import re

import pytest

from minireptile.errors import InputError
from minireptile.explore.answer import answer, compute
from minireptile.explore.figures.puzzles import PUZZLES, Puzzle

# What the kit's verdict must say of each, as near to the cause as it gets.
CAUSES = {
    "dense": "ratio 0.25 everywhere: 1/4, .*a mean where a sum belongs",
    "hidden layer": "never by dy's own sign or size",
    "softmax cross-entropy": "ratio 0.333333 everywhere: 1/3",
    "batch norm": "the path through a variance is missing or wrong",
    "convolution": "it would be right if w were flipped along axis 0, 1",
    "shortcut": "the error is the upstream gradient itself, which is missing",
    "tanh": "transposed: axes 0 and 1 are exchanged",
    "layer norm": "such as the path through a mean",
    "ReLU": "backward changes its input the upstream gradient",
    "max pooling": "12 of 24 entries are 0 and should not be",
}
every = pytest.mark.parametrize("n", range(len(PUZZLES)), ids=[p.name for p in PUZZLES])


@every
def test_one_line_alone_is_wrong(n: int) -> None:
    p = PUZZLES[n]
    right = p.backward.strip().splitlines()
    assert len(p.listing) == len(right)
    assert [
        i for i, pair in enumerate(zip(p.listing, right, strict=True)) if pair[0] != pair[1]
    ] == [p.line]
    assert right[p.line].strip() == p.right
    assert p.listing[p.line].strip() == p.wrong
    assert sum(line.strip() == p.wrong for line in p.listing) == 1
    assert 5 <= len(p.listing) <= 10
    assert p.line > 0  # the line with def cannot be picked


@every
def test_the_kit_finds_it_names_its_cause_and_passes_the_right_one(n: int) -> None:
    p = PUZZLES[n]
    found = compute("bug", {"puzzle": n, "picked": p.line})
    assert found["hit"]
    assert re.search(CAUSES[p.name], found["verdict"])
    assert found["right"] == p.right
    assert f"{p.name}: gradients are right by the complex step" in found["proof"]
    assert "wrong" not in found["proof"]
    assert found["why"].endswith(".")


@every
def test_nothing_is_given_away_before(n: int) -> None:
    p = PUZZLES[n]
    seen = compute("listing", {"puzzle": n})
    assert seen["lines"] == p.listing
    assert p.right not in "\n".join(seen["lines"])
    assert seen["findings"] == len(p.verdict(True).findings) > 0
    assert any(seen["blamed"])
    assert compute("bug", {"puzzle": n, "picked": None}).keys() == {"puzzle", "picked", "hit"}
    for line in set(range(21)) - {p.line}:
        other = compute("bug", {"puzzle": n, "picked": line})
        assert not other["hit"]
        assert not {"right", "why", "proof"} & other.keys()


def test_what_is_executed_is_what_is_shown() -> None:
    """A listing made worse is judged as it stands, not as a table says."""
    p = Puzzle(
        "cube", "def forward(x):\n    return x**3",
        "def backward(dy, x):\n    return 3 * dy * x**2",
        "return 3 * dy * x**2", "return 2 * dy * x**2", "A factor.", ((4,),),
    )  # fmt: skip
    assert "ratio 0.666667 everywhere" in str(p.verdict(True))
    assert p.verdict(False).passed


@pytest.mark.parametrize("wrong", [{"puzzle": 10}, {"puzzle": "import os"}, {"picked": 21}])
def test_a_wrong_argument_is_a_sentence(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"bug: {next(iter(wrong))}"):
        compute("bug", {"puzzle": 0, "picked": 1, **wrong})
    said = json.loads(answer(json.dumps(["bug", {"puzzle": 0, "picked": 1, **wrong}])))
    assert "engine failed" not in said["error"]
