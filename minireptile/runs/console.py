"""What a person reads while a command works: tables, bars and lines.

By rich where a terminal reads it. Where it goes to a file or a pipe: plain lines without a control
character, and a line on the progress now and then.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import require

REDRAWS = 4  # of a bar in a terminal, a second
LINE = 10.0  # seconds between two lines in a file,
STEADY = 30.0  # and that the rate is of, which the remaining time follows from,
PARTS = 20  # by so many looks at the clock

Item = TypeVar("Item")


def out() -> Any:
    """The console on stdout, whatever that is now."""
    return _console(stderr=False)


def err() -> Any:
    """The console on stderr, for what is not the answer: bars, phases, warnings."""
    return _console(stderr=True)


def _console(stderr: bool) -> Any:
    made = require("rich.console", "cli").Console(stderr=stderr, highlight=False, markup=False)
    made.soft_wrap = not made.is_terminal  # a line of a file stays one line
    return made


def say(text: str, style: str = "", stderr: bool = False) -> None:
    """A line, broken where a terminal ends."""
    (err() if stderr else out()).print(text, style=style or None)


def table(
    rows: Sequence[Sequence[str]], title: str = "", note: str = "", whole: bool = False
) -> None:
    """Print a small table on stdout, with a line above (title) and one below (note). The first row
    is the head; a column of figures is set to the right. `whole`: where it is piped, a row stays
    one line, however long."""
    console = out()
    head, *body = rows
    grid = require("rich.table", "cli").Table(
        box=require("rich.box", "cli").SIMPLE_HEAD if console.is_terminal else None,
        show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold",
    )  # fmt: skip
    text = require("rich.text", "cli").Text
    for i, name in enumerate(head):
        cells = [row[i] for row in body]
        figures = i > 0 and all(not c or c.lstrip("+-±")[:1].isdigit() or c == "-" for c in cells)
        grid.add_column(text(name), justify="right" if figures else "left", overflow="fold")
    for row in body:
        grid.add_row(*map(text, row))
    if title:
        say(title, style="bold")
    if console.is_terminal:
        console.print(grid)
    else:  # rich fills its lines with spaces
        console.width = 10_000 if whole else console.width
        with console.capture() as captured:
            console.print(grid, soft_wrap=False)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))
    if note:
        say(f"({note})", style="dim")


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show in a terminal that something is going on of which nobody knows how far it is."""
    console = err()
    if not console.is_terminal:
        yield
        return
    spinner = require("rich.spinner", "cli").Spinner("dots", text)
    with require("rich.live", "cli").Live(
        spinner, console=console, refresh_per_second=REDRAWS, transient=True, redirect_stdout=False
    ):
        yield


class Bar:
    """How far something is. `update` is cheap: the clock decides what comes of it."""

    def __init__(self, total: int, name: str, unit: str, done: int) -> None:
        self.total, self.name, self.unit, self.done = total, name, unit, done
        self.fields: dict[str, str] = {}
        now = time.monotonic()
        self.drawn = now
        self.looks = deque([(now, done)], maxlen=PARTS)  # of the last STEADY seconds
        self.every = LINE
        self.draw: Callable[[], None] = self.line
        self.say: Callable[[str], object] = lambda text: say(text, stderr=True)  # above the bar

    def update(self, n: int = 1, fields: Mapping[str, str] | None = None) -> None:
        """`n` more are done; the fields are shown by their names from now on."""
        self.done += n
        self.fields.update(fields or {})
        now = time.monotonic()
        if now - self.looks[-1][0] >= STEADY / PARTS:
            self.looks.append((now, self.done))
        if now - self.drawn >= self.every:
            self.drawn = now
            self.draw()

    def reset(self) -> None:
        """Begin again; with this and `close`, pooch takes it for a bar."""
        self.done = 0
        self.looks.clear()
        self.looks.append((time.monotonic(), 0))

    def close(self) -> None:
        """The end of `progress` does it."""

    @property
    def rate(self) -> float:
        """So many in a second, of late; 0 where that cannot be said yet."""
        (began, done), now = self.looks[0], time.monotonic()
        return (self.done - done) / (now - began) if now > began else 0.0

    @property
    def left(self) -> str:
        """The time that the rest will take at this rate."""
        rate, rest = self.rate, self.total - self.done
        return f"{duration(rest / rate)} left" if rate and rest > 0 else ""

    def figures(self) -> list[str]:
        """Everything to be read beside the bar."""
        of = f"/{self.total:,}" if self.total else ""
        count = f"{self.done:,}{of}{self.unit and ' ' + self.unit}"
        fields = [f"{name} {value}" for name, value in self.fields.items()]
        return [count, *([self.left] if self.left else []), *fields]

    def line(self) -> None:
        """One line on stderr."""
        say(f"{self.name}: {', '.join(self.figures())}", stderr=True)


@contextmanager
def progress(
    total: int, name: str, unit: str = "", done: int = 0, quiet: bool = False
) -> Iterator[Bar]:
    """A bar on stderr while something goes on, gone with its end: tell it by `update`. `done` of
    the `total` were before this begins; `unit` is what they are."""
    bar = Bar(total, name, unit, done)
    if quiet:
        bar.every = float("inf")
        yield bar
        return
    console = err()
    if not console.is_terminal:
        yield bar
        return
    rich = require("rich.progress", "cli")
    shown = rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=None),
        rich.TextColumn("{task.fields[figures]}"),
        console=console, auto_refresh=False, transient=True, expand=True, redirect_stdout=False,
    )  # fmt: skip
    task = shown.add_task(name, total=total, completed=done, figures="")

    def draw() -> None:
        figures = "  ".join(bar.figures())
        shown.update(task, total=bar.total, completed=bar.done, figures=figures, refresh=True)

    bar.every, bar.draw, bar.say = 1 / REDRAWS, draw, shown.console.print
    with shown:
        yield bar


def each(items: Iterable[Item], name: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar; `total` says how many they are where len does not."""
    with progress(len(items) if isinstance(items, Sized) else total or 0, name) as bar:
        for item in items:
            yield item
            bar.update()


def duration(seconds: float) -> str:
    """As a person says it: 0.4 s, 12 s, 3:25 min, 2:07 h."""
    if seconds < 0.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"
