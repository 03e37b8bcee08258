"""Tables for a terminal of 100 columns that are Markdown too, and say what each column is.

The first column has a case in a line of its own, and its variants beneath it. Rows without a
column in common are tables of their own, columns that do not fit go into another one, and a note
stands below its row.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from .results import TIMES, Row

WIDTH = 100
FIRST = "case, variant"
LEAST = len(FIRST)  # of the first column

Columns = Mapping[str, tuple[str, str]]  # an entry of the rows: its heading, and what it is

TIME: Columns = {
    "seconds": ("time", "median of the turns"),
    "spread": ("spread", "half the distance between the quartiles, in % of the median"),
}


def table(rows: Sequence[Row], columns: Columns) -> str:
    """The rows as aligned text, without columns that none of them fills, and what these are."""
    rows = [{**row, "spread": _spread(row)} for row in rows]
    rows = [row for row in rows if row.get("note") or _filled(row, columns)]
    parts = [text for part in _apart(rows, columns) for text in _fitting(part, columns)]
    used = set().union(*(_filled(row, columns) for row in rows))
    legend = [
        line
        for key, (heading, meaning) in columns.items()
        if key in used
        for line in wrap(f"- {heading}: {meaning}", WIDTH, subsequent_indent="  ")
    ]
    return "\n\n".join([*parts, *(["\n".join(legend)] if legend else [])])


def duration(seconds: float) -> str:
    """Seconds as a text of three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{seconds / size:#.3g} {unit}".replace(". ", " ")
    return f"{seconds / 1e-9:#.3g} ns".replace(". ", " ")


def _spread(row: Row) -> float | None:
    seconds, low, high = (row.get(key) or 0.0 for key in TIMES)
    return float(f"{50 * (high - low) / seconds:.2g}") if 0 < low < high else None


def _filled(row: Row, columns: Columns) -> set[str]:
    return {key for key in columns if row.get(key) not in (None, "", False)}


def _apart(rows: list[Row], columns: Columns) -> list[list[Row]]:
    """The rows, those with a column in common together; one that fills none goes with the one
    before it."""
    groups: list[set[str]] = []
    for row in rows:
        keys = _filled(row, columns)
        met = [group for group in groups if group & keys]
        if keys:
            at = groups.index(met[0]) if met else len(groups)
            groups = [group for group in groups if group not in met]
            groups.insert(at, keys.union(*met))
    parts: list[list[Row]] = [[] for _ in groups] or [[]]
    at = 0
    for row in rows:
        keys = _filled(row, columns)
        at = next((i for i, group in enumerate(groups) if group & keys), at)
        parts[at].append(row)
    return [part for part in parts if part]


def _fitting(rows: list[Row], columns: Columns) -> Iterator[str]:
    """The rows with as many columns as fit, then those that have some of the others."""
    used = set().union(*(_filled(row, columns) for row in rows))
    blocks: list[dict[str, tuple[str, str]]] = [{}]
    room = WIDTH - 4 - LEAST
    for key in (key for key in columns if key in used):
        width = 3 + max(3, len(columns[key][0]), *(len(_cell(row, key)) for row in rows))
        if width > room:
            blocks.append({})
            room = WIDTH - 4 - LEAST
        blocks[-1][key] = columns[key]
        room -= width
    yield _aligned(rows, blocks[0])
    for block in blocks[1:]:
        yield _aligned([{**row, "note": ""} for row in rows if _filled(row, block)], block)


def _aligned(rows: list[Row], columns: Columns) -> str:
    keys, heads = list(columns), [heading for heading, _ in columns.values()]
    cells = [[_cell(row, key) for key in keys] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(heads, *cells, strict=True)]
    left = [any(isinstance(row.get(key), str) for row in rows) for key in keys]
    room = WIDTH - 4 - sum(width + 3 for width in widths)
    names = [f"  {_plain(row.get('variant') or '')}" for row in rows]
    first = min(room, max(LEAST, *map(len, names)))
    whole = first + sum(width + 3 for width in widths)

    def line(name: str, texts: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if aligned else text.rjust(width)
            for text, width, aligned in zip(texts, widths, left, strict=True)
        ]
        return f"| {' | '.join([name.ljust(first), *padded])} |"

    def alone(text: str, indent: str) -> list[str]:
        more = indent or "  "
        parts = wrap(_plain(text), WIDTH - 4, initial_indent=indent, subsequent_indent=more)
        return [f"| {part.ljust(whole)} |" for part in parts]

    rule = [
        "-" * width if aligned else "-" * (width - 1) + ":"
        for width, aligned in zip(widths, left, strict=True)
    ]
    lines, case = [line(FIRST, heads), line("-" * first, rule)], None
    for row, name, texts in zip(rows, names, cells, strict=True):
        if row["case"] != case:
            case = row["case"]
            lines += alone(case, "")
        if name.strip() or any(texts):
            head, *more = wrap(name, first, subsequent_indent="    ") or [""]
            lines += [line(head, texts), *(line(text, [""] * len(keys)) for text in more)]
        lines += alone(row.get("note") or "", "    ")
    return "\n".join(lines)


def _plain(text: str) -> str:
    return text.replace("|", "/")


def _cell(row: Row, key: str) -> str:
    value: Any = row.get(key)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float) and math.isfinite(value):
        if key in TIMES or key.endswith("_seconds"):
            return duration(value)
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else _plain(str(value))
