"""The check of a built site finds what is broken in one, of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs import check

FRONT = """<!doctype html><link rel="stylesheet" href="style.css?v=1"><script src="a.js"></script>
<h1 id="top-of-it">Front</h1><img src="a%20b.png"><a href="kernels/conv2d.html#eq">equation</a>
<a href="#top-of-it">up</a> <a href="https://arxiv.org/abs/1803.02999">paper</a>
<img src="data:image/png;base64,AAAA">"""
OTHER = """<!doctype html><p id="eq"></p><a href="../index.html">back</a>"""
CSS = "@font-face { src: url(a.woff2) } p { background: url('data:image/png;base64,AAAA') }"
INDEX = 'Search.setIndex({"docnames":["kernels/conv2d","x"],"terms":{"im2col":0,"dgamma":[0,1]}})'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two pages with nothing wrong."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "index.html").write_text(FRONT)
    (tmp_path / "kernels" / "conv2d.html").write_text(OTHER)
    (tmp_path / "style.css").write_text(CSS)
    (tmp_path / "searchindex.js").write_text(INDEX)
    for name in ("a.js", "a b.png", "a.woff2"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_whole_site_is_whole(site: Path) -> None:
    assert check.check(site) == []


BROKEN = {
    ("index.html", "kernels/conv2d.html#eq", "kernels/conv.html"): "leads to no file",
    ("index.html", "kernels/conv2d.html#eq", "kernels"): "leads to no file",
    ("index.html", "#eq", "#eq-2"): "leads to no place in its page",
    ("index.html", "#top-of-it", "#bottom"): "leads to no place in its page",
    ("index.html", "a%20b.png", "c.png"): "leads to no file",
    ("index.html", "a.js", "https://cdn.example/a.js"): "is fetched from another host",
    ("index.html", "style.css?v=1", "//cdn.example/a.css"): "is fetched from another host",
    ("style.css", "a.woff2", "a.woff"): "leads to no file",
    ("style.css", "a.woff2", "https://fonts.example/a.woff2"): "is fetched from another host",
    ("kernels/conv2d.html", "../index.html", "index.html"): "leads to no file",
}


@pytest.mark.parametrize("change", BROKEN, ids=" ".join)
def test_one_thing_broken_is_one_thing_said(site: Path, change: tuple[str, str, str]) -> None:
    name, old, new = change
    path = site / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    (said,) = check.check(site)
    assert said.startswith(f"{name}: ")
    assert said.endswith(f"{new} {BROKEN[change]}")


def test_the_search_leads_to_the_page(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "TERMS", {"im2col": "kernels/conv2d", "dgamma": "x"})
    assert check.search(site) == []
    monkeypatch.setattr(check, "TERMS", {"im2col": "x", "eps": "x"})
    assert check.search(site) == [
        "search: im2col does not lead to x, but to ['kernels/conv2d']",
        "search: eps does not lead to x, but to []",
    ]


def test_what_is_wrong_is_said_and_counted(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "TERMS", {"im2col": "kernels/conv2d"})
    assert check.main(site) == 0
    assert capsys.readouterr().out == f"{site}: 2 pages, 0.0 MB, nothing wrong\n"
    (site / "a.js").unlink()
    assert check.main(site) == 1
    assert capsys.readouterr().out.startswith("index.html: a.js leads to no file\n")
