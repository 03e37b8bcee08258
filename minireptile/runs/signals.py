"""An end that was asked for: the iteration in hand is finished, and the run saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """A signal asked for an end, and the run is saved."""

    def __init__(self, signum: int, iteration: int) -> None:
        super().__init__(signum, iteration)
        self.signum, self.iteration = signum, iteration


@contextmanager
def collected() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; the second one kills as usual."""
    received: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        for s in before:
            signal.signal(s, signal.SIG_DFL)

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for s in before:
        signal.signal(s, note)
    try:
        yield received
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
