"""What no handle and no slider does: cells that are gone through and written into, lines that are
picked, a walk that is played."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minireptile.explore.answer import compute, tables
from minireptile.explore.figures.puzzles import PUZZLES

from .conftest import Page

pytestmark = pytest.mark.browser
MINUS = "\N{MINUS SIGN}"  # as the page writes it
TAKES = {name: call.takes for name, call in tables()[0].items()}


def asked(page: Page, name: str, call: str) -> dict:
    """What the engine answers for the state that a figure is in."""
    page.settle(name)
    state = page.state(name)
    return compute(call, {n: state[n] for n in TAKES[call]})


def test_cells_of_a_convolution_are_gone_through_by_keys(page: Page) -> None:
    figure = page.figure("convolution")
    sums = figure.locator(".numbers")
    figure.locator("[data-of=dw] button").nth(4).focus()
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("ArrowDown")
    assert page.state("convolution")["picked"] == ["dw", 2, 2]
    found = asked(page, "convolution", "convolution")
    own = [term for term in found["terms"].tolist() if term[1] == 8]
    text = sums.text_content()
    assert text.count("·") == len(own) == figure.locator("[data-of=x] .lit").count()
    assert text.endswith(f"= {found['dw'][2, 2]:g}".replace("-", MINUS))
    products = re.findall(r"\(?(-?\d+)\)?·\(?(-?\d+)\)?", text.replace(MINUS, "-"))
    pairs = np.array([[int(v) for v in pair] for pair in products])
    assert pairs.prod(1).sum() == found["dw"][2, 2]
    assert figure.locator(".formula.lit").get_attribute("data-makes") == "dw"
    tags = [node.get_attribute("data-n") for node in figure.locator("[data-of=dy] .lit").all()]
    assert sorted(map(int, tags)) == list(range(1, len(own) + 1))


def test_cells_are_pointed_at_and_written_into(page: Page) -> None:
    figure = page.figure("convolution")
    cell = figure.locator("[data-of=w] button").nth(1)
    cell.click()
    for key, expected in (("7", 7), ("+", 8), ("-", 7), ("x", 7)):
        page.tab.keyboard.press(key)
        page.settle("convolution")
        assert page.state("convolution")["w"][0][1] == expected
    field = figure.locator("[data-value]")
    assert field.input_value() == "7"
    field.fill("-3")
    found = asked(page, "convolution", "convolution")
    assert page.state("convolution")["w"][0][1] == -3
    shown = [
        node.text_content().replace(MINUS, "-")
        for node in figure.locator("[data-of=y] button").all()
    ]
    assert list(map(float, shown)) == found["y"].ravel().tolist()
    figure.locator("[data-of=dx] button").nth(0).hover()
    assert figure.locator(".numbers").text_content().startswith("dx[0, 0] = ")
    assert page.state("convolution")["picked"] == ["w", 0, 1]  # as before
    figure.locator("figcaption").hover()
    assert figure.locator(".numbers").text_content().startswith(f"w[0, 1] = {MINUS}3 goes into")
    figure.locator("[data-reset]").click()
    page.settle("convolution")


def test_a_wrong_line_is_picked_and_judged(page: Page) -> None:
    figure = page.figure("bug")
    lines, says = figure.locator(".listing button"), figure.locator(".numbers")
    for n, (puzzle, first) in enumerate(zip(PUZZLES[:2], (True, False), strict=True)):
        line = puzzle.line
        if not first:
            lines.nth(line).click()  # the buttons leave out the first line: this is the next one
            says.filter(has_text="This line is right").wait_for()
        lines.nth(line - 1).focus()
        page.tab.keyboard.press("Enter")
        says.filter(has_text=puzzle.why).wait_for()
        found = asked(page, "bug", "bug")
        verdict = figure.locator(".verdict").text_content()
        expected = f"{found['verdict']}\n\nWith the right line:\n{found['proof']}"
        rounding = re.compile(r"\d\.\de-\d+")  # differs from one build of NumPy to another
        assert rounding.sub("", verdict) == rounding.sub("", expected)
        assert figure.locator(".fix").text_content().strip() == puzzle.right
        assert page.state("bug")["tries"][n] is first
        figure.locator("[data-next]").click()
        figure.locator("[data-title]", has_text=PUZZLES[n + 1].name).wait_for()
    assert figure.locator("[data-score]").text_content() == "Found at the first try: 1 of 2."


def test_a_walk_is_stepped_played_and_paused(page: Page) -> None:
    figure = page.figure("manifolds")
    figure.locator("[data-reset]").click()
    expected = asked(page, "manifolds", "manifolds")["walk"]
    walk = page.tab.evaluate("document.querySelector('#manifolds').figure.answers.manifolds.walk")
    np.testing.assert_allclose(walk, expected, atol=1e-9)  # another NumPy in the page
    for n in (1, 2):
        figure.locator("[data-step]").click()
        page.settle("manifolds")
        state = page.state("manifolds")
        assert (state["iteration"], state["theta"]) == (n, walk[n])  # bit for bit
    figure.locator("[data-play]").click()
    figure.locator(".numbers", has_text=re.compile(r"Iteration ([6-9]|\d\d)")).wait_for()
    figure.locator("[data-play]").click()
    page.settle("manifolds")
    paused = page.state("manifolds")
    page.tab.wait_for_timeout(400)
    assert page.state("manifolds") == paused
    figure.locator("[data-reset]").click()
    page.settle("manifolds")
    assert page.state("manifolds")["iteration"] == 0
