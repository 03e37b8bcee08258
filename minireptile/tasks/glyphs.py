"""Characters drawn by a seeded random pen: a stand-in for Omniglot that needs no download.

A class is a list of strokes; a stroke is a path in a turtle's terms: a heading, then lines and
arcs with corners between them, from point to point of a loose grid. A drawer repeats the
movements with lengths, bends and gaps of their own, and writes larger, steeper or elsewhere
(pen.py).

Source of the format: Lake et al., "Human-level concept learning through probabilistic program
induction", Science 2015. The constants were set by hand until summary statistics (ink, size,
position, strokes' ends, spread between drawers) came near those of Omniglot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..rng import Stream, generator
from .images import ImageClasses, Splits, with_rotations
from .pen import PIECES, PLACE_NOISE, SIDE, STROKE_NOISE, Stroke, box, draw, ink, place, point

STROKES = 6  # of a character, at most
NOISE = PLACE_NOISE + STROKES * STROKE_NOISE  # normal numbers that a drawer needs for one
STROKE_STARTS = range(PLACE_NOISE, NOISE, STROKE_NOISE)
STILL = np.zeros((1, STROKE_NOISE))  # the drawer without a tremor
TRIES = 40  # candidate strokes for a class


@dataclass(frozen=True)
class Style:
    """What the strokes of one class share: grid points (nodes, 2), share of arcs and of joints."""

    grid: NDArray
    curvy: float
    joined: float


def _style(rng: np.random.Generator) -> Style:
    columns, rows = rng.choice([2, 3, 4], 2, p=[0.35, 0.45, 0.2])
    width, height = 56 * np.exp(rng.normal([-0.15, 0.0], 0.18))
    x = np.linspace(-0.5, 0.5, columns) * width + rng.normal(0, 4, columns)
    y = np.linspace(-0.5, 0.5, rows) * height + rng.normal(0, 4, rows)
    nodes = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    nodes += rng.normal(0, 2.0, nodes.shape)
    return Style(nodes, rng.beta(0.7, 0.9), 0.97 if rng.random() < 0.85 else 0.4)


def _wrap(angle: float) -> float:
    """The same angle between -pi and pi."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _next(rng: np.random.Generator, here: NDArray, nodes: NDArray) -> NDArray:
    """A point to go to: neither too near nor, as a rule, askew."""
    across = np.abs(nodes - here)
    far = np.hypot(*across.T)
    weight = np.where(across.min(1) < 9, 1.0, 0.2) * (far > 12) / (far + 15) + 1e-9
    return nodes[np.searchsorted(np.cumsum(weight), rng.random() * weight.sum())]


def _path(rng: np.random.Generator, style: Style, here: NDArray) -> Stroke:
    """An open stroke of lines and arcs from point to point."""
    n = int(rng.choice(PIECES, p=[0.38, 0.27, 0.17, 0.10, 0.05, 0.03])) + 1
    lengths, bends, corners = np.zeros((3, n))
    direction = 0.0
    for i in range(n):
        if i and rng.random() < 0.08 * style.curvy:  # a curl on the spot
            lengths[i], bends[i] = rng.uniform(18, 45), rng.choice([-1, 1]) * rng.uniform(4.8, 6.3)
            direction += bends[i]
            continue
        x, y = (to := _next(rng, here, style.grid)) - here
        ahead, bend, stretch = float(np.arctan2(y, x)), 0.0, 1.0
        if rng.random() < style.curvy:
            bend = 2 * _wrap(ahead - direction)  # goes on without a corner
            if i == 0 or abs(bend) > 3.5 or rng.random() < 0.25:
                bend = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 3.0))
            stretch = float(np.sinc(bend / (2 * np.pi)))  # chord / arc
        lengths[i], bends[i] = np.hypot(x, y) / stretch, bend
        corners[i] = _wrap(ahead - bend / 2 - direction)
        direction, here = ahead + bend / 2, to
    first, corners[0] = corners[0], 0.0
    return Stroke(float(first), lengths, bends, corners)


def _ring(rng: np.random.Generator) -> Stroke:
    """A closed stroke: a circle, an ellipse, a triangle or a box."""
    n = int(rng.choice([1, 2, 3, 4], p=[0.55, 0.15, 0.12, 0.18]))
    turn = rng.choice([-1.0, 1.0]) * 2 * np.pi / n
    sides = np.exp(rng.normal(0, 0.3, n)) * np.exp(rng.normal(4.2, 0.45)) / n
    if n == 4:
        sides[2:] = sides[:2]
    bends, corners = np.full((2, n), 0.0)
    (bends if n < 3 else corners[1:])[:] = turn
    heading = rng.choice([0.0, np.pi / 2, np.pi]) + rng.normal(0, 0.15)
    return Stroke(heading, sides, bends, corners)


def _mark(rng: np.random.Generator) -> Stroke:
    """A dot, a blot or a short dash."""
    bend = rng.choice([0.0, 0.0, 6.0])
    return Stroke(rng.uniform(-3, 3), rng.uniform(1, 14, 1), np.array([bend]), np.zeros(1))


def _again(rng: np.random.Generator, other: Stroke, index: int) -> Stroke:
    """Stroke number `index` - 1 once more, beside or below it, at times mirrored."""
    offset = rng.normal(0, 2, 2)
    offset[int(rng.random() < 0.4)] += rng.choice([-1.0, 1.0]) * rng.uniform(14, 32)
    meets = index if other.meets == index - 1 else -1
    stroke = replace(other, parent=index - 1, at=0.0, offset=offset, meets=meets)
    if rng.random() < 0.6:
        return stroke
    return replace(
        stroke, heading=np.pi - other.heading, bends=-other.bends, corners=-other.corners
    )


def _candidate(
    rng: np.random.Generator, style: Style, strokes: list[Stroke], drawn: list[NDArray]
) -> Stroke:
    """What may come after `strokes`, which look like `drawn`."""
    i, kind = len(strokes), rng.random()
    if i and kind < 0.11:
        return _again(rng, strokes[-1], i)
    here = style.grid[rng.integers(len(style.grid))]
    parent, at, offset = -1, 0.0, here
    if i:
        parent = int(rng.integers(i))
        offset = here - drawn[parent][0, 0]
        if kind > 0.19 and rng.random() < style.joined:
            at, offset = float(rng.choice([0.0, 1.0, 0.5, rng.random()])), np.zeros(2)
            here = point(drawn[parent], np.array([at]))[0, 0]
    if i and kind < 0.19:
        stroke = _mark(rng)
    elif 0.19 < kind < 0.25:
        stroke = replace(_ring(rng), meets=i)
    else:
        stroke = _path(rng, style, here)
        if i and rng.random() < 0.08:
            stroke = replace(stroke, meets=int(rng.integers(i)), meets_at=rng.random())
    return replace(stroke, parent=parent, at=at, offset=offset)


def _invent(rng: np.random.Generator) -> tuple[list[Stroke], NDArray]:
    """The strokes of a new class, and how they look: (1, points, 2)."""
    style, goal = _style(rng), 165 * np.exp(rng.normal(0, 0.3))
    strokes: list[Stroke] = []
    drawn: list[NDArray] = []
    cells: set[tuple[int, int]] = set()
    total = 0.0
    for attempt in range(TRIES):
        stroke = _candidate(rng, style, strokes, drawn)
        length = float(stroke.lengths.sum())
        path = draw(stroke, drawn, STILL)
        new = {(x, y) for x, y in (path[0] // 6).astype(int).tolist()} - cells
        # A stroke that is too long, or runs over itself or others too often, is not taken.
        bad = total + length > 1.25 * goal or len(new) < 0.85 * length / 6
        if bad and (strokes or attempt < 20):
            continue
        strokes.append(stroke)
        drawn.append(path)
        cells |= new
        total += length
        if total > 0.8 * goal or len(strokes) == STROKES:
            break
    return strokes, np.concatenate(drawn, axis=1)


def written(seed: int, c: int, drawers: int) -> list[NDArray]:
    """The strokes of class `c` on the page, (drawers, points, 2) each."""
    rng = generator(seed, Stream.GLYPHS, c)
    strokes, still = _invent(rng)
    extent = max(float(box(still)[1].max()), 20.0)
    size = (60 / extent) ** 0.85 * np.exp(rng.normal(0, 0.16))
    middle = 50 + rng.normal(0, 1.0, 2)
    rows = (generator(seed, Stream.GLYPHS, c, 1 + d).standard_normal(NOISE) for d in range(drawers))
    placing, *noise = np.split(np.stack(list(rows)), STROKE_STARTS, axis=1)
    drawn: list[NDArray] = []
    for stroke, tremor in zip(strokes, noise, strict=False):
        drawn.append(draw(stroke, drawn, tremor))
    ends = np.cumsum([stroke.shape[1] for stroke in drawn])
    return np.split(place(np.concatenate(drawn, axis=1), size, middle, placing), ends[:-1], axis=1)


def _at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least:
            raise InputError(f"drawn characters need {name} of at least {least}, not {value}")


def glyphs(classes: int = 1200, drawers: int = 20, seed: int = 0, first: int = 0) -> ImageClasses:
    """Draw a data set of characters, in Omniglot's format after the paper's preparation.

    Class c depends on (seed, c) alone and its image d on (seed, c, d) alone: asking for more
    never changes what was there.

    Parameters
    ----------
    classes, drawers : int
        How many characters, and how many images of each; at least 1.
    seed : int
        0 <= seed < 2**64.
    first : int
        The number of the first class, not negative.

    Returns
    -------
    ImageClasses
        Images (classes * drawers, 28, 28, 1), uint8: 0 is ink, 1 is paper.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    _at_least(1, classes=classes, drawers=drawers)
    _at_least(0, first=first)
    images = np.empty((classes, drawers, SIDE, SIDE), np.uint8)
    for c in range(classes):
        images[c] = ink(np.concatenate(written(seed, first + c, drawers), axis=1))
    return ImageClasses(
        images.reshape(-1, SIDE, SIDE, 1),
        np.arange(classes + 1, dtype=np.int64) * drawers,
        tuple(f"glyph{first + c:05d}" for c in range(classes)),
        1.0,
    )


def glyph_splits(
    train_classes: int = 1200, test_classes: int = 400, drawers: int = 20, seed: int = 0,
    rotations: bool = True,
) -> Splits:  # fmt: skip
    """Drawn characters for training and others for testing.

    The training split gets each character turned by 90, 180 and 270 degrees as new classes, if
    `rotations`; the test split never does, as in the paper's Omniglot experiments. Parameters and
    errors are those of `glyphs`.
    """
    _at_least(1, train_classes=train_classes, test_classes=test_classes, drawers=drawers)
    train = glyphs(train_classes, drawers, seed)
    test = glyphs(test_classes, drawers, seed, first=train_classes)
    return Splits(with_rotations(train) if rotations else train, test)
