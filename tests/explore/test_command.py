"""`minireptile explore`, as it is typed."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from minireptile.cli import main
from minireptile.explore import computes, serve
from minireptile.explore.static import MARK


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was asked to open; the server ends at once, as by Ctrl-C."""
    found: list[str] = []

    def open_(url: str) -> bool:
        found.append(url)
        return True

    def interrupt(self: serve.Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(webbrowser, "open", open_)
    monkeypatch.setattr(serve.Server, "serve_forever", interrupt)
    monkeypatch.setattr(computes, "prepare", lambda wanted: found.append(f"by {wanted}"))
    return found


def test_the_address_is_printed_and_opened(
    opened: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(["explore", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("pages: http://127.0.0.1:")
    assert opened == ["by numpy", out.split()[1]]


def test_without_a_browser_the_address_is_all(
    opened: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["explore", "--no-browser"]) == 0
    assert opened == ["by auto"]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    assert main(["explore"]) == 0
    assert "no browser was found here" in capsys.readouterr().err


def test_a_port_in_use_and_a_copy_for_nothing_are_told(
    capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    with serve.Server() as server:
        assert main(["explore", "--port", str(server.server_port)]) == 2
    assert f"cannot listen on port {server.server_port}" in capsys.readouterr().err
    assert main(["explore", "--pyodide", str(tmp_path)]) == 2
    assert "--pyodide is for --static DIR" in capsys.readouterr().err


def test_a_folder_of_pages_is_written(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    assert main(["explore", "--static", str(folder)]) == 0
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert f"pages: {folder}, {size / 1e6:.1f} MB" in capsys.readouterr().out
    assert main(["explore", "--static", str(folder), "--pyodide", str(tmp_path)]) == 2
    assert "has no pyodide.mjs" in capsys.readouterr().err
    assert (folder / MARK).is_file()


def test_numba_takes_over_when_its_cache_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Done:
        returncode = 0

    def run(command: list[str], **_: object) -> Done:
        asked.append(command)
        return Done()

    monkeypatch.setattr(computes, "_ready", "numpy")
    monkeypatch.setattr(computes.subprocess, "run", run)
    monkeypatch.setattr(computes, "run_through", lambda name: None)
    monkeypatch.setattr(computes, "why_not", lambda backend: "")
    assert computes.prepare("numpy") is None
    thread = computes.prepare("auto")
    assert thread is not None
    thread.join()
    assert computes.backend() == "numba"
    assert "fill('numba')" in asked[0][-1]

    monkeypatch.setattr(computes, "_ready", "numpy")
    monkeypatch.setattr(Done, "returncode", 1)  # it could not be compiled
    thread = computes.prepare("numba")
    assert thread is not None
    thread.join()
    assert computes.backend() == "numpy"

    monkeypatch.setattr(computes, "why_not", lambda backend: "it is not installed")
    assert computes.prepare("auto") is None
