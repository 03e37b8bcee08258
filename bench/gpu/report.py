"""What the measurements on a GPU leave: gpu.json with every row, and gpu.md with tables.

Both are written anew as rows come in, so that a run that is ended from outside leaves what it had
measured. Parts that an earlier run left in the same folder stay, unless they are measured again.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from minireptile.errors import InputError
from minireptile.files import write_atomically

from ..results import Row, load, save
from ..tables import Columns, table

EVERY = 2.0  # seconds between two writings while rows come in
SUITE = "gpu"
FAILED: Columns = {"failed": ("failed", "what the note says is wrong")}


class Report:
    """The rows of all parts, and their files in a folder. `parts` has, by name and in order, what a
    part is about, and its columns; the earlier rows of those that are measured `again` go."""

    def __init__(
        self, folder: Path, parts: dict[str, tuple[str, Columns]], again: Iterable[str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.folder, self.parts, self.now = folder, parts, now
        self.rows = self._earlier(set(again))
        self.written = -EVERY

    @property
    def path(self) -> Path:
        return self.folder / f"{SUITE}.json"

    def add(self, part: str, row: Row) -> None:
        """Take a row, and write all if the last time is some seconds ago."""
        self.rows.append({"part": part, **row})
        if self.now() - self.written >= EVERY:
            self.write()

    def note(self, part: str, text: str) -> None:
        """Say in a row of its own why a part, or the rest of it, is not there."""
        self.add(part, {"case": part, "variant": "", "note": text})

    def of(self, part: str) -> list[Row]:
        """The rows of a part."""
        return [row for row in self.rows if row["part"] == part]

    def write(self) -> None:
        """Write both files."""
        save(self.path, SUITE, self.rows)
        write_atomically(self.folder / f"{SUITE}.md", self.text().encode())
        self.written = self.now()

    def text(self) -> str:
        """A table for each part that has rows."""
        texts = ["# On a GPU"]
        for part, (about, columns) in self.parts.items():
            rows = self.of(part)
            if rows:
                texts.append(f"## {part}: {about}\n\n{table(rows, {**columns, **FAILED})}")
        return "\n\n".join(texts) + "\n"

    def _earlier(self, again: set[str]) -> list[Row]:
        with suppress(InputError):
            found = load(self.path)
            if found["suite"] == SUITE:
                return [row for row in found["rows"] if row.get("part") not in again]
        return []
