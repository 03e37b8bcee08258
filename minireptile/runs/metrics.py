"""The metrics of a run: one JSON object a line, appended as the run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_atomically

Record = dict[str, Any]


def append(path: Path, record: Record) -> None:
    """Add a line; `InputError` if it cannot be written."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; the run is saved up to its last "
            "checkpoint: free some space, then continue with: minireptile resume"
        ) from error


def read(path: Path) -> list[Record]:
    """All records, none without a file; a last line cut short by a crash is left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            record["iteration"] + 0
            records.append(record)
        except (ValueError, TypeError, KeyError):
            if number < len(lines):
                raise InputError(f"{path}, line {number} is not a record of a run") from None
    return records


def rewind(path: Path, iteration: int) -> list[Record]:
    """Drop what lies after `iteration`, so that a resumed run does not write it twice."""
    kept = [r for r in read(path) if r["iteration"] <= iteration and "test" not in r]
    write_atomically(path, "".join(json.dumps(r) + "\n" for r in kept).encode())
    return kept
