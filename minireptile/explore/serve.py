"""The pages and the engine on this machine alone: HTTP on 127.0.0.1, with a key.

Who may ask: whoever has the key, from a page of ours. Another page that the browser has open knows
neither, and one that resolves its own name to 127.0.0.1 is told by the Host that it asks for.
"""

from __future__ import annotations

import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from ..errors import InputError
from .answer import LONGEST, answer, first_answers
from .article import article, kind

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TOGETHER = 8  # questions of one request
ENGINE = Lock()  # a model belongs to one thread at a time


class Server(ThreadingHTTPServer):
    """Answers on 127.0.0.1; `url` is the address to open, with the key in it.

    Parameters
    ----------
    port : int
        0 for a free one.

    Raises
    ------
    InputError
        If the port is in use, or may not be had.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        first_answers()  # what every figure needs is read and made ready before anybody asks
        self.key = secrets.token_urlsafe(16)
        self.files = {"/" + name: content for name, content in article("local", "").items()}
        self.files["/"] = self.files["/index.html"]
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(
                f"cannot listen on port {port} of this machine: {why}; choose another --port, "
                "or 0 for a free one"
            ) from None
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}
        self.url = f"http://127.0.0.1:{self.server_port}/#key={self.key}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A tab that was closed is no news; what else fails is."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"minireptile: a request failed: {error!r}", file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: Server
    protocol_version = "HTTP/1.1"  # keeps the connection
    disable_nagle_algorithm = True
    timeout = 60
    server_version = "minireptile"
    sys_version = ""

    def do_GET(self) -> None:
        """A file of the page."""
        name = self.path.partition("?")[0]
        found = self.server.files.get(name)
        if not self.ours():
            self.refuse(403, "This page is served to this machine alone.")
        elif found is None:
            self.refuse(404, "There is no such page: open / instead.")
        else:
            self.reply(200, found, kind("index.html" if name == "/" else name))

    def do_POST(self) -> None:
        """Questions to the engine, one a line; the answers come so too."""
        size = self.headers.get("Content-Length", "")
        key = self.headers.get("X-Key", "").encode()
        if self.path != "/ask":
            self.refuse(404, "Questions go to /ask.")
        elif not self.ours() or not secrets.compare_digest(key, self.server.key.encode()):
            self.refuse(403, "The key is not that of this minireptile explore: open the address "
                             "that it printed.")  # fmt: skip
        elif not (size.isascii() and size.isdigit()):
            self.refuse(411, "A question needs a Content-Length.")
        elif len(size) > 9 or int(size) > LONGEST:
            self.refuse(413, f"A question may have {LONGEST:,} bytes.")
        else:
            questions = self.rfile.read(int(size)).decode("utf-8", "replace").split("\n")
            if len(questions) > TOGETHER:
                return self.refuse(413, f"At most {TOGETHER} questions go together.")
            self.reply(200, "\n".join(map(self.answer, questions)).encode(), "text/plain")

    def answer(self, question: str) -> str:
        """An answer, when nobody else is given one."""
        with ENGINE:
            return answer(question)

    def ours(self) -> bool:
        """Whether the request is for this machine by name, and from a page of ours or from none."""
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        hosts = self.server.hosts
        return host in hosts and (origin is None or origin in {f"http://{h}" for h in hosts})

    def refuse(self, status: int, sentence: str) -> None:
        """Answer with a sentence, and end the connection: what else it holds is not read."""
        self.close_connection = True
        self.reply(status, sentence.encode(), "text/plain; charset=utf-8")

    def reply(self, status: int, body: bytes, content: str) -> None:
        """Send an answer, with the policy that lets a page load nothing from elsewhere."""
        self.send_response(status)
        for name, value in {
            "Content-Type": content,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            **({"Connection": "close"} if self.close_connection else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not told of."""
