"""The tree itself: linter, formatter, type checker, packaging, and what the README quotes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "tool",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        pytest.param(["mypy"], marks=pytest.mark.long),  # without a cache
    ],
    ids=" ".join,
)
def test_tool_passes(tool: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kernels_are_linked_and_do_not_shadow_another_package() -> None:
    assert (ROOT / "minireptile" / "kernels").resolve() == ROOT / "kernels"
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_the_loops_fit_one_screen() -> None:
    source = (ROOT / "minireptile" / "reptile.py").read_text()
    outer, inner = source.index("def reptile("), source.index("def adapt_tasks(")
    assert source[outer:inner].count("\n") <= 42


def test_the_readme_quotes_the_source() -> None:
    readme = (ROOT / "README.md").read_text()
    source = (ROOT / "minireptile" / "reptile.py").read_text()
    quotes = re.findall(r"```python\n# minireptile/reptile.py\n(.*?)```", readme, re.DOTALL)
    assert len(quotes) == 1
    for block in quotes[0].strip().split("\n\n\n"):
        assert block in source


def test_every_file_that_the_readme_links_to_exists() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "tests/README.md", "tests/mistakes/README.md",
                 "learn/README.md"):  # fmt: skip
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"


def test_the_readmes_library_example_runs() -> None:
    (code,) = re.findall(r"```python\n(import minireptile.*?)```", (ROOT / "README.md").read_text(),
                         re.DOTALL)  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after = map(float, re.findall(r"(\S+) ± \S+ after 10 steps", done.stdout))
    assert after < before / 4, done.stdout  # of unseen tasks


def imports_of(path: Path, modules: Collection[str]) -> set[str]:
    """The package's modules that a module imports, anywhere in it: late, or for types alone."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = parts[: len(parts) - node.level] if node.level else ()
            base = ".".join((*package, *filter(None, [node.module])))
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else base for name in names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return found & set(modules)


def test_no_circle_of_imports() -> None:
    paths = sorted((ROOT / "minireptile").glob("**/*.py")) + sorted(
        (ROOT / "minireptile" / "kernels").glob("*.py")
    )
    names = {}
    for path in paths:
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {name: imports_of(path, names) for name, path in names.items()}
    assert "minireptile.engine.walk" in graph["minireptile.engine.walked"], "the test sees nothing"
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())
