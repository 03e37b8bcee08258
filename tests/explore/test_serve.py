"""The pages on this machine: who may ask, and what becomes of requests that are none."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from threading import Thread
from typing import Any

import pytest

from minireptile import InputError
from minireptile.explore.answer import LONGEST
from minireptile.explore.serve import Server

QUESTION = json.dumps(["plane_loss", {"tasks": [[1, 1]]}])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def request(
    server: Server, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    with closing(HTTPConnection("127.0.0.1", server.server_port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply, reply.read()


def ask(server: Server, body: str = QUESTION, **headers: str) -> tuple[int, str]:
    reply, content = request(server, "POST", "/ask", body, **{"X-Key": server.key, **headers})
    return reply.status, content.decode()


def test_a_question_with_the_key_is_answered(server: Server) -> None:
    status, text = ask(server)
    assert status == 200
    assert json.loads(text)["ok"].keys() == {"off", "loss"}


def test_questions_may_come_together(server: Server) -> None:
    status, text = ask(server, "\n".join([QUESTION, '["nothing", {}]', QUESTION]))
    assert status == 200
    first, wrong, last = map(json.loads, text.split("\n"))
    assert first == last == json.loads(ask(server)[1])
    assert "error" in wrong
    assert ask(server, "\n".join([QUESTION] * 8))[0] == 200
    assert ask(server, "\n".join([QUESTION] * 9)) == (413, "At most 8 questions go together.")


def test_the_address_holds_a_key_of_its_own(server: Server) -> None:
    assert server.url == f"http://127.0.0.1:{server.server_port}/#key={server.key}"
    with Server() as other:
        assert len(other.key) >= 16
        assert other.key != server.key


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Key": ""}, 403),
        ({"X-Key": "guessed"}, 403),
        ({"X-Key": "\xe9"}, 403),
        ({"Host": "example.org"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Origin": "http://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Length": "-1"}, 411),
        ({"Content-Length": "1e3"}, 411),
        ({"Content-Length": "\xb2"}, 411),
        ({"Content-Length": str(LONGEST + 1)}, 413),
        ({"Content-Length": "9" * 40}, 413),
    ],
)
def test_others_may_not_ask(server: Server, headers: dict[str, str], status: int) -> None:
    found, text = ask(server, **headers)
    assert (found, "ok" in text, text.endswith(".")) == (status, False, True)


def test_our_own_page_may_ask_by_both_names(server: Server) -> None:
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{server.server_port}"
        assert ask(server, Host=host, Origin=f"http://{host}")[0] == 200


def test_pages_are_served_from_a_table(server: Server) -> None:
    for path in ("/", "/index.html?x=1", "/plot.js", "/figures/reptile_step.js"):
        reply, content = request(server, "GET", path)
        assert reply.status == 200
        assert content
    assert b'data-engine="local"' in request(server, "GET", "/")[1]
    for path in ("/../setup.py", "/figures", "/sections/reptile.html", "/ask", "/%2e%2e/x"):
        reply, content = request(server, "GET", path)
        assert (reply.status, content.endswith(b".")) == (404, True)
    assert request(server, "GET", "/", Host="example.org")[0].status == 403
    assert request(server, "POST", "/other", "")[0].status == 404
    assert request(server, "PUT", "/ask", "")[0].status == 501


def test_every_reply_forbids_what_a_page_does_not_need(server: Server) -> None:
    for reply, _ in (request(server, "GET", "/"), request(server, "GET", "/nothing")):
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "Python" not in (reply.headers["Server"] or "")


def test_a_connection_serves_many_questions(server: Server) -> None:
    with closing(HTTPConnection("127.0.0.1", server.server_port, timeout=30)) as connection:
        for _ in range(3):
            connection.request("POST", "/ask", QUESTION, {"X-Key": server.key})
            assert connection.getresponse().read().startswith(b'{"ok"')
        assert connection.sock is not None


def test_a_closed_tab_leaves_no_traceback(server: Server, capfd: pytest.CaptureFixture) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.server_port)) as sock:
            head = f"POST /ask HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
            body = QUESTION.encode()
            sock.sendall(
                f"{head}X-Key: {server.key}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            sock.sendall(body)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert ask(server)[0] == 200  # after them, since one answers at a time
    assert capfd.readouterr().err == ""


def test_what_fails_otherwise_is_told_in_a_line(
    server: Server, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(text: str) -> Any:
        raise RuntimeError("of ours")

    monkeypatch.setattr("minireptile.explore.serve.answer", broken)
    with pytest.raises(OSError):
        ask(server)
    assert capfd.readouterr().err == "minireptile: a request failed: RuntimeError('of ours')\n"


def test_a_port_that_cannot_be_had_is_a_sentence(server: Server) -> None:
    for port in (server.server_port, 70_000):
        with pytest.raises(InputError, match=rf"port {port} of this machine: .*--port"):
            Server(port)


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
