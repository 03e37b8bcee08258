"""One part of the measurements on a GPU, in a process of its own.

    python -m bench.gpu.part NAME OPTIONS

OPTIONS is a JSON object. Each row of the part is a line of JSON on what was stdout; whatever else
is printed goes to stderr.
"""

import json
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from ..child import answering, sentence
from ..results import Row


@dataclass(frozen=True)
class Context:
    """What a part is told."""

    quick: bool  # small sizes
    rounds: int  # turns of each variant
    seconds: float  # how long the part may take, from `begin` on
    out: str  # where the files go
    begin: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds that are left of the part's time."""
        return self.begin + self.seconds - time.monotonic()

    @property
    def folder(self) -> Path:
        return Path(self.out)


def rows_of(name: str, context: Context) -> Iterator[Row]:
    """The rows of a part; an exception becomes a row that says so."""
    from .parts import PARTS

    try:
        yield from import_module(f"bench.gpu.{PARTS[name].module}").run(context)
    except Exception as error:
        traceback.print_exc()
        yield {"case": name, "variant": "", "failed": True, "note": sentence(error)}


def main(arguments: list[str]) -> None:
    """Measure, and write the rows."""
    name, options = arguments
    with answering() as answer:
        for row in rows_of(name, Context(**json.loads(options))):
            answer(row)


if __name__ == "__main__":
    main(sys.argv[1:])
