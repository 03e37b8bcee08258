"""The two figures of sine waves in Chromium: points by hand, training, and theta carried along."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Page

pytestmark = pytest.mark.browser


def opened(browser: Any, address: str, **look: Any) -> Page:
    """Both figures in a window of their own."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **look})
    page = Page(context.new_page(), address, "local")
    page.tab.goto(address)
    for name in ("waves", "training"):
        page.figure(name)
    return page


@pytest.fixture
def page(browser: Any, local: str) -> Iterator[Page]:
    page = opened(browser, local, viewport={"width": 1280, "height": 2600})
    yield page
    page.tab.context.close()
    assert page.said == []


def until(page: Page, iteration: int) -> None:
    """Wait for the training to be there."""
    page.tab.locator("#training .numbers", has_text=f"Iteration {iteration} of").wait_for()
    page.settle("training")


def test_points_come_by_click_and_go_by_key(page: Page) -> None:
    figure = page.figure("waves")
    points = page.state("waves")["points"]
    figure.locator(".plot svg").first.click(position={"x": 250, "y": 60})
    page.settle("waves")
    more = page.state("waves")["points"]
    assert more[:-1] == points
    assert -5 <= more[-1] <= 5
    figure.locator(".hand.point").last.focus()
    page.tab.keyboard.press("Delete")
    page.settle("waves")
    assert page.state("waves")["points"] == points
    for _ in range(12):
        figure.locator("[data-add]").click()
    assert len(page.state("waves")["points"]) == 10
    figure.locator("[data-clear]").click()
    page.settle("waves")
    assert page.state("waves")["points"] == []
    assert "No points" in figure.locator(".numbers").inner_text()
    figure.locator("[data-deal]").click()
    figure.locator(".hand.point").nth(4).wait_for()
    assert page.state("waves")["deal"] == 1


def test_a_handle_under_another_one_is_taken_where_it_is_nearer(page: Page) -> None:
    page.tab.evaluate("document.getElementById('waves').figure.change({points: [0, 0.25]})")
    page.settle("waves")
    box = page.tab.locator("#waves .hand.point .knob").first.bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.tab.mouse.down()
    page.tab.mouse.move(box["x"] - 60, box["y"])
    page.tab.mouse.up()
    first, second = page.state("waves")["points"]
    assert first < -1
    assert second == 0.25


def test_training_plays_pauses_and_steps(page: Page) -> None:
    figure = page.figure("training")
    play = figure.locator("[data-play]")
    play.click()
    assert play.inner_text() == "Pause"
    page.tab.locator("#training .numbers", has_text=re.compile("Iteration [1-9]")).wait_for()
    play.click()
    assert play.inner_text() == "Play"
    page.settle("training")
    there = page.state("training")["iteration"]
    assert there > 0
    figure.locator("[data-step]").click()
    until(page, there + 5)
    page.tab.wait_for_timeout(300)
    assert page.state("training")["iteration"] == there + 5
    figure.locator("[value=maml]").click()
    until(page, 0)
    figure.locator("[data-step]").click()
    until(page, 5)
    assert page.state("training")["algorithm"] == "maml"
    assert figure.locator("text.mark", has_text="reptile").count() == 1  # to compare with


def test_theta_is_carried_into_the_other_figure_and_comes_back_with_the_address(
    page: Page, browser: Any
) -> None:
    figure, waves = page.figure("training"), page.tab.locator("#waves .numbers")
    figure.locator("[data-step]").click()
    until(page, 5)
    figure.locator(".token").focus()
    page.tab.keyboard.press("Enter")
    waves.filter(has_text="(Reptile, 5 iterations)").wait_for()
    figure.locator("[data-step]").click()
    until(page, 10)
    start = figure.locator(".token").bounding_box()
    x, y = start["x"] + 25, start["y"] + 25
    page.tab.mouse.move(x, y)
    page.tab.mouse.down()
    page.tab.mouse.move(x + 300, y + 20)  # dropped nowhere
    page.tab.mouse.up()
    page.tab.wait_for_timeout(100)
    assert page.state("waves")["recipe"] == ["reptile", 0, 5]
    target = page.tab.locator("#waves .plot").first.bounding_box()
    page.tab.mouse.move(x, y)
    page.tab.mouse.down()
    page.tab.mouse.move(target["x"] + 100, target["y"] + 100, steps=4)
    page.tab.locator("#waves.awaits").wait_for()
    page.tab.mouse.up()
    waves.filter(has_text="(Reptile, 10 iterations)").wait_for()
    page.settle("waves")
    said = waves.inner_text()
    page.tab.wait_for_timeout(400)
    other = Page(page.tab.context.new_page(), page.address, "local")
    other.tab.goto(page.address)
    other.tab.goto(page.tab.url)
    other.tab.locator("#waves").scroll_into_view_if_needed()
    other.tab.locator("#waves .numbers", has_text="10 iterations").wait_for()
    other.settle("waves")
    assert other.tab.locator("#waves .numbers").inner_text() == said
    other.figure("training")
    until(other, 10)


def test_who_wants_no_motion_steps(browser: Any, local: str) -> None:
    page = opened(browser, local, reduced_motion="reduce")
    figure = page.figure("training")
    assert not figure.locator("[data-play]").is_visible()
    figure.locator("[data-step]").click()
    until(page, 5)
    page.tab.context.close()
