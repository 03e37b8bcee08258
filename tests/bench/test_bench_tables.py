"""The tables of all suites, from made-up results: they fit a terminal, and say what they show."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from bench import compare, tables
from bench.__main__ import SUITES
from bench.gpu import parts as gpu
from bench.gpu import report as gpu_report
from bench.measure import Timing
from bench.results import Row, timed
from bench.tables import TIME, Columns, table
from minireptile.runs.presets import PRESETS

EVERY: dict[str, Columns] = {
    "compare": compare.COLUMNS,
    **{name: import_module(f"bench.{module}").COLUMNS for name, module in SUITES.items()},
    **{
        f"gpu {name}": {**columns, **gpu_report.FAILED}
        for name, (_, columns) in gpu.described().items()
    },
}
CASES = (
    "omniglot 5x5x10",
    "mini-imagenet conv2d_backward 84x84x32->84x84x32",
    f"accuracy {max(PRESETS, key=len)}",
)
VARIANTS = ("numba v2", "PyTorch max-autotune, CUDA graph, TF32, 16 threads")
NOTE = "Mismatch: conv2d_backward is off, the worst at [1, 2]: 3.0 where 1.0 was expected. " * 4


def made_up(columns: Columns) -> list[Row]:
    """Rows that fill every column, with numbers as wide as they come."""
    wide: dict[str, Any] = {key: -1.234e-5 if "difference" in key else 0.01234 for key in columns}
    wide |= dict.fromkeys({*columns} & {"passed", "failures", "skipped", "tasks"}, 10_000)
    wide |= dict.fromkeys({*columns} & {"in_use", "failed"}, True)
    wide |= {"iterations": 100_000, "accuracy": 97.68, "paper": 97.68, "change": "slower"}
    times = Timing(0.0123, 0.0111, 0.0199, 7)
    return [
        {**timed(case, variant, times, **wide), "seconds": 0.0123, "note": note}
        for case in CASES
        for variant in VARIANTS
        for note in ("", NOTE)
    ]


@pytest.mark.parametrize("name", EVERY)
def test_a_table_fits_a_terminal_and_explains_each_column(name: str) -> None:
    columns = EVERY[name]
    text = table(made_up(columns), columns)
    assert max(map(len, text.splitlines())) <= 100
    *parts, legend_text = text.split("\n\n")
    lines = "\n".join(parts).splitlines()
    headings = []
    for part in parts:
        first, *others = (cell.strip() for cell in part.splitlines()[0].strip("| ").split("|"))
        assert first == "case, variant"
        headings += others
    assert headings == [heading for heading, _ in columns.values()]
    assert len(set(headings)) == len(headings)
    legend = legend_text.replace("\n  ", " ").splitlines()
    assert legend == [f"- {heading}: {meaning}" for heading, meaning in columns.values()]
    assert all(len(meaning) > 7 for _, meaning in columns.values())
    for said in (*CASES, "numba v2"):
        assert any(said in line for line in lines)
    notes = " ".join(" ".join(lines).replace("|", " ").split())
    assert notes.count(" ".join(NOTE.split())) == len(CASES) * len(VARIANTS)


def test_a_table_is_aligned_markdown() -> None:
    rows: list[Row] = [
        {"case": "a", "variant": "v1", "seconds": 0.00123, "n": 1234},
        {"case": "a", "variant": "v2 | w", "seconds": 12.0, "low": 11.0, "high": 13.5, "t": "so"},
        {"case": "b", "variant": "", "note": "nothing"},
    ]
    columns = {"seconds": TIME["seconds"], "n": ("count", "of it"), "t": ("text", "a word"),
               "spread": TIME["spread"], "never": ("never", "filled")}  # fmt: skip
    assert table(rows, columns).splitlines() == [
        "| case, variant |    time | count | text | spread |",
        "| ------------- | ------: | ----: | ---- | -----: |",
        "| a                                               |",
        "|   v1          | 1.23 ms | 1,234 |      |        |",
        "|   v2 / w      |  12.0 s |       | so   |     10 |",
        "| b                                               |",
        "|     nothing                                     |",
        "",
        "- time: median of the turns",
        "- count: of it",
        "- text: a word",
        "- spread: half the distance between the quartiles, in % of the median",
    ]


def test_rows_without_a_column_in_common_are_tables_of_their_own() -> None:
    columns = {name: (name, "what it is") for name in "abcd"}
    rows: list[Row] = [
        {"case": "1", "variant": "v", "a": 1, "b": 2},
        {"case": "2", "variant": "v", "d": 3},
        {"case": "3", "variant": "v", "note": "beside the one before"},
        {"case": "4", "variant": "v", "b": 4, "c": 5},
        {"case": "5", "variant": "v", "hidden": 6},
    ]
    first, second, legend = table(rows, columns).split("\n\n")
    assert first.splitlines()[0] == "| case, variant |   a |   b |   c |"
    assert second.splitlines()[0] == "| case, variant |   d |"
    assert [line[2] for line in first.splitlines()[2::2]] == ["1", "4"]
    assert "beside the one before" in second
    assert "hidden" not in first + second
    assert len(legend.splitlines()) == 4


def test_two_tables_become_one_where_a_row_fills_columns_of_both() -> None:
    columns = {name: (name, "what it is") for name in "ab"}
    rows = [{"case": k, "variant": "", **dict.fromkeys(k, 1)} for k in ("a", "b", "ab")]
    assert table(rows, columns).splitlines()[0] == "| case, variant |   a |   b |"


def test_notes_alone_are_a_table() -> None:
    rows = [{"case": "card", "variant": "", "note": "skipped"}]
    assert table(rows, TIME).splitlines() == [
        "| case, variant |", "| ------------- |", "| card          |", "|     skipped   |",
    ]  # fmt: skip


def test_a_long_name_goes_on_below() -> None:
    columns = {f"c{i}": (f"column {i}", "a number") for i in range(7)}
    row = {"case": "c", "variant": "one two three four five", **dict.fromkeys(columns, 1)}
    lines = table([row], columns).splitlines()
    assert lines[3].startswith("|   one two three     |        1 |")
    assert lines[4].startswith("|     four five       |          |")
    assert {len(line) for line in lines[:5]} == {100}


def test_columns_that_do_not_fit_go_into_another_table() -> None:
    columns = {f"c{i}": (f"column {i}", "a number") for i in range(9)}
    rows = [
        {"case": "all", "variant": "v", "note": "once", **dict.fromkeys(columns, 1)},
        {"case": "few", "variant": "w", "c0": 2},
    ]
    first, second, _ = table(rows, columns).split("\n\n")
    assert [part.splitlines()[0].count("column") for part in (first, second)] == [7, 2]
    assert first.count("once") == 1
    assert "few" in first
    assert "few" not in second
    assert "once" not in second


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(123.4, "123 s"), (1.0, "1.00 s"), (0.9994, "999 ms"), (0.0012345, "1.23 ms"),
     (99.95e-6, "100 us"), (1e-6, "1.00 us"), (999e-9, "999 ns"), (1.5e-9, "1.50 ns")],
)  # fmt: skip
def test_a_duration_has_three_digits_and_a_unit(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("seconds", 0.25, "250 ms"), ("low", 0.25, "250 ms"), ("high", 0.25, "250 ms"),
        ("first_seconds", 2.0, "2.00 s"), ("share", 0.25, "0.25"), ("gbs", 999.4, "999"),
        ("gbs", 1000.0, "1,000"), ("gbs", -1234.6, "-1,235"), ("bytes", 1234567, "1,234,567"),
        ("in_use", True, "yes"), ("in_use", False, ""), ("ratio", None, ""),
        ("ratio", float("inf"), "inf"), ("note", "a|b", "a/b"),
    ],
)  # fmt: skip
def test_a_cell_shows_its_value(key: str, value: Any, text: str) -> None:
    row = {"case": "", "variant": "", key: value, "other": 1}
    lines = table([row], {key: ("it", "what it is"), "other": ("other", "a number")}).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == (["", text, "1"] if text else ["", "1"])
