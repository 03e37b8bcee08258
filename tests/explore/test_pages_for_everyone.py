"""What every reader may count on: no word is lost to a screen reader, nothing jumps, a phone's
width and the dark will do, and what goes wrong is said in the page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minireptile.explore.answer import tables

from .conftest import ROOT, Page, missing

pytestmark = pytest.mark.browser
FIGURES = tables()[1]


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core, which looks for what keeps people out."""
    given = os.environ.get("MINIREPTILE_AXE")
    path = Path(given) if given else ROOT / ".venv" / "pages" / "axe" / "package" / "axe.min.js"
    if not path.is_file():
        missing(f"there is no axe-core at {path}")
    return path.read_text()


def opened(browser: Any, address: str, **look: Any) -> Page:
    """The pages in a window of their own, every figure drawn."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **look})
    page = Page(context.new_page(), address, "local")
    page.tab.goto(address)
    for name in FIGURES:
        page.figure(name)
    return page


def complaints(page: Page, axe: str) -> list[str]:
    """What axe-core finds serious."""
    page.tab.evaluate(axe)
    found = page.tab.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['html'][:120]}: {node['failureSummary'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(browser: Any, local: str, axe: str, scheme: str) -> None:
    page = opened(browser, local, color_scheme=scheme)
    assert complaints(page, axe) == []
    page.tab.goto(page.tab.locator(".links a").first.evaluate("node => node.href"))
    page.tab.locator(".found").wait_for()
    assert complaints(page, axe) == []
    page.tab.context.close()


def test_a_complaint_would_be_heard(browser: Any, local: str, axe: str) -> None:
    page = opened(browser, local)
    page.tab.evaluate("document.querySelector('[type=range]').closest('label').replaceWith("
                      "document.querySelector('[type=range]'))")  # fmt: skip
    assert "label" in complaints(page, axe)[0]
    page.tab.context.close()


def watched(browser: Any, **look: Any) -> Any:
    """A tab that keeps what its reader would see move, without having touched anything."""
    tab = browser.new_context(device_scale_factor=1, **look).new_page()
    tab.add_init_script(
        "window.shifts = []; new PerformanceObserver(list => { for (const e of list.getEntries())"
        "  window.shifts.push([e.value, String(e.sources[0]?.node?.outerHTML).slice(0, 99)]); })"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    return tab


def painted(tab: Any) -> None:
    """Wait until what has changed is on the screen, and its observers know."""
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_jumps_and_nothing_sticks_out(browser: Any, local: str, width: int) -> None:
    tab = watched(browser, viewport={"width": width, "height": 850})
    tab.goto(local)
    page = Page(tab, local, "local")
    for name in FIGURES:
        page.figure(name)
        page.settle(name)
    painted(tab)
    assert sum(value for value, _ in tab.evaluate("shifts")) < 0.001, tab.evaluate("shifts")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.context.close()


@pytest.mark.parametrize("width", [320, 390, 600, 760, 900, 1280])
def test_nothing_moves_however_late_an_answer_comes(browser: Any, local: str, width: int) -> None:
    """Mostly a figure is drawn before it is in sight. Here all are, from the start, and no answer
    comes before the page without it has been painted: whatever an answer moves is seen to move."""
    tab = watched(browser, viewport={"width": width, "height": 850})
    held: list[Any] = []
    tab.route("**/ask", lambda route: held.append(route))
    tab.goto(local)
    tab.set_viewport_size({"width": width, "height": tab.evaluate("document.body.offsetHeight")})
    drawn = ", ".join(f"#{name}[data-drawn]:not([data-asking])" for name in FIGURES)
    for _ in range(5000):  # more than a minute
        painted(tab)
        while held:
            held.pop().continue_()
        if tab.locator(drawn).count() == len(FIGURES):
            break
    painted(tab)
    assert tab.locator(drawn).count() == len(FIGURES)
    assert tab.evaluate("shifts") == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.context.close()


def test_without_the_key_the_page_says_what_to_open(browser: Any, local: str) -> None:
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(local.split("#")[0])
    name = next(iter(FIGURES))
    tab.locator(f"#{name} .problem", has_text="Open the address").wait_for()
    other = context.new_page()  # a tab with the key, from which the first one gets it
    other.goto(local)
    other.locator(f"#{name}[data-drawn]").wait_for(state="attached")
    tab.reload()
    tab.locator(f"#{name}[data-drawn]").wait_for(state="attached")
    context.close()


def test_a_server_that_was_killed_is_missed_in_the_page(browser: Any) -> None:
    command = [sys.executable, "-m", "minireptile", "explore", "--no-browser", "--backend", "numpy"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        # A background job of a shell is born deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stdout.readline().removeprefix("pages: ").strip()
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = Page(context.new_page(), address, "local")
        page.tab.goto(address)
        figure = page.figure("reptile_step")
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
        assert process.stderr.read() == ""
        figure.locator(".hand").first.focus()
        page.tab.keyboard.press("ArrowRight")
        figure.locator(".problem", has_text="still running").wait_for()
        context.close()


def test_python_that_cannot_start_is_said_in_the_page(browser: Any, static: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.route("**/pyodide.asm.mjs", lambda route: route.fulfill(body="// not what it should be"))
    tab.goto(static)
    tab.locator("#engine", has_text="could not be started").wait_for(timeout=60_000)
    page = Page(tab, static, "static")
    figure = page.figure("reptile_step")  # as recorded
    says = figure.evaluate("node => getComputedStyle(node, '::after').content")
    assert says == '"as recorded: Python is not awake"'
    figure.locator(".hand").first.focus()
    tab.keyboard.press("ArrowRight")
    figure.locator(".problem", has_text="could not be started").wait_for()
    context.close()
