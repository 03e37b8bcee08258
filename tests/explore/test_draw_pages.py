"""The drawing tool and the quiz in Chromium: a hand, a finger, keys and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireptile.explore.answer import compute

from .conftest import Page

pytestmark = pytest.mark.browser
DRAW = ("support", "query", "theta", "steps", "rate", "transductive")


@pytest.fixture
def page(browser: Any, local: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, has_touch=True)
    page = Page(context.new_page(), local, "local")
    page.tab.goto(local)
    page.figure("draw")
    yield page
    context.close()
    assert page.said == []


def stroke(page: Page, cell: int, *points: tuple[float, float]) -> None:
    """Draw in a cell by mouse, through points in percent of it."""
    pad = page.tab.locator("#draw .pad").nth(cell)
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    ends = [(box["x"] + x * box["width"] / 100, box["y"] + y * box["height"] / 100)
            for x, y in points]  # fmt: skip
    page.tab.mouse.move(*ends[0])
    page.tab.mouse.down()
    for end in ends[1:]:
        page.tab.mouse.move(*end, steps=6)
    page.tab.mouse.up()
    page.settle("draw")


def points(text: str) -> list[tuple[int, int]]:
    """The corners of a stroke."""
    return [(int(p[:2]), int(p[2:])) for p in re.findall("....", text)]


def test_strokes_become_a_task_and_an_answer(page: Page) -> None:
    figure = page.figure("draw")
    figure.locator("[data-clear]").click()
    page.settle("draw")
    assert page.state("draw")["support"] == [""] * 5
    assert "Draw" in figure.locator(".numbers").inner_text()
    stroke(page, 0, (20, 20), (80, 20), (80, 80))
    stroke(page, 1, (20, 80), (50, 20), (80, 80))
    stroke(page, 1, (35, 55), (65, 55))
    stroke(page, 5, (22, 25), (75, 25), (75, 78))
    state = page.state("draw")
    corner, roof = state["support"][0], state["support"][1].split("-")
    assert len(roof) == 2  # the second stroke came to the first
    for kept, drawn in zip(points(corner), [(20, 20), (80, 20), (80, 80)], strict=True):
        assert np.allclose(kept, drawn, atol=2)  # simplified to its corners
    found = compute("draw", {name: state[name] for name in DRAW})
    assert found["classes"] == [0, 1]
    said = figure.locator(".numbers").inner_text()
    assert said.startswith(f"It is {'AB'[found['last'][0].argmax()]}")
    assert f"{found['last'].max():.4f}" in said
    assert page.tab.locator("#draw .cell.best").count() == 1


def test_the_first_stroke_in_a_cell_that_was_filled_starts_it_anew(page: Page) -> None:
    before = page.state("draw")["support"][2]
    stroke(page, 2, (10, 50), (90, 50))
    after = page.state("draw")["support"][2]
    assert len(before.split("-")) > 1
    assert len(points(after)) == 2
    assert page.state("draw")["truth"] == []  # it is another task now
    stroke(page, 2, (50, 10), (50, 90))
    assert page.state("draw")["support"][2].startswith(after + "-")


def test_a_finger_draws_a_dot(page: Page) -> None:
    box = page.tab.locator("#draw .pad").nth(1).bounding_box()
    page.tab.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.settle("draw")
    assert points(page.state("draw")["support"][1]) in ([(49, 49)], [(49, 50)], [(50, 50)])


def test_keys_draw_letters_take_back_and_clear(page: Page) -> None:
    pad = page.tab.locator("#draw .pad").nth(3)
    pad.focus()
    page.tab.keyboard.press("x")
    page.tab.locator("#draw .pad[aria-label^='class D, 2 strokes']").wait_for()
    page.settle("draw")
    one = page.state("draw")["support"][3]
    page.tab.keyboard.press("Backspace")
    page.settle("draw")
    assert page.state("draw")["support"][3] == one.split("-")[0]
    page.tab.keyboard.press("Delete")
    page.settle("draw")
    assert page.state("draw")["support"][3] == ""
    assert (pad.get_attribute("aria-label") or "").startswith("class D, no strokes")


def test_a_picture_is_taken_and_another_file_is_told_of(page: Page, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    grey = np.zeros((300, 400), np.uint8)
    grey[50:250, 180:200] = grey[140:160, 90:300] = 230
    image.fromarray(grey).save(tmp_path / "cross.png")
    (tmp_path / "words.png").write_text("no picture")
    choose = page.tab.locator("#draw .cell").nth(4).locator("button").nth(1)
    problem = page.tab.locator("#draw .problem")
    with page.tab.expect_file_chooser() as chooser:
        choose.click()
    chooser.value.set_files(tmp_path / "words.png")
    page.tab.locator("#draw .problem", has_text="no picture").wait_for()
    with page.tab.expect_file_chooser() as chooser:
        choose.click()
    chooser.value.set_files(tmp_path / "cross.png")
    page.tab.locator("#draw .pad[aria-label^='class E, a picture']").wait_for()
    page.settle("draw")
    assert problem.text_content() == ""
    assert page.state("draw")["support"][4].startswith("p")


def test_classes_and_queries_come_and_go_and_a_task_fills_them(page: Page) -> None:
    figure = page.figure("draw")
    figure.locator("[data-size=support]").fill("7")
    figure.locator("[data-size=query]").fill("3")
    page.settle("draw")
    assert page.tab.locator("#draw .pad").count() == 10
    before = page.state("draw")["support"]
    assert before[5:] == ["", ""]
    figure.locator("[data-deal]").click()
    page.tab.locator("#draw .word", has_text=re.compile("✓|✗")).nth(3).wait_for()
    page.settle("draw")
    state = page.state("draw")
    assert all(state["support"])
    assert all(state["query"])
    assert len(set(state["truth"])) == 3
    figure.locator("[data-size=support]").fill("3")
    figure.locator("[data-size=query]").fill("1")
    page.settle("draw")
    assert page.state("draw")["support"] == state["support"][:3]
    assert page.tab.locator("#draw .pad").count() == 4


def test_the_quiz_keeps_score_beside_reptiles(page: Page) -> None:
    figure = page.figure("guess")
    mine = its = 0
    for played in (1, 2):
        state = page.state("guess")
        asked = compute("guess", {"way": 5, "seed": state["seed"]})
        mine += asked["truth"] == 0
        its += int(asked["probabilities"].argmax()) == asked["truth"]
        figure.locator(".glyph").first.click()
        figure.locator(".glyph").nth(1).click(force=True)  # one guess a task
        page.settle("guess")
        said = figure.locator(".numbers").inner_text()
        assert said.endswith(f"5-way: you {mine}, Reptile {its} of {played}.")
        right = figure.locator(".glyph.right")
        assert right.count() == 1
        assert "✓" in right.inner_text()
        figure.locator("[data-next]").click()
        page.settle("guess")
        assert page.state("guess")["seed"] == state["seed"] + 1
    figure.locator("select").select_option("20")
    page.settle("guess")
    assert figure.locator(".glyph").count() == 20
    assert figure.locator(".numbers").inner_text() == "20-way: you 0, Reptile 0 of 0."
