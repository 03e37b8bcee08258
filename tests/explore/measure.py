"""How fast the pages are: `python -m tests.explore.measure`, Chromium and playwright at hand.

From opening to the first figure, from a hand that moves to the picture, and from the end of a
stroke to the answer; on this machine, and, with MINIREPTILE_PYODIDE naming a copy of Pyodide, in
the page. Nothing here is a test: times depend on the machine.
"""

from __future__ import annotations

import functools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from minireptile.explore.serve import Server
from minireptile.explore.static import build

from .conftest import FLAGS, Files, Page

DRAGGED = "reptile_step", "meta_loss", "comparison"


@contextmanager
def serving(transport: str) -> Iterator[str]:
    """The address of the pages."""
    with tempfile.TemporaryDirectory() as folder:
        if transport == "local":
            server: ThreadingHTTPServer = Server()
        else:
            size = build(Path(folder) / "pages", Path(os.environ["MINIREPTILE_PYODIDE"]))
            print(f"static: {size / 1e6:.1f} MB with Pyodide and NumPy")
            handler = functools.partial(Files, directory=str(Path(folder) / "pages"))
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        with server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield getattr(server, "url", f"http://127.0.0.1:{server.server_port}/index.html")
            server.shutdown()


def drag(page: Page, name: str, moves: int = 60) -> list[float]:
    """Milliseconds from each move of a figure's first handle to the picture."""
    page.figure(name)
    page.settle(name)
    hand = page.tab.locator(f"#{name} .hand").first
    hand.scroll_into_view_if_needed()
    box = hand.locator(".knob").bounding_box()
    page.tab.evaluate("import('./figure.js').then(figure => { figure.trips.length = 0; })")
    mouse = page.tab.mouse
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    for i in range(moves):
        mouse.move(box["x"] + 8 + i, box["y"] + 8 - i / 3)
        page.tab.wait_for_timeout(25)
    mouse.up()
    page.settle(name)
    return [ms for _, ms in page.tab.evaluate("import('./figure.js').then(figure => figure.trips)")]


def stroke(page: Page, strokes: int = 12) -> list[float]:
    """Milliseconds from the end of a stroke in the query's cell to the answer."""
    page.figure("draw")
    page.settle("draw")
    cell = page.tab.locator("#draw .pad").last
    cell.scroll_into_view_if_needed()
    box, found = cell.bounding_box(), []
    for i in range(strokes):
        page.tab.evaluate("import('./figure.js').then(figure => { figure.trips.length = 0; })")
        x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * (0.2 + 0.05 * i)
        page.tab.mouse.move(x, y)
        page.tab.mouse.down()
        page.tab.mouse.move(x + box["width"] * 0.4, y + 2, steps=8)
        page.tab.mouse.up()
        page.tab.wait_for_timeout(30)
        page.settle("draw")
        trips = page.tab.evaluate("import('./figure.js').then(figure => figure.trips)")
        found += [ms for _, ms in trips[-1:]]
    return found


def measure(transport: str, play: Any) -> None:
    """Print the figures of one transport."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    browser = play.chromium.launch(executable_path=path, args=FLAGS)
    with serving(transport) as address:
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        page, since = Page(tab, address, transport), time.perf_counter()
        tab.goto(address)
        tab.locator("figure[data-drawn]").first.wait_for(state="attached")
        print(f"{transport}: first figure after {time.perf_counter() - since:.2f} s")
        tab.locator("#engine", has_text="computes every figure").wait_for(timeout=120_000)
        print(f"{transport}: engine awake after {time.perf_counter() - since:.2f} s")
        timed = {name: drag(page, name) for name in DRAGGED} | {"draw, a stroke": stroke(page)}
        for name, each in timed.items():
            low, middle, high = statistics.quantiles(each, n=4)
            print(f"{transport}: {name}: {middle:.0f} ms, quartiles {low:.0f} and {high:.0f}")
    browser.close()


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        for transport in ("local", *(["page"] if "MINIREPTILE_PYODIDE" in os.environ else [])):
            measure(transport, play)
