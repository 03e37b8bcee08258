"""A picture of one unseen task: what there is to learn from, and how its queries are classified."""

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..evaluate import adapt_unseen, one_by_one
from ..loops import Snapshot
from ..rng import Stream
from ..tasks.images import FewShot
from .experiment import Experiment

COLUMNS, ROWS = 10, 2  # classes, and images of each in a row of the picture, at most
RIGHT, WRONG = "#1a7f4b", "#c8322b"
# In units of an image's side: from one to the next, room for the mark below it, the names at the
# left, and between parts.
PITCH, MARK, NAMES, GAP = 1.16, 0.32, 2.0, 0.25
SIDE = 0.72  # inches


class Classified(NamedTuple):
    """One task as a run classifies it."""

    support: NDArray  # (way, shot, H, W, C)
    query: NDArray  # (way, queries, H, W, C)
    predicted: NDArray  # (way, queries): a class; the true one is the row


def classify(experiment: Experiment, run: Snapshot) -> Classified:
    """Adapt to the first unseen task of its own stream, and classify each query beside the support
    set, as `Accuracy.accuracy` counts it."""
    s, tasks = experiment.settings, experiment.test
    assert isinstance(tasks, FewShot)
    spare = int(tasks.data.counts.min()) - s.shot
    protocol = experiment.protocol(1, s.seed, query=min(ROWS, spare), stream=Stream.EXAMPLE)
    *_, (_, phi, batch) = adapt_unseen(
        experiment.model, run.theta, run.state, tasks, experiment.optimizer, protocol
    )
    predicted = one_by_one(experiment.model, phi, batch)[0].argmax(-1)
    shape = batch.query_x.shape[2:]
    return Classified(
        batch.support_x[0].reshape(s.way, s.shot, *shape),
        batch.query_x[0].reshape(s.way, -1, *shape),
        predicted.reshape(s.way, -1),
    )


def _rows(tasks: Mapping[str, Classified]) -> tuple[int, int, int]:
    """Columns that are shown, rows of support images, and rows of queries for each run."""
    first = next(iter(tasks.values()))
    way, shot = first.support.shape[:2]
    return min(way, COLUMNS), min(shot, ROWS), first.query.shape[1]


def _extent(tasks: Mapping[str, Classified]) -> tuple[float, float]:
    columns, support, queries = _rows(tasks)
    each = GAP + queries * (PITCH + MARK)
    return NAMES + columns * PITCH, 0.5 + support * PITCH + len(tasks) * each


def size(tasks: Mapping[str, Classified]) -> tuple[float, float]:
    """Width and height of the picture, in inches."""
    width, height = _extent(tasks)
    return SIDE * width, SIDE * height


def draw(ax: Any, tasks: Mapping[str, Classified]) -> None:
    """Draw one task as it is classified by each of the runs named."""
    first = next(iter(tasks.values()))
    way, shot = first.support.shape[:2]
    columns, support, queries = _rows(tasks)
    ink, y = _ink(first), 0.0
    for c in range(columns):
        ax.text(c * PITCH + 0.5, 0.1, _name(c), ha="center", va="bottom", weight="bold")
    for row in range(support):
        for c in range(columns):
            _image(ax, first.support[c, row], c, y - 1, ink)
        y -= PITCH
    _label(ax, (y + PITCH - 1) / 2, "support", f"{shot} of each class" if shot > 1 else "")
    for name, task in tasks.items():
        right = task.predicted == np.arange(way)[:, None]
        y -= GAP
        _label(ax, y - queries * (PITCH + MARK) / 2, name, f"{right.sum()} of {right.size} right")
        for row in range(queries):
            for c in range(columns):
                color, mark = (RIGHT, "✓") if right[c, row] else (WRONG, "✗")
                _image(ax, task.query[c, row], c, y - 1, ink, color)
                text = f"{mark} {_name(task.predicted[c, row])}"
                ax.text(c * PITCH + 0.5, y - 1.06, text, ha="center", va="top", color=color)
            y -= PITCH + MARK
    width, height = _extent(tasks)
    ax.set(xlim=(-NAMES, width - NAMES), ylim=(0.5 - height, 0.5), aspect="equal")
    ax.set_axis_off()


def _name(c: int) -> str:
    """A class's name: a letter, or where there are too few of them, a number."""
    return ascii_uppercase[c] if c < len(ascii_uppercase) else str(c + 1)


def _ink(task: Classified) -> str:
    """Drawings are shown dark on white, whichever of the two is 1."""
    pixels = task.support
    drawn = bool(np.isin(pixels, (0.0, 1.0)).all())
    return "gray_r" if drawn and pixels.mean() < 0.5 else "gray"


def _image(
    ax: Any, image: NDArray, column: int, y: float, ink: str, frame: str | None = None
) -> None:
    """One image with its lower left corner in a column, framed."""
    x = column * PITCH
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    ax.imshow(pixels, ink, vmin=0, vmax=1, extent=(x, x + 1, y, y + 1), interpolation="nearest")
    outline = [x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y]
    ax.plot(*outline, color=frame or "0.65", lw=2.5 if frame else 1, clip_on=False)


def _label(ax: Any, y: float, name: str, detail: str) -> None:
    """What a part of the picture is, to the left of its middle."""
    ax.text(-0.25, y, name, ha="right", va="bottom" if detail else "center", weight="bold")
    if detail:
        ax.text(-0.25, y, detail, ha="right", va="top", color="0.35", fontsize=9)
