"""The parts of a command, each said with the time that it took, and all of them at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from . import console
from .console import duration

NAME = 11  # columns of a name, here and in the header


@dataclass
class Part:
    """What is said at its end; both may become clear on the way."""

    name: str
    detail: str = ""


class Phases:
    """Times the parts of a command."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.took: dict[str, float] = {}

    @contextmanager
    def part(self, name: str, waiting: str = "", said: bool = True) -> Iterator[Part]:
        """Time what is inside and, unless it fails or is not `said`, say it in a line. A terminal
        shows `waiting` in the meantime, for a part without a bar."""
        part, began = Part(name), time.perf_counter()
        with console.waiting(waiting) if waiting else nullcontext():
            yield part
        self.took[part.name] = time.perf_counter() - began
        if said:
            time_taken = duration(self.took[part.name])
            console.say(f"{part.name:<{NAME}}{time_taken:<10}{part.detail}".rstrip())

    def total(self) -> None:
        """Say what all of it took, and the parts."""
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.took.items())
        console.say(f"{duration(time.perf_counter() - self.began)} in all: {parts}")
