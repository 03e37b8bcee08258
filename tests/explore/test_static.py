"""The pages as a folder for a web host."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from base64 import b64encode
from html import unescape
from pathlib import Path

import pytest

from minireptile import InputError
from minireptile.explore import static
from minireptile.explore.answer import first_answers
from minireptile.explore.article import article, linked
from minireptile.explore.static import MARK, NUMPY, SUMS, archive, build
from minireptile.explore.values import pack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "new" / "static"
    size = build(folder)
    assert size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return folder


def test_it_holds_all_that_a_page_asks_for(folder: Path) -> None:
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {*article("worker", ""), "first.json", "minireptile.zip", MARK}
    index = (folder / "index.html").read_text()
    assert 'data-engine="worker"' in index
    assert "<!-- " not in index
    recorded = json.loads((folder / "first.json").read_text())
    assert recorded == json.loads(json.dumps(first_answers(), default=pack))


def test_nothing_is_inline_and_nothing_is_from_elsewhere(folder: Path) -> None:
    for page in folder.glob("*.html"):
        text = page.read_text()
        assert "Content-Security-Policy" in text
        assert "unsafe" not in text
        assert "http:" not in text
        assert "https:" not in text
        assert " style=" not in text
        assert " on" not in [part[:3] for part in text.split('="')]
        assert all("></script>" in line for line in text.splitlines() if "<script" in line)


def test_pyodide_is_pinned_and_has_sums(folder: Path) -> None:
    where = json.loads((folder / MARK).read_text())
    assert where["base"] == "https://cdn.jsdelivr.net/npm/pyodide@314.0.3/"
    assert where["packages"] == "https://cdn.jsdelivr.net/pyodide/v314.0.3/full/"
    assert where["files"] == {name: f"sha256-{found}" for name, found in SUMS.items()}


def test_the_package_in_it_answers_with_numpy_alone(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "minireptile.zip") as file:
        file.extractall(tmp_path)
        names = file.namelist()
    assert not [n for n in names if n.endswith(("_numba.py", ".cu", "_cupy.py", ".safetensors"))]
    code = """
import sys
class NumPyAlone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("scipy", "numba", "safetensors", "PIL", "rich", "matplotlib"):
            raise ImportError(name)
sys.meta_path.insert(0, NumPyAlone())
from minireptile.explore import answer
from minireptile.explore.answer import first_answers
from minireptile.explore.values import pack
import json
print(json.dumps(first_answers(), default=pack, allow_nan=False))
"""
    run = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"],
        capture_output=True, text=True, check=False, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == json.loads((folder / "first.json").read_text())


def test_the_same_code_gives_the_same_bytes() -> None:
    assert archive() == archive()
    assert zipfile.ZipFile(io.BytesIO(archive())).testzip() is None


def test_every_link_to_code_or_derivation_shows_something() -> None:
    files = article("local", "")
    links = linked(files["index.html"].decode())
    assert links
    for name, text in links:
        assert unescape(text) in files[f"source/{name}"].decode(), (name, text)


def test_the_contents_name_every_section_in_order() -> None:
    index = article("local", "")["index.html"].decode()
    named = re.findall(r'<li><a href="#([\w-]+)">([^<]+)</a>', index)
    titled = re.findall(r'<h2 id="([\w-]+)">([^<]+)</h2>', index)
    assert named == titled
    assert len(named) > 10


def test_it_is_written_anew_but_nothing_else_is_written_over(folder: Path, tmp_path: Path) -> None:
    (folder / "old.txt").write_text("of an earlier version")
    build(folder)
    assert not (folder / "old.txt").exists()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        build(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        build(tmp_path / "mine.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert build(empty) > 0


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/pages"):
        build(tmp_path / "file" / "pages")


def test_a_copy_of_pyodide_must_be_whole_and_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, pages = tmp_path / "copy", tmp_path / "pages"
    copy.mkdir()
    for name in [*SUMS, NUMPY][:-1]:
        (copy / name).write_text(name)
    with pytest.raises(InputError, match=r"pyodide.mjs is not that of Pyodide 314.0.3"):
        build(pages, copy)
    sums = {n: b64encode(hashlib.sha256(n.encode()).digest()).decode() for n in SUMS}
    monkeypatch.setattr(static, "SUMS", sums)
    with pytest.raises(InputError, match=f"has no {NUMPY}"):
        build(pages, copy)
    assert not pages.exists()
    (copy / NUMPY).write_text("wheel")
    monkeypatch.setattr(static, "NUMPY_SUM", b64encode(hashlib.sha256(b"wheel").digest()).decode())
    build(pages, copy)
    assert (pages / "pyodide" / NUMPY).read_text() == "wheel"
    assert json.loads((pages / MARK).read_text())["base"] == "pyodide/"
