"""Every notebook runs from its first cell to its last, and is committed as it ran: with its
outputs, without errors, and without a trace of the machine."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# A path, a host, an address, or colours of a terminal, which are those of a traceback.
TRACES = re.compile(r"/(?:home|root|tmp|work|usr|Users)/|[A-Z]:\\\\|https?://|site-packages|\x1b\[")
LARGEST = 150_000  # bytes: GitHub shows it at once, and a commit stays small


def ids(path: Path) -> str:
    return path.stem


def cells(path: Path, kind: str = "") -> list[dict[str, Any]]:
    every = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in every if kind in ("", cell["cell_type"])]


def outputs(path: Path) -> list[dict[str, Any]]:
    return [output for cell in cells(path, "code") for output in cell["outputs"]]


def text(output: dict[str, Any]) -> str:
    """What an output says, pictures left out."""
    shown = output.get("data", {})
    words = [output.get("text", ""), *(v for k, v in shown.items() if not k.startswith("image/"))]
    return "".join("".join(part) for part in words)


def test_all_four_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["images", "kernel", "layer", "sine"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_a_notebook_is_as_it_ran(path: Path) -> None:
    found = [cell["execution_count"] for cell in cells(path, "code")]
    assert found == list(range(1, len(found) + 1))
    kinds = {output["output_type"] for output in outputs(path)}
    assert kinds <= {"stream", "execute_result", "display_data"}
    assert {output.get("name") for output in outputs(path)} <= {None, "stdout"}  # no warnings
    assert any("image/png" in output.get("data", {}) for output in outputs(path))
    said = json.loads(path.read_text(encoding="utf-8"))
    for cell in said["cells"]:
        assert not TRACES.search("".join(cell["source"])), cell["id"]
    for output in outputs(path):
        assert not TRACES.search(text(output)), text(output)
    assert path.stat().st_size < LARGEST
    assert said["metadata"]["kernelspec"]["name"] == "python3"
    assert said["nbformat"] == 4
    assert len({cell["id"] for cell in said["cells"]}) == len(said["cells"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_a_notebook_begins_with_how_to_install_it(path: Path) -> None:
    title, first = cells(path)[:2]
    assert "".join(title["source"]).startswith("# ")
    assert "$" in "".join("".join(cell["source"]) for cell in cells(path, "markdown"))  # a formula
    source = "".join(first["source"])
    assert '%pip install -e ".[cli' in source
    assert "%pip install minireptile-*.whl" in source
    assert "import minireptile as mr" in source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_links_lead_somewhere(path: Path) -> None:
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#]+)\)", "".join(cell["source"])):
            assert (path.parent / target).exists(), target


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    client = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    place = {"metadata": {"path": str(tmp_path)}}
    client.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    for before, cell in zip(cells(path), notebook.cells, strict=True):
        kept = {output["output_type"] for output in before.get("outputs", [])}
        assert kept == {output.output_type for output in cell.get("outputs", [])}, cell.id
    learned(path.stem, "".join(text(o) for c in notebook.cells for o in c.get("outputs", [])))


def learned(name: str, said: str) -> None:
    """What was learned shows in its own words: before, after, and the larger of the two."""
    error = {"sine": r"([\d.]+) ± [\d.]+ after 32 steps", "layer": r"training: ([\d.]+) ±"}
    right = {"images": r"([\d.]+) ± [\d.]+ %", "kernel": r"(?:before|after): +(\d+) ±"}
    before, after, *_ = (float(n) for n in re.findall({**error, **right}[name], said))
    if name in error:
        assert after < 0.75 * before
    else:
        assert after > before + 5
    if name == "images":
        assert [int(n) > 60 for n in re.findall(r"(\d+)% of 35 images are right", said)] == [True]
