"""The pages of the kit on each framework: their code runs and says what they say it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from minireptile.errors import InputError
from minireptile.testing import GradientError, IdentityError

FOLDER = Path(__file__).parents[2] / "minireptile" / "testing"
NEEDS = {"torch.md": "torch", "jax.md": "jax", "float32.md": None, "arrays.md": "numba"}
BLOCKS = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


def without_digits(text: str) -> str:
    """Rounding errors differ from machine to machine, and with them which entry is worst."""
    text = re.sub(r"worst at \([\d, ]*\)|wrong in \d+ of", "", text)
    return re.sub(r"-?\d+\.\d+(e-?\d+)?", "0", text).strip()


@pytest.fixture
def _as_before() -> Any:
    yield
    with contextlib.suppress(ImportError):
        import jax

        jax.config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("page", NEEDS)
def test_a_page_runs(page: str) -> None:
    needs = NEEDS[page]
    if needs:
        pytest.importorskip(needs, reason=f"{page} needs {needs}, which is not installed")
    blocks = BLOCKS.findall((FOLDER / page).read_text(encoding="utf-8"))
    assert sum(bool(text) for _, text in blocks) >= 1
    names: dict[str, Any] = {"__name__": "page"}
    for code, text in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            try:
                exec(compile(code, page, "exec"), names)
            except (GradientError, IdentityError, InputError) as error:
                print(error)
        assert without_digits(out.getvalue()) == without_digits(text)


@pytest.mark.parametrize("page", NEEDS)
def test_five_lines(page: str) -> None:
    """The block that checks: after the user's own code, up to the first output."""
    first = (FOLDER / page).read_text(encoding="utf-8").split("```text")[0]
    code = first.rpartition("```python\n")[2].partition("```")[0]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) == 5 or page == "arrays.md"


@pytest.mark.parametrize("page", [*NEEDS, "versus.md", "README.md"])
def test_a_page_is_in_its_width_and_its_links_exist(page: str) -> None:
    text = (FOLDER / page).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert all(len(line) <= 100 or line.startswith("|") for line in prose.splitlines())
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (FOLDER / link).exists(), link
