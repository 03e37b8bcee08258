"""The folder my/: copies of the stubs to write in, and what has passed so far."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from minireptile.errors import InputError
from minireptile.files import write_atomically

from .record import Exercise

STUBS = Path(__file__).parent / "stubs"


class Folder:
    """A learner's folder. Nothing in it is ever deleted; progress.json can be, at no loss."""

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if path.is_file() else error.strerror or str(error)
            raise InputError(
                f"{path} should be a folder, for what you write, and cannot be made: {reason}"
            ) from None
        self.path, self.state = path, path / "progress.json"
        self.passed: dict[str, str] = {}  # by exercise, which text of the file passed
        self.hints: dict[str, int] = {}  # how many were given
        self._remember()

    def _remember(self) -> None:
        try:
            kept = json.loads(self.state.read_text(encoding="utf-8"))
            self.passed = {str(n): str(h) for n, h in kept["passed"].items()}
            self.hints = {str(n): int(h) for n, h in kept["hints"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self.passed, self.hints = {}, {}  # all is checked again

    def _keep(self) -> None:
        text = json.dumps({"passed": self.passed, "hints": self.hints}, indent=1)
        write_atomically(self.state, text.encode())

    def file(self, exercise: Exercise) -> Path:
        """The learner's file of this exercise; the stub if it is not there yet."""
        path = self.path / f"{exercise.name}.py"
        if not path.exists():
            self._copy(STUBS / path.name, path)
        return path

    def _copy(self, source: Path, to: Path) -> None:
        try:
            shutil.copyfile(source, to)
        except OSError as error:
            raise InputError(f"cannot write {to}: {error.strerror or error}") from None

    def _hash(self, exercise: Exercise) -> str:
        try:
            text = (self.path / f"{exercise.name}.py").read_bytes()
        except OSError:
            return ""
        return hashlib.sha256(text).hexdigest()

    def has_passed(self, exercise: Exercise) -> bool:
        """Whether the file, as it is now, has passed its check."""
        return bool(self._hash(exercise)) and self.passed.get(exercise.name) == self._hash(exercise)

    def note_passed(self, exercise: Exercise, passed: bool) -> None:
        """Remember it."""
        before = dict(self.passed)
        self.passed.pop(exercise.name, None)
        if passed:
            self.passed[exercise.name] = self._hash(exercise)
        if self.passed != before:
            self._keep()

    def current(self, course: Sequence[Exercise]) -> Exercise | None:
        """The first that has not passed."""
        return next((e for e in course if not self.has_passed(e)), None)

    def next_hint(self, exercise: Exercise) -> int:
        """How many hints to show: one more than the last time."""
        many = min(self.hints.get(exercise.name, 0) + 1, len(exercise.hints))
        self.hints[exercise.name] = many
        self._keep()
        return many

    def reset(self, exercise: Exercise) -> Path | None:
        """The stub again. What was written is kept beside it, at the path returned."""
        path, kept = self.path / f"{exercise.name}.py", None
        if path.exists():
            every = (path.with_name(f"{path.name}.{number}") for number in count(1))
            kept = next(p for p in every if not p.exists())
            self._copy(path, kept)
        self._copy(STUBS / path.name, path)
        self.passed.pop(exercise.name, None)
        self.hints.pop(exercise.name, None)
        self._keep()
        return kept
