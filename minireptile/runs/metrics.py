"""The metrics of a run: one JSON object a line, appended as the run goes on."""

import json
from collections.abc import Callable
from operator import index
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_atomically

Record = dict[str, Any]


def append(path: Path, record: Record) -> None:
    """Add a line; `InputError` if it cannot be written."""
    try:
        with open(path, "ab") as file:
            file.write(f"{json.dumps(record)}\n".encode())
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; the run is saved up to its last "
            "checkpoint: free some space, then continue with: minireptile resume"
        ) from error


def read(path: Path, values: Callable[[Record], Any]) -> list[Record]:
    """All records, none without a file; a last line cut short by a crash is left out. `values`
    reads the figures of an evaluation: `Measure.values` of the run's tasks. `InputError` if the
    file cannot be read, or a line is not a record of such a run."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_checked(json.loads(line), values))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                break
            raise InputError(
                f"{path}, line {number} is not a record of this run: remove the line, or restore "
                "the file from a copy"
            ) from None
    return records


def _checked(record: Record, values: Callable[[Record], Any]) -> Record:
    """The record itself, if every figure in it can be read."""
    float(index(record["iteration"]))
    for name in record.keys() & {"loss", "epsilon", "seconds"}:
        float(record[name])
    for name in record.keys() & {"running", "test"}:
        values(record[name])
    return record


def rewind(path: Path, iteration: int, values: Callable[[Record], Any]) -> float:
    """Drop what lies after `iteration`, so that a resumed run does not write it twice, and the
    tests, which come at its end. Returns the seconds that the run had taken by then."""
    kept = [r for r in read(path, values) if r["iteration"] <= iteration and "test" not in r]
    write_atomically(path, "".join(json.dumps(r) + "\n" for r in kept).encode())
    return max((float(r.get("seconds", 0.0)) for r in kept), default=0.0)
