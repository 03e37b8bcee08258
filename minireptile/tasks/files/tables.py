"""Small CSV tables that come with a data set."""

import csv
import io
from collections.abc import Sequence

from ...errors import InputError
from .archive import Member, read_text


def read_table(member: Member, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file, with at least the given columns filled in. `InputError` if the file
    is not CSV, a column is missing, or a row is too short."""
    try:
        reader = csv.DictReader(io.StringIO(read_text(member), newline=""), strict=True)
        found = reader.fieldnames or []
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"{member.where} is not a CSV table ({error}): get it again") from error
    missing = [column for column in columns if column not in found]
    if missing:
        raise InputError(
            f"{member.where} has no column {missing[0]!r}: "
            f"its first line must name the columns {', '.join(columns)}"
        )
    for number, row in enumerate(rows, start=1):
        if any(not row[column] for column in columns):
            raise InputError(f"{member.where}: row {number} is incomplete: fill in or remove it")
    return rows
