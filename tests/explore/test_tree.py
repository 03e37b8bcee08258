"""The family tree: what it says was measured here is what the results say."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from minireptile.explore.answer import compute
from minireptile.explore.figures.tree import METHODS

RESULTS = (Path(__file__).parents[2] / "bench" / "results" / "README.md").read_text()
SINE = {"Reptile": "reptile", "FOMAML": "fomaml", "MAML": "maml", "iMAML": "imaml"}


def measured(heading: str, row: str) -> list[list[float]]:
    """The accuracies in a row of a table of the results, each with half its interval."""
    section = RESULTS.split(f"## {heading}")[1].split("\n## ")[0]
    line = next(each for each in section.splitlines() if each.startswith(f"| {row}"))
    return [[float(a), float(b)] for a, b in re.findall(r"([\d.]+) ± ([\d.]+)", line)]


@pytest.mark.parametrize(
    ("data", "name", "heading", "row"),
    [
        ("omniglot", "reptile", "Omniglot, 5-way: the paper's 100,000", "1-shot, here"),
        ("omniglot", "maml", "MAML and FOMAML beside", "MAML, exact"),
        ("omniglot", "fomaml", "MAML and FOMAML beside", "FOMAML"),
        ("miniimagenet", "reptile", "Mini-ImageNet, 5-way", "1-shot, a twentieth"),
    ],
)
def test_measured_accuracies_are_those_of_the_results(
    data: str, name: str, heading: str, row: str
) -> None:
    assert METHODS[name][data][1] == measured(heading, row)[1]  # the second: transductive


def test_there_are_no_others() -> None:
    own = [(d, n) for n, m in METHODS.items() for d in ("omniglot", "miniimagenet") if m[d][1]]
    assert len(own) == 4


def test_published_accuracies_are_those_of_the_results() -> None:
    assert METHODS["reptile"]["omniglot"][0] == measured("Omniglot, 5-way", "1-shot, the paper")[1]
    [[_, _], reptile] = measured("Mini-ImageNet, 5-way", "1-shot, the paper")
    assert METHODS["reptile"]["miniimagenet"][0] == reptile
    line = next(each for each in RESULTS.splitlines() if each.startswith("| the paper: MAML"))
    names = ("maml", "fomaml", "reptile")
    published = ", ".join(f"{METHODS[n]['omniglot'][0][0]:.1f}" for n in names)
    assert published in line


def test_errors_on_sine_are_those_of_the_results() -> None:
    line = next(each for each in RESULTS.splitlines() if "1,000 unseen waves" in each)
    found = {name: float(v) for v, name in re.findall(r"([\d.]+) ± [\d.]+ from (\w+)'s", line)}
    assert found == {name: METHODS[key]["sine"] for name, key in SINE.items()}
    assert f"{METHODS['joint']['sine']} ± " in line


def test_every_button_of_the_tree_has_its_method() -> None:
    page = (files("minireptile.explore") / "page/sections/idea.html").read_text(encoding="utf-8")
    buttons = re.findall(r'data-item="(\w+)">([^<]+)<small>([^<]+)</small>', page)
    methods = compute("methods", {})
    assert {key for key, *_ in buttons} == methods.keys()
    for key, name, year in buttons:
        assert methods[key]["name"] == name
        assert str(methods[key]["year"] or "the baseline") == year
