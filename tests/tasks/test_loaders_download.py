"""Omniglot's download, against a server on this machine."""

from __future__ import annotations

import gc
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from minireptile.errors import InputError
from minireptile.runs import console
from minireptile.tasks.files import download
from minireptile.tasks.files.download import CHECKSUMS, OFFICIAL, download_omniglot

from .loader_data import write_tree

ZIPS = {name: name.encode() * 10_000 for name in CHECKSUMS}
FIRST, SECOND = ZIPS


class Server(HTTPServer):
    """Serves `files`; announces `extra` bytes more than it sends."""

    files: dict[str, bytes]
    asked: list[str]
    extra = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/python"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        folder, _, name = self.path.rpartition("/")
        self.server.asked.append(name)
        if folder != "/python" or name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + self.server.extra))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, content in ZIPS.items():
        monkeypatch.setitem(CHECKSUMS, name, f"md5:{hashlib.md5(content).hexdigest()}")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.files, running.asked = dict(ZIPS), []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()
    gc.collect()  # a connection left open is reported here


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else {}


def test_official_address_and_checksums() -> None:
    assert OFFICIAL.startswith("https://")
    assert OFFICIAL.endswith("/brendenlake/omniglot/master/python")
    assert list(CHECKSUMS) == ["images_background.zip", "images_evaluation.zip"]
    assert all(len(checksum) == len("md5:") + 32 for checksum in CHECKSUMS.values())


def test_download_once_with_a_progress_bar(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(console, "LINE", 0.0)
    target = tmp_path / "new" / "folder"
    assert download_omniglot(target, base_url=server.url) == target
    assert contents(target) == ZIPS
    said = capsys.readouterr().err
    for name, content in ZIPS.items():
        assert f"{name}: {len(content):,}/{len(content):,} bytes" in said
    download_omniglot(target, base_url=server.url, progress=False)
    assert server.asked == [FIRST, SECOND]  # nothing a second time


def test_default_folder_is_the_cache_and_a_damaged_file_there_is_replaced(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path)
    write_tree(tmp_path / "omniglot", {FIRST: b"damaged"})
    assert download_omniglot(base_url=server.url, progress=False) == tmp_path / "omniglot"
    assert contents(tmp_path / "omniglot") == ZIPS


def test_a_users_own_file_is_not_replaced(tmp_path: Path, server: Server) -> None:
    write_tree(tmp_path, {SECOND: b"mine"})
    with pytest.raises(InputError, match=f"{SECOND} is there, but is not the official file"):
        download_omniglot(tmp_path, base_url=server.url, progress=False)
    assert contents(tmp_path)[SECOND] == b"mine"


@pytest.mark.parametrize("failure", ["checksum", "short", "shorter", "missing"])
def test_failures_leave_nothing_half_written(tmp_path: Path, server: Server, failure: str) -> None:
    if failure == "checksum":
        server.files[SECOND] = b"another file"
        message = "wrong checksum"
    elif failure == "short":  # the connection ends before the announced length
        server.files[SECOND] = ZIPS[SECOND][:5000]
        server.extra = 1000
        server.files[FIRST] = ZIPS[FIRST][:-1000]
        message = "the transfer was cut short"
    elif failure == "shorter":  # the server itself has only a part
        server.files[SECOND] = ZIPS[SECOND][:5000]
        message = "wrong checksum"
    else:
        del server.files[SECOND]
        message = "the server answered 404"
    with pytest.raises(InputError, match=message) as caught:
        download_omniglot(tmp_path, base_url=server.url, progress=False)
    assert f"by hand from {server.url}/ and pass --data DIR" in str(caught.value)
    left = {} if failure == "short" else {FIRST: ZIPS[FIRST]}  # whole files may stay
    assert contents(tmp_path) == left


def test_no_connection(tmp_path: Path, server: Server) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=r"\(no connection\).*pass --data DIR"):
        download_omniglot(tmp_path, base_url=url, progress=False)
    assert contents(tmp_path) == {}


def test_a_folder_that_cannot_be_written(tmp_path: Path, server: Server) -> None:
    write_tree(tmp_path, {"file": b""})
    with pytest.raises(InputError, match="the folder cannot be written"):
        download_omniglot(tmp_path / "file" / "below", base_url=server.url, progress=False)
    assert contents(tmp_path) == {"file": b""}
