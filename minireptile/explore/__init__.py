"""The pages, and what answers them: `minireptile explore`, on this machine or in any browser.

A page asks, the engine answers; no page computes a gradient. A question is one JSON text,
`["plane_step", {"theta": [1.3, 1.0], ...}]`, and so is the answer, `{"ok": {...}}` or
`{"error": "a sentence"}`. `serve` carries them over HTTP on 127.0.0.1, `page/worker.js` to Pyodide.
"""

from __future__ import annotations

import sys

from .answer import answer as answer


def show(port: int = 0, backend: str = "auto", browser: bool = True) -> None:
    """Serve the pages on this machine until Ctrl-C, and open a browser if there is one.

    Parameters
    ----------
    port : int
        Of 127.0.0.1; 0 for a free one.
    backend : {"auto", "numpy", "numba"}
        Who computes what is large; see `computes`.
    browser : bool
        Open it; the address is printed in any case.

    Raises
    ------
    InputError
        If the port cannot be had.
    """
    import webbrowser

    from .computes import prepare
    from .serve import Server

    with Server(port) as server:
        print(f"pages: {server.url}\nCtrl-C ends it", flush=True)
        prepare(backend)
        if browser and not webbrowser.open(server.url):
            print("no browser was found here: open the address in one", file=sys.stderr)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
