"""Two result files of one suite: what got slower, and what got faster."""

from pathlib import Path
from typing import Any

from minireptile.errors import InputError

from .results import Row, load
from .tables import Columns, table

LEAST = 0.05  # a smaller change is none
COLUMNS: Columns = {
    "old_seconds": ("old", "median time in the first file"),
    "new_seconds": ("new", "median time in the second file"),
    "ratio": ("ratio", "new over old"),
    "change": ("change", "where it is clear: the quartiles do not overlap, and it is above 5 %"),
}

Key = tuple[str, str]


def compare(old: Path, new: Path) -> tuple[str, bool]:
    """Compare the times of two result files of one suite, row by row: a text, in which differences
    of the machines come first, and whether anything got slower. `InputError` if a file is no result
    file, or they belong to different suites, or hold nothing to compare.

    "slower" and "faster" are said only where the quartile ranges do not overlap and the medians
    differ by more than 5 %.
    """
    before, after = load(old), load(new)
    if before["suite"] != after["suite"]:
        raise InputError(
            f"{old} measures {before['suite']!r} and {new} measures {after['suite']!r}: "
            "give two files of one suite"
        )
    times = _times(before["rows"], old), _times(after["rows"], new)
    common = [key for key in times[0] if key in times[1]]
    if not common:
        raise InputError(f"{old} and {new} have no case and variant in common")
    rows = [_change(key, times[0][key], times[1][key]) for key in common]
    parts = [*_differences(before["machine"], after["machine"]), table(rows, COLUMNS)]
    for path, here in ((old, times[0]), (new, times[1])):
        alone = [key for key in here if key not in common]
        if alone:
            parts.append(f"only in {path}: " + "; ".join(map(" / ".join, alone)))
    count = {word: sum(row["change"] == word for row in rows) for word in ("slower", "faster")}
    parts.append(f"{count['slower']} slower, {count['faster']} faster, of {len(rows)}")
    return "\n\n".join(parts), count["slower"] > 0


def _times(rows: list[Row], path: Path) -> dict[Key, Row]:
    """The rows that hold times, by case and variant."""
    found: dict[Key, Row] = {}
    for row in rows:
        if row.get("seconds") is None:
            continue
        key = row["case"], row["variant"]
        if key in found:
            raise InputError(f"{path} has two rows for {' / '.join(key)}: measure again")
        found[key] = row
    return found


def _change(key: Key, old: Row, new: Row) -> Row:
    ratio = new["seconds"] / old["seconds"]
    change = ""
    if ratio > 1 + LEAST and _low(new) > _high(old):
        change = "slower"
    elif 1 / ratio > 1 + LEAST and _high(new) < _low(old):
        change = "faster"
    return {
        "case": key[0], "variant": key[1], "ratio": ratio, "change": change,
        "old_seconds": float(old["seconds"]), "new_seconds": float(new["seconds"]),
    }  # fmt: skip


def _low(row: Row) -> float:
    return row["seconds"] if row.get("low") is None else row["low"]


def _high(row: Row) -> float:
    return row["seconds"] if row.get("high") is None else row["high"]


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One paragraph that says how the machines differ, or none. The load is not part of one."""
    lines = [
        f"- {key}: {old.get(key)} before, {new.get(key)} now"
        for key in {**old, **new}
        if key != "load" and old.get(key) != new.get(key)
    ]
    heading = "The machines differ, so the ratios compare machines as well as code:"
    return ["\n".join([heading, *lines])] if lines else []
