"""The built site in Chromium, from a file:// address: no server, and no other host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("site")]

PAGES = (
    "docs/index", "README", "kernels/conv2d", "kernels/batchnorm", "kernels/adapt",
    "bench/results/README", "tests/mistakes/README", "docs/notebooks/kernel", "docs/api/loops",
    "docs/api/models", "docs/api/testing", "source/kernels/conv2d_numpy.py",
    "source/minireptile/engine/index", "genindex",
)  # fmt: skip


BOXED = "div.formula:has(.boxpad)"


class Tab:
    """A page of the site at one width, with what it complained of and asked for elsewhere."""

    def __init__(self, browser: Any, site: Path, width: int = 1320, scheme: str = "light") -> None:
        self.site, self.wrong = site, list[str]()
        viewport = {"width": width, "height": 900}
        self.tab = browser.new_page(viewport=viewport, color_scheme=scheme)
        self.tab.on("console", lambda message: self.wrong.append(message.text))
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.tab.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.wrong.append(request.url)

    def open(self, page: str) -> Any:
        self.tab.goto((self.site / page).as_uri().replace("%3F", "?"))
        return self.tab


@pytest.mark.parametrize("width", [390, 820, 1024, 1320, 1600])
def test_no_page_is_wider_than_its_window(browser: Any, site: Path, width: int) -> None:
    tab = Tab(browser, site, width)
    for page in PAGES:
        seen = tab.open(f"{page}.html").evaluate("document.documentElement.scrollWidth")
        assert seen <= width, page
    assert tab.wrong == []


CLIPPED = """Array.from(document.querySelectorAll("div.formula"))
    .filter((box) => box.scrollWidth > box.clientWidth)
    .map((box) => box.querySelector("annotation").textContent)"""


def test_every_equation_of_the_derivations_is_seen_whole(browser: Any, site: Path) -> None:
    tab = Tab(browser, site, 1320)  # the narrowest window with contents on its right
    for page in sorted((site / "kernels").glob("*.html")):
        assert tab.open(f"kernels/{page.name}").evaluate(CLIPPED) == [], page.name


def test_a_wide_equation_scrolls_in_its_box(browser: Any, site: Path) -> None:
    box = Tab(browser, site, 390).open("kernels/conv2d.html").locator(BOXED).first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert box.evaluate("box => (box.scrollLeft = 50, box.scrollLeft)") == 50


def test_dgamma_leads_to_batch_normalisation(browser: Any, site: Path) -> None:
    tab = Tab(browser, site)
    page = tab.open("docs/index.html")
    page.locator("input[name=q]").fill("dgamma")
    page.locator("input[name=q]").press("Enter")
    first = page.locator("#search-results ul.search a").first
    first.wait_for()
    assert first.inner_text() == "Batch normalisation"
    first.click()
    page.wait_for_url("**/kernels/batchnorm.html*")
    assert tab.wrong == []


def test_the_dark_pages_are_dark_and_their_formulas_light(browser: Any, site: Path) -> None:
    for name in ("kernels/conv2d", "source/kernels/conv2d_numpy.py"):
        page = Tab(browser, site, scheme="dark").open(f"{name}.html")
        paint = "(what) => getComputedStyle(document.querySelector(what[0]))[what[1]]"
        back = page.evaluate(paint, ["body", "backgroundColor"])
        text = page.evaluate(paint, [".katex, .highlight pre", "color"])
        assert max(rgb(back)) < 50, name
        assert min(rgb(text)) > 180, name


def rgb(color: str) -> list[int]:
    return [int(part) for part in color.strip("rgba()").split(",")[:3]]


def test_a_page_needs_no_script(browser: Any, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "kernels/conv2d.html").as_uri())
    assert page.locator(".katex-html").count() > 50
    assert page.locator(".sidebar-tree a", has_text="Batch normalisation").count() == 1
    context.close()


def test_the_address_of_the_folder_leads_to_the_front_page(browser: Any, site: Path) -> None:
    page = Tab(browser, site).open("index.html")
    page.wait_for_url("**/docs/index.html")
    assert page.locator(".door").count() == 3


def test_a_name_of_the_api_leads_to_its_line(browser: Any, site: Path) -> None:
    page = Tab(browser, site).open("docs/api/loops.html")
    page.locator("dt[id='minireptile.reptile'] .viewcode-link").click()
    page.wait_for_url("**/source/minireptile/reptile.py.html#L-*")
    line = page.locator(f"[id='{page.url.partition('#')[2]}']")
    assert line.inner_text().strip() in ("@outer_loop", "def reptile(")
