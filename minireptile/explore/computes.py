"""Who computes the larger figures: NumPy, until Numba is compiled in the background.

The compiler holds Python's lock for seconds, so that another process fills Numba's cache, at the
lowest priority; then a thread loads from it, once through every figure. No figure waits for either.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextvars import ContextVar
from threading import Thread

from ..backend import why_not

_ready = "numpy"
_here: ContextVar[str | None] = ContextVar("backend", default=None)


def backend() -> str:
    """The backend to compute with."""
    return _here.get() or _ready


def prepare(wanted: str = "auto") -> Thread | None:
    """Have the figures computed by a backend from the moment that it is ready.

    Parameters
    ----------
    wanted : {"auto", "numpy", "numba"}
        "auto" is Numba where it can be used.

    Returns
    -------
    Thread or None
        What prepares it, if anything is to be prepared.
    """
    if wanted == "numpy" or (wanted == "auto" and why_not("numba")):
        return None
    thread = Thread(target=_change_to, args=("numba",), daemon=True)
    thread.start()
    return thread


def _change_to(name: str) -> None:
    global _ready
    fill = [sys.executable, "-c", f"from {__name__} import fill; fill({name!r})"]
    if subprocess.run(fill, capture_output=True, check=False).returncode:
        return  # NumPy goes on, as it would without Numba
    run_through(name)
    _ready = name


def run_through(name: str) -> None:
    """Compute every figure as it begins, by a backend."""
    from .answer import first_answers

    _here.set(name)
    first_answers()


def fill(name: str) -> None:
    """Fill the backend's cache, and let everybody else go first."""
    if hasattr(os, "nice"):
        os.nice(10)
    run_through(name)
