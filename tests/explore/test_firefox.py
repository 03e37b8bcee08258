"""The same pages in Firefox, driven by Mozilla's own marionette_driver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from minireptile.explore.answer import tables

from .test_pages import ANSWERS, BY_SIGNS, SENT, agree_with_the_engine

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the driver's
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
FIGURES = tables()[1]


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Firefox without a window."""
    driver = pytest.importorskip("marionette_driver", reason="no marionette_driver: pip install it")
    path = shutil.which("firefox-esr") or shutil.which("firefox")
    if path is None:
        pytest.skip("there is no Firefox: apt-get install firefox-esr")
    log = tmp_path_factory.mktemp("firefox") / "gecko.log"  # which the driver takes away at first
    found = driver.marionette.Marionette(bin=path, headless=True, port=0, gecko_log=str(log))
    found.start_session()
    found.timeout.script = 120
    yield found
    found.quit()


@pytest.mark.parametrize("transport", ["local", "static"])
def test_every_figure_draws_follows_a_key_and_shows_the_engines_numbers(
    firefox: Any, request: pytest.FixtureRequest, transport: str
) -> None:
    address = request.getfixturevalue(transport)
    firefox.navigate(address)

    def wait(condition: str, *arguments: str) -> None:
        firefox.execute_async_script(
            f"const done = arguments[arguments.length - 1], given = [...arguments];"
            f"const look = () => ({condition}) ? done() : setTimeout(look, 20); look();",
            script_args=arguments, sandbox=None,
        )  # fmt: skip

    wait("document.querySelector('#engine').textContent.includes('computes every figure')")
    for name in FIGURES:
        firefox.execute_script(
            "document.getElementById(arguments[0]).scrollIntoView()", [name], sandbox=None
        )
        wait("document.getElementById(given[0]).dataset.drawn", name)
        hand = f"document.querySelector('#{name} .hand')"
        if firefox.execute_script(f"return !!{hand}", sandbox=None):
            said = f"{hand}.getAttribute('aria-valuetext')"
            before = firefox.execute_script(f"{hand}.focus(); return {said}", sandbox=None)
            firefox.execute_script(
                "for (const key of ['ArrowRight', 'ArrowUp', 'ArrowLeft']) document.activeElement."
                "dispatchEvent(new KeyboardEvent('keydown', {key, shiftKey: true, bubbles: true}))",
                sandbox=None,
            )
            wait(f"{said} !== given[0]", before)
        wait("document.getElementById(given[0]).dataset.asking === undefined", name)
        state, answers = (
            firefox.execute_script(f"return ({what})(arguments[0])", [name], sandbox=None)
            for what in (SENT, ANSWERS)
        )
        within = 0.1 if transport == "static" and name in BY_SIGNS else 1e-6
        agree_with_the_engine(name, state, answers, within)
