"""Every figure in Chromium, with Python on this machine and with Python in the page: it draws,
follows hand and key, and shows the engine's numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from minireptile.explore.answer import compute, tables

from .conftest import WAYS, Page

pytestmark = pytest.mark.browser
CALLS, FIGURES = tables()
# Arrays as lists, with their shape; and everything else as it is.
ANSWERS = """name => JSON.parse(JSON.stringify(document.getElementById(name).figure.answers,
  (_, v) => ArrayBuffer.isView(v) ? {shape: v.shape, values: [...v].map(String)} : v))"""
SENT = """name => JSON.parse(JSON.stringify(document.getElementById(name).figure.state,
  (_, v) => ArrayBuffer.isView(v) ? v.packed : v))"""


def plain(value: Any) -> Any:
    """An answer of the page as the engine gives it."""
    if isinstance(value, dict) and value.keys() == {"shape", "values"}:
        return np.array([float(v.replace("Infinity", "inf")) for v in value["values"]]).reshape(
            value["shape"]
        )
    return value


# Figures that take Adam's steps in float32: where a gradient is nearly zero they go by its sign, so
# that another BLAS, as Python in the page has it, ends up to some hundredths elsewhere.
BY_SIGNS = "draw", "guess"


def agree(found: Any, expected: Any, within: float = 1e-6) -> None:
    """Whether two answers are equal but for float32's last digit."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            agree(plain(found[name]), expected[name], within)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            agree(plain(one), other, within)
    elif isinstance(expected, np.ndarray | float | np.floating):
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(found, expected, rtol=within, atol=within * scale)
    else:
        assert found == expected


def right(page: Page, name: str) -> None:
    """Whether a figure shows what a direct call gives for the state that it is in."""
    page.settle(name)
    within = 0.1 if page.transport == "static" and name in BY_SIGNS else 1e-6
    state, answers = page.tab.evaluate(SENT, name), page.tab.evaluate(ANSWERS, name)
    agree_with_the_engine(name, state, answers, within)
    assert page.tab.locator(f"#{name} .problem").text_content() == ""


def agree_with_the_engine(
    name: str, state: dict[str, Any], answers: dict[str, Any], within: float = 1e-6
) -> None:
    """Whether the answers that a figure has are those to direct calls."""
    for call in FIGURES[name].calls:
        expected = compute(call, {n: state[n] for n in CALLS[call].takes})
        agree(answers[call], expected, within)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_draws_and_shows_the_engines_numbers(page: Page, name: str) -> None:
    figure = page.figure(name)
    right(page, name)
    for svg in figure.locator(".plot svg").all():
        assert svg.locator(".data > *, .hands > *").count() > 0
    for canvas in figure.locator(".plot canvas").all():
        box = canvas.bounding_box()
        assert box is None or box["width"] > 100
    assert figure.locator("figcaption").inner_text().count("Try") == 1
    assert figure.locator("figcaption").inner_text().count("Notice") == 1


@pytest.mark.parametrize("name", FIGURES)
def test_every_handle_follows_keys_mouse_and_touch(page: Page, name: str) -> None:
    figure = page.figure(name)
    names = [hand.get_attribute("aria-label") for hand in figure.locator(".hand").all()]
    for n, label in enumerate(names):
        assert label
        hand = figure.locator(".hand").nth(n)
        if not hand.is_visible():
            continue
        before = hand.get_attribute("aria-valuetext")
        hand.focus()
        for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
            page.tab.keyboard.press(f"Shift+{key}")
            page.settle(name)
            if hand.get_attribute("aria-valuetext") != before:
                break
        assert hand.get_attribute("aria-valuetext") != before, f"{label}: keys"
        for way in (page.tab.mouse, Touch(page)):
            hand.scroll_into_view_if_needed()
            before = hand.get_attribute("aria-valuetext")
            box = hand.locator(".knob").bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            plot = hand.locator("xpath=ancestor::*[local-name()='svg']").bounding_box()
            to_x = x + (30 if x < plot["x"] + plot["width"] / 2 else -30)
            to_y = y + (30 if y < plot["y"] + plot["height"] / 2 else -30)
            way.move(x, y)
            way.down()
            way.move(to_x, to_y)
            way.up()
            page.settle(name)
            assert hand.get_attribute("aria-valuetext") != before, f"{label}: {type(way).__name__}"
    right(page, name)


class Touch:
    """A finger, with the methods of the mouse."""

    def __init__(self, page: Page) -> None:
        self.session = page.tab.context.new_cdp_session(page.tab)
        self.at: list[dict[str, float]] = []
        self.is_down = False

    def send(self, kind: str, points: list[dict[str, float]]) -> None:
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def move(self, x: float, y: float) -> None:
        self.at = [{"x": x, "y": y}]
        if self.is_down:
            self.send("touchMove", self.at)

    def down(self) -> None:
        self.is_down = True
        self.send("touchStart", self.at)

    def up(self) -> None:
        self.is_down = False
        self.send("touchEnd", [])


@pytest.mark.parametrize("name", FIGURES)
def test_every_control_changes_the_state(page: Page, name: str) -> None:
    figure = page.figure(name)
    for control in figure.locator("input[name], select[name]").all():
        if not control.is_visible() or control.is_disabled():
            continue
        of, kind = control.get_attribute("name"), control.get_attribute("type")
        before = page.state(name)[of]
        if kind == "range":
            control.focus()
            page.tab.keyboard.press("ArrowRight")
            if page.state(name)[of] == before:
                page.tab.keyboard.press("ArrowLeft")
        elif kind in ("checkbox", "radio"):
            if kind == "radio" and control.is_checked():
                continue
            control.click()
        elif control.evaluate("node => node.tagName") == "SELECT":
            values = control.evaluate("node => [...node.options].map(o => o.value)")
            control.select_option(next(v for v in values if v != str(before)))
        else:
            continue
        page.settle(name)
        assert page.state(name)[of] != before, of
        assert control.evaluate("node => node.labels.length > 0 || !!node.ariaLabel"), of
    right(page, name)


@pytest.mark.parametrize("name", [f.name for f in FIGURES.values() if f.code])
def test_the_lines_behind_a_figure_follow_its_state(page: Page, name: str) -> None:
    figure = page.figure(name)
    lines = figure.locator("details.code")
    lines.locator("summary").click()
    code = lines.locator("code")
    code.filter(has_text="mr.").wait_for()
    state = page.tab.evaluate(SENT, name)
    taken = {n for each in FIGURES[name].calls for n in CALLS[each].takes}
    asked = {"figure": name, **{n: a for n, a in state.items() if n in taken}}
    assert code.text_content() == compute("code", asked)["code"]
    lines.locator("summary").click()


@pytest.mark.parametrize("page", WAYS[:1], indirect=True)  # the same code both ways
def test_all_state_is_in_the_address(page: Page) -> None:
    page.tab.wait_for_timeout(400)
    before = {name: page.tab.evaluate(SENT, name) for name in FIGURES}
    address = page.tab.url
    other = page.tab.context.new_page()
    other.goto(page.address)  # with the key; and then as a reader who was given the address
    other.goto(address)
    tab = Page(other, page.address, page.transport)
    for name in FIGURES:
        tab.figure(name)
        after = other.evaluate(SENT, name)
        for entry, value in before[name].items():
            if not (isinstance(value, dict) and "f4" in value):
                assert after[entry] == value, (name, entry)
    other.close()


@pytest.mark.parametrize("page", WAYS[:1], indirect=True)  # the same code both ways
def test_what_the_address_says_may_be_damaged(page: Page) -> None:
    other = page.tab.context.new_page()
    other.goto(page.address)
    wrong = "&".join(f"{f}.{n}={{broken" for f in FIGURES for n in FIGURES[f].first)
    other.goto(page.address.split("#")[0] + "?" + wrong)
    tab = Page(other, page.address, page.transport)
    for name in FIGURES:
        tab.figure(name)
        first = json.loads(json.dumps({**FIGURES[name].own, **FIGURES[name].first}))
        assert tab.state(name) == first
    other.close()
