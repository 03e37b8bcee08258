"""How the site reads the pages: what GitHub writes otherwise, in which order, and every name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import minireptile as mr

pytest.importorskip("sphinx")

from docs import pages

ROOT = Path(__file__).parents[2]
READ = sorted(
    path.relative_to(ROOT)
    for folder in ("", "kernels", "learn", "bench/results", "docs", "docs/api", "tests/mistakes")
    for path in (ROOT / folder).glob("*.md")
) + [p.relative_to(ROOT) for p in sorted((ROOT / "minireptile").glob("*/*.md"))]
QUOTED = re.compile(r"^(`{3,}).*?^\1$|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def test_formulas_are_translated_and_code_is_not() -> None:
    page = "a $`x_1`$ and\n$`y`$\n\n```sh\necho $`x`$\n```\n\nthen $`z`$\n"
    expected = "a {math}`x_1` and\n{math}`y`\n\n```sh\necho $`x`$\n```\n\nthen {math}`z`\n"
    assert pages.github(page) == expected


def test_a_heading_that_is_a_link_is_a_plain_one() -> None:
    assert pages.github("### [dense.py](dense.py)\n\n[a](b.py)\n") == "### dense.py\n\n[a](b.py)\n"


def test_the_derivations_come_in_reading_order() -> None:
    found = {p.with_suffix("").as_posix() for p in READ}
    (order,) = re.findall(
        r":caption: Derivations\n\n(.*?)\n```",
        pages.contents((ROOT / "docs/index.md").read_text(encoding="utf-8"), found, ROOT),
        re.DOTALL,
    )
    table = re.findall(r"^\| \[(\w+)\.md\]", (ROOT / "kernels/README.md").read_text(), re.MULTILINE)
    assert order.split() == [f"/kernels/{name}" for name in ("README", *table)]
    assert len(table) == len([*(ROOT / "kernels").glob("*.md")]) - 1


def test_the_first_link_of_a_readme_gives_a_page_its_place(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("[c](c.md), [a](a.md) and [c](c.md) again, [d](x/d.md)")
    found = ["k/z", "k/a", "k/b", "k/c", "k/README"]
    assert pages.in_order(found, tmp_path) == ["k/README", "k/c", "k/a", "k/b", "k/z"]


def test_a_list_without_pages_is_left_out_and_no_page_is_listed_twice() -> None:
    text = (
        "```{toctree}\n:caption: A\n\n/a/README\n/a/*\n```\n\n```{toctree}\n:hidden:\n\n/b/*\n```\n"
    )
    assert pages.contents(text, {"a/README", "a/x"}, ROOT) == (
        "```{toctree}\n:caption: A\n\n/a/README\n/a/x\n```\n\n\n"
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs/notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_a_notebook_becomes_a_page(path: Path) -> None:
    text = pages.notebook(path.read_text(encoding="utf-8"))
    assert text.count("````python\n") >= 6
    assert text.count("](data:image/png;base64,iVBOR") == path.read_text().count('"image/png"')


@pytest.mark.parametrize("path", READ, ids=str)
def test_links_lead_to_files(path: Path) -> None:
    text = QUOTED.sub("", (ROOT / path).read_text(encoding="utf-8").replace("](`", "]("))
    for link in re.findall(r"\]\(([^)\s#:]+)[)#]", text):
        assert (ROOT / path).parent.joinpath(link).exists(), link


def test_the_api_has_every_public_name_once() -> None:
    api = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs/api").glob("*.md"))
    named = re.findall(r"^\.\. auto(?:class|function):: (\w+)$", api, re.MULTILINE)
    assert sorted([*named, "testing"]) == sorted(mr.__all__)
    assert ".. automodule:: minireptile.testing\n" in api


def test_docstrings_keep_their_stars() -> None:
    lines = [
        "shape (*x.shape) |phi|^2, see `a*b`",
        "    >>> f(*x)",
        "*args : int",
        "(kernels/sgd.md)",
    ]
    pages.docstring(None, "function", "", None, None, lines)  # type: ignore[arg-type]
    assert lines == [
        "shape (\\*x.shape) \\|phi\\|^2, see `a*b`",
        "    >>> f(*x)",
        "*args : int",
        "(:doc:`kernels/sgd.md </kernels/sgd>`)",
    ]
