"""Tables, bars and lines: plain where they are piped, within the width where they are not."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace

import pytest

from minireptile.runs import console

ROWS = [
    ["run", "iterations", "accuracy", "data"],
    ["runs/[red]one[/red]", "6,000", "97.12 ± 0.30", "glyphs"],
    ["two", "400", "-", "omniglot"],
]


class Terminal(io.StringIO):
    """Somebody reads it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def in_terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 60) -> Terminal:
    """Make both streams one terminal, without colours. In the test: pytest sets its own before."""
    shared = Terminal()
    settings = {"COLUMNS": str(columns), "LINES": "20", "TERM": "xterm", "NO_COLOR": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", shared)
    monkeypatch.setattr(sys, "stderr", shared)
    return shared


def plain(text: str) -> list[str]:
    """The lines without their control sequences, a bar redrawn on a line of its own."""
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", text).replace("\r", "\n").splitlines()


def test_a_piped_table_is_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Names to the left, figures to the right, brackets as they are, and nothing at line ends."""
    console.table(ROWS, "a title", "a note")
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "a title",
        "run                  iterations      accuracy  data",
        "runs/[red]one[/red]       6,000  97.12 ± 0.30  glyphs",
        "two                         400             -  omniglot",
        "(a note)",
    ]
    assert captured.err == ""


@pytest.mark.parametrize("columns", [30, 60, 80])
def test_no_table_is_wider_than_its_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = in_terminal(monkeypatch, columns)
    console.table([*ROWS, ["a/very/long/folder/" * 6, "1", "2", "mini"]], "a long title " * 9)
    lines = plain(terminal.getvalue())
    assert max(map(len, lines)) <= columns
    assert "".join(lines).count("─") >= 10
    if columns == 80:
        assert any("97.12 ± 0.30" in line for line in lines)


def test_a_piped_table_is_not_wider_than_80(capsys: pytest.CaptureFixture[str]) -> None:
    console.table([["a", "b"], ["word " * 40, "1"]])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test sets."""
    now = SimpleNamespace(at=100.0)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now.at))
    return now


def test_a_piped_bar_is_a_line_now_and_then(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each ten seconds, with the time that is left at the rate of the last half minute."""
    with console.progress(100, "training", "tasks", done=20) as bar:
        for _ in range(70):
            clock.at += 1.0
            bar.update(1, {"loss": f"{bar.done / 100:.2f}"})
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[0] == "training: 30/100 tasks, 1:10 min left, loss 0.29"
    assert [line[10:12] for line in lines] == ["30", "40", "50", "60", "70", "80", "90"]
    assert lines[-1] == "training: 90/100 tasks, 10 s left, loss 0.89"
    assert not {"\x1b", "\r"} & {*captured.err}
    assert captured.out == ""


def test_the_time_left_forgets_what_was_slow(clock: SimpleNamespace) -> None:
    """Steps of 100 seconds do not count once half a minute of quick ones has gone by."""
    bar = console.Bar(10_000, "training", "", 0)
    assert bar.left == ""
    for seconds in [100.0] * 3 + [0.5] * 80:
        clock.at += seconds
        bar.update()
    assert bar.rate == pytest.approx(2.0)


def test_a_bar_in_a_terminal(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, redrawn at most four times a second and gone at the end, the cursor with it."""
    terminal = in_terminal(monkeypatch)
    with console.progress(1000, "training") as bar:
        for _ in range(1000):
            clock.at += 0.01
            bar.update(1, {"loss": "0.500"})
    text = terminal.getvalue()
    drawn = [line.rstrip() for line in plain(text) if "loss" in line]
    assert 10 <= len(set(drawn)) <= 41
    assert max(map(len, plain(text))) <= 60
    assert drawn[-1].endswith("1,000/1,000  loss 0.500")
    assert "training ━" in drawn[-1]
    assert text.index("\x1b[?25l") < text.rindex("\x1b[?25h")  # hidden, and shown again
    assert text.endswith("\x1b[2K")  # and the line erased


def test_a_quiet_bar_says_nothing(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = in_terminal(monkeypatch)
    with console.progress(10, "evaluating", quiet=True) as bar:
        clock.at += 1000
        bar.update(10)
    assert terminal.getvalue() + capsys.readouterr().err == ""


def test_each_item_moves_the_bar(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    for item in console.each("abc", "baseline"):
        seen.append(item)
        clock.at += 11
    assert seen == ["a", "b", "c"]
    assert [line[:13] for line in capsys.readouterr().err.splitlines()] == [
        f"baseline: {n}/3" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"), (0.94, "0.9 s"), (0.96, "1 s"), (9.4, "9 s"), (59.4, "59 s"),
        (59.6, "1:00 min"), (205, "3:25 min"), (3599.6, "1:00 h"), (7625, "2:07 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert console.duration(seconds) == said
