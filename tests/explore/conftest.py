"""The pages in a real browser, on both transports: Chromium, driven by playwright.

`make pages-test` installs what this needs; elsewhere the tests skip and say what is missing, unless
MINIREPTILE_BROWSER=required.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from minireptile.explore.static import NUMPY, SUMS, build

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def missing(what: str) -> None:
    """Skip, or fail where a browser is required."""
    if os.environ.get("MINIREPTILE_BROWSER") == "required":
        pytest.fail(f"{what} (MINIREPTILE_BROWSER=required)")
    pytest.skip(f"{what}: make pages-test installs it")


class Page:
    """A tab at the pages, with all that it said and asked for elsewhere."""

    def __init__(self, tab: Any, address: str, transport: str) -> None:
        self.tab, self.address, self.transport = tab, address, transport
        self.said: list[str] = []
        self.elsewhere: list[str] = []
        tab.on("console", lambda message: self.said.append(message.text))
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", self._note)

    def _note(self, request: Any) -> None:
        host = self.address.split("/")[2]
        if not request.url.startswith((f"http://{host}/", "blob:", "data:")):
            self.elsewhere.append(request.url)

    def figure(self, name: str) -> Any:
        """A figure that has been scrolled to, and has drawn."""
        found = self.tab.locator(f"#{name}")
        found.scroll_into_view_if_needed()
        self.tab.locator(f"#{name}[data-drawn]").wait_for(state="attached", timeout=60_000)
        return found

    def state(self, name: str) -> dict[str, Any]:
        """The state of a figure."""
        found: dict[str, Any] = self.tab.evaluate(f"document.getElementById('{name}').figure.state")
        return found

    def settle(self, name: str) -> None:
        """Wait until every question of a figure has been answered and drawn."""
        self.tab.locator(f"#{name}:not([data-asking])").wait_for(state="attached", timeout=60_000)


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread() -> Iterator[None]:
    """As the command has it: a sum that is split over threads has another last digit, and a network
    that learns makes more of it."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        missing("there is no chromium")
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def local() -> Iterator[str]:
    """The address that `minireptile explore` prints."""
    command = [sys.executable, "-m", "minireptile", "explore", "--no-browser", "--backend", "numpy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("pages: ").strip()
        process.terminate()


@pytest.fixture(scope="session")
def pyodide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of Pyodide with NumPy: $MINIREPTILE_PYODIDE, or what `make pages-test` fetched, with
    NumPy from a copy beside the data."""
    places: list[str | Path] = [
        os.environ.get("MINIREPTILE_PYODIDE", "."),
        ROOT / ".venv" / "pages" / "pyodide" / "package",
        ROOT.parent / "shared" / "pyodide",
    ]
    folder = tmp_path_factory.mktemp("pyodide")
    for name in (*SUMS, NUMPY):
        found = next((Path(p) / name for p in places if (Path(p) / name).is_file()), None)
        if found is None:
            pytest.skip(f"no {name}: MINIREPTILE_PYODIDE names a folder with a copy of Pyodide")
        (folder / name).symlink_to(found)
    return folder


class Files(SimpleHTTPRequestHandler):
    """A folder, as a web host has it."""

    extensions_map = {  # noqa: RUF012
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="session")
def static(pyodide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a static copy of the pages."""
    folder = tmp_path_factory.mktemp("static") / "pages"
    build(folder, pyodide)
    handler = functools.partial(Files, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


WAYS = [pytest.param(way, marks=pytest.mark.xdist_group(way)) for way in ("local", "static")]


@pytest.fixture(scope="module", params=WAYS)
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Page]:
    """The pages, opened one way and the other; every test of a module has the same tab."""
    address = request.getfixturevalue(request.param)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, has_touch=True)
    page = Page(context.new_page(), address, request.param)
    page.tab.goto(address)
    page.tab.locator("#engine", has_text="computes every figure").wait_for(timeout=120_000)
    yield page
    context.close()
    assert page.said == []
    assert page.elsewhere == []
