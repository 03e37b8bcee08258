"""The derivations beside the kernels: citations, quoted code and formulas agree with the code.

Each page ends in a section "Check": a doctest that writes its equations in NumPy and compares them
with the kernels. It runs here.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
PAGES = sorted({*KERNELS.glob("*.md")} - {KERNELS / "README.md"})
CODE = sorted(
    {
        path.resolve()
        for folder in ("kernels", "minireptile")
        for kind in ("py", "cu", "cuh")
        for path in ROOT.glob(f"{folder}/**/*.{kind}")
    }
)

NUMBERED = re.compile(r"\\qquad \((\d+)\)\n```$", re.M)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
FENCE = re.compile(r"^```math\n(.*?)^```$", re.M | re.S)
INLINE = re.compile(r"\$`([^`]*)`\$")
ATOM = re.compile(r"\$?`[^`]*`\$?|\[[^]]*\]\([^)]*\)")  # formula, code or link
BOXED = re.compile(r"\\boxed.*?\\qquad \((\d+)\)\n\Z", re.S)
IN_COMMENT = re.compile(r"# .*?eq\. (\d+(?:(?:, | and | to )\d+)*)")
CITED = re.compile(r"(\w+\.md)(?:,? (section|eq\.) (\d+(?:(?:, | and | to )\d+)*))?")
TABLE = re.compile(
    r"^\| formula \| lines of \[`.+?`\]\((.+?)\) \|\n\|---\|---\|\n((?:\|.*\|\n)+)", re.M
)


def numbers(text: str) -> set[int]:
    """The numbers in "1", "5, 6 and 10" or "3 to 5"."""
    found: set[int] = set()
    for part in re.split(r", | and ", text):
        ends = [int(n) for n in part.split(" to ")]
        found.update(range(ends[0], ends[-1] + 1))
    return found


def sections(page: str) -> set[int]:
    return {int(n) for n in re.findall(r"^## (\d+)\. ", page, re.M)}


def boxed(page: str) -> set[int]:
    """The numbers of a page's results, the boxed equations."""
    return {int(n) for tex in FENCE.findall(page) for n in BOXED.findall(tex)}


def check_of(page: Path) -> doctest.DocTest:
    """The Python of a page as one doctest; its line numbers are the page's."""
    text, source = page.read_text("utf-8"), ""
    for fence in PYTHON.finditer(text):
        source += "\n" * (text.count("\n", 0, fence.start(1)) - source.count("\n")) + fence[1]
    return doctest.DocTestParser().get_doctest(source, {}, page.name, str(page), 0)


def citations() -> list[tuple[str, str, str, str]]:
    """(file, page, "eq." or "section" or "", numbers) for each page that the code cites."""
    return [
        (str(path.relative_to(ROOT)), *found)
        for path in CODE
        for found in CITED.findall(" ".join(path.read_text("utf-8").split()))
        if found[0] not in ("README.md", "CHANGELOG.md")
    ]


def quotes() -> list[tuple[str, str, str]]:
    """(page, file, line) for each line of code that a page quotes in a table."""
    return [
        (page.name, file, " ".join(line.split()))
        for page in PAGES
        for file, rows in TABLE.findall(page.read_text("utf-8"))
        for row in rows.splitlines()
        for line in re.findall(r"`([^`]+)`", INLINE.sub("", row))
    ]


def test_the_reading_order_has_every_page_behind_what_it_needs() -> None:
    text = (KERNELS / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| \[(\w+\.md)\]\(\1\) \| .+ \| (.+) \|$", text, re.M)
    order = [page for page, _ in rows]
    assert sorted(order) == [page.name for page in PAGES]
    for i, (page, needs) in enumerate(rows):
        named = [] if needs == "nothing" else [f"{name}.md" for name in needs.split(", ")]
        assert {*named} <= {*order[:i]}, f"{page} needs {needs}"


@pytest.mark.parametrize("kernel", sorted(KERNELS.glob("*_numpy.py")), ids=lambda p: p.name)
def test_every_kernel_has_a_page_that_quotes_it(kernel: Path) -> None:
    page = kernel.name.replace("_numpy.py", ".md")
    assert (KERNELS / page).is_file()
    assert any(quote[:2] == (page, kernel.name) for quote in quotes())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_row_quotes_a_line(page: Path) -> None:
    text = page.read_text("utf-8")
    tables = TABLE.findall(text)
    assert len(tables) == text.count("\n| formula |") > 0
    assert all("`" in INLINE.sub("", row) for _, rows in tables for row in rows.splitlines())


@pytest.mark.parametrize(("file", "page", "kind", "cited"), citations())
def test_citation_exists(file: str, page: str, kind: str, cited: str) -> None:
    text = (KERNELS / page).read_text("utf-8")
    there = sections(text) if kind == "section" else {int(n) for n in NUMBERED.findall(text)}
    assert not cited or numbers(cited) <= there, f"{file} cites {page}, {kind} {cited}"


@pytest.mark.parametrize(("page", "file", "quote"), quotes())
def test_quoted_line_is_in_the_code(page: str, file: str, quote: str) -> None:
    lines = (KERNELS / file).read_text("utf-8").splitlines()
    code = {" ".join(re.sub(r"  # .*", "", line).split()) for line in lines}
    assert quote in code, f"{page} quotes a line that {file} does not have"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_formulas_are_well_formed(page: Path) -> None:
    text = page.read_text("utf-8")
    derivation, heading, check = text.partition("\n## Check\n")
    assert heading, "there is no section Check"
    assert "\n## " not in check, "the Check is the last section"
    derivation = PYTHON.sub("", derivation)  # the first numbers, as the kernels compute them
    for part, kind in ((derivation, "math"), (check, "python")):
        fences = re.findall(r"^```(.*)$", part, re.M)
        assert fences[::2] == [kind] * (len(fences) // 2), f"a fence not {kind}, or not closed"
        assert set(fences[1::2]) == {""}
    prose = FENCE.sub("", text)
    for tex in FENCE.findall(text) + INLINE.findall(prose):
        assert tex.count("{") - tex.count(r"\{") == tex.count("}") - tex.count(r"\}"), tex
        assert len(re.findall(r"\\left\b", tex)) == len(re.findall(r"\\right\b", tex)), tex
        assert re.findall(r"\\begin(\{\w+\})", tex) == re.findall(r"\\end(\{\w+\})", tex), tex
    assert "$" not in INLINE.sub("", prose), "inline formulas are written $`...`$"
    # GitHub shows a formula as plain text where a letter, a digit or a dash touches it.
    assert not re.search(r"[\w-]\$`[^`]*`\$|\$`[^`]*`\$\w", prose)


@pytest.mark.parametrize("page", [*PAGES, KERNELS / "README.md"], ids=lambda p: p.name)
def test_prose_is_at_most_100_wide(page: Path) -> None:
    """Tables, and formulas, code and links that cannot break, may be wider."""
    prose = FENCE.sub("", PYTHON.sub("", page.read_text("utf-8")))
    whole = ATOM.sub(lambda atom: re.sub(".", "x", atom[0]), prose)
    lines = zip(prose.splitlines(), whole.splitlines(), strict=True)
    wide = [line for line, atoms in lines if len(line) > 100 and " " in atoms.strip()]
    assert [line for line in wide if not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_equations_are_numbered_in_order(page: Path) -> None:
    found = [int(n) for n in NUMBERED.findall(page.read_text("utf-8"))]
    assert found
    assert found == list(range(1, len(found) + 1))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_check_runs(page: Path) -> None:
    check, report = check_of(page), list[str]()
    assert any(example.want for example in check.examples)
    assert all("False" not in example.want for example in check.examples)
    assert all("default_rng()" not in example.source for example in check.examples), "no seed"
    doctest.DocTestRunner(verbose=False).run(check, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_check_covers_every_boxed_equation(page: Path) -> None:
    text = page.read_text("utf-8")
    assert len(boxed(text)) == text.count(r"\boxed") > 0, "a boxed equation has no number"
    examples = check_of(page).examples
    compared = [i for i, example in enumerate(examples) if example.want]
    cited = {
        n: i
        for i, example in enumerate(examples)
        for found in IN_COMMENT.findall(example.source)
        for n in numbers(found)
    }
    assert boxed(text) <= set(cited), "not in the Check"
    assert set(cited) <= {int(n) for n in NUMBERED.findall(text)}, "there is no such equation"
    assert max(cited.values()) <= compared[-1], "written, but not compared with anything"
