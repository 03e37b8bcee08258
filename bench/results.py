"""Result files: JSON with rows of numbers and the machine that they come from."""

import json
import math
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from minireptile.errors import InputError
from minireptile.files import write_atomically

from .machine import describe
from .measure import Timing

FORMAT = 1
NAMES = ("case", "variant")
TIMES = ("seconds", "low", "high")

Row = dict[str, Any]  # flat; "case" and "variant" are texts, TIMES are in seconds


def timed(case: str, variant: str, timing: Timing, **more: Any) -> Row:
    """A row with the numbers of a timing."""
    times = {"seconds": timing.median, "low": timing.low, "high": timing.high}
    return {"case": case, "variant": variant, **times, "calls": timing.calls, **more}


def save(path: str | Path, suite: str, rows: list[Row]) -> None:
    """Write the rows of a suite, atomically, with the machine, the date and the commit.
    `InputError` if the file cannot be written."""
    commit = _commit()
    content = {
        "format": FORMAT,
        "suite": suite,
        "machine": describe(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **({"commit": commit} if commit else {}),
        "rows": rows,
    }
    text = json.dumps(content, indent=1, default=lambda number: number.item())
    write_atomically(Path(path), (text + "\n").encode())


def load(path: str | Path) -> dict[str, Any]:
    """Read a file that `save` wrote: "format", "suite", "machine", "date", perhaps "commit", and
    "rows". `InputError` if there is no such file, or it holds something else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not JSON: give a file that python -m bench wrote") from None
    problem = _problem(content)
    if problem:
        raise InputError(f"{path} is not a result file of python -m bench: {problem}")
    return content


def _problem(content: Any) -> str:
    """What is wrong with the content of a result file; empty if nothing is."""
    if not isinstance(content, dict):
        return "it does not hold an object"
    if content.get("format") != FORMAT:
        return f"its format is {content.get('format')!r}, not {FORMAT}"
    for key, kind in {"suite": str, "machine": dict, "date": str, "rows": list}.items():
        if not isinstance(content.get(key), kind):
            return f"{key!r} is missing or of the wrong type"
    for i, row in enumerate(content["rows"]):
        named = isinstance(row, dict) and all(isinstance(row.get(k), str) for k in NAMES)
        if not named:
            return f"row {i} has no case and variant"
        for key in TIMES:
            value = row.get(key, None)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < math.inf):
                return f"row {i}: {key!r} is not a positive number of seconds"
    return ""


def _commit() -> str:
    """What git calls the source, if it is a git checkout and git is there."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent,
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
