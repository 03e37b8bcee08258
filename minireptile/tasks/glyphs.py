"""Characters drawn by a seeded random pen: a stand-in for Omniglot that needs no download.

A class is a list of strokes; a stroke is a path in a turtle's terms: a heading, then lines and
arcs with corners between them, from point to point of a loose grid. A drawer repeats the
movements with lengths, bends and gaps of their own, and writes larger, steeper or elsewhere. Page
and pen are Omniglot's: 105 x 105 pixels, a pen 5 pixels wide, and 28 x 28 of the pixels kept.

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

PAGE, SIDE, PEN = 105, 28, 2  # pixels: page, image, and pen to each side of its middle
KEPT = ((np.arange(SIDE) + 0.5) * PAGE / SIDE).astype(int)  # by nearest-neighbour resizing
# For each row (or column) of the page, the first and the last kept one under the pen: at most two.
FIRST = np.searchsorted(KEPT, np.arange(PAGE) - PEN)
LAST = np.searchsorted(KEPT, np.arange(PAGE) + PEN, side="right") - 1

STROKES, PIECES = 6, 6  # at most
STROKE_NOISE = 3 * PIECES + 7  # normal numbers that a drawer needs for a stroke,
PLACE_NOISE = 6  # and for the whole character
NOISE = PLACE_NOISE + STROKES * STROKE_NOISE
STROKE_STARTS = range(PLACE_NOISE, NOISE, STROKE_NOISE)
STILL = np.zeros((1, STROKE_NOISE))  # the drawer without a tremor
TRIES = 40  # candidate strokes for a class


@dataclass(frozen=True)
class Stroke:
    """One movement of the pen; a length of 1 is about a pixel of the page.

    Attributes
    ----------
    heading : float
        Direction at the start, in radians; 0 is right, pi/2 is down.
    lengths, bends, corners : array (pieces,)
        Length of each piece, its turn spread evenly along it, and its turn at once before it.
    parent, at, offset : int, float, array (2,)
        The stroke begins at `offset` from the point `at` (0 to 1) of stroke `parent`; -1 is the
        page's middle.
    meets, meets_at : int, float
        The stroke (itself included) and the point of it where this one ends; -1 is nowhere.
    """

    heading: float
    lengths: NDArray
    bends: NDArray
    corners: NDArray
    parent: int = -1
    at: float = 0.0
    offset: NDArray | float = 0.0
    meets: int = -1
    meets_at: float = 0.0


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
            stretch = np.sinc(bend / (2 * np.pi))  # chord / arc
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
            here = _point(drawn[parent], np.array([at]))[0, 0]
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
        path = _draw(stroke, drawn, STILL)
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


def _draw(stroke: Stroke, drawn: list[NDArray], noise: NDArray) -> NDArray:
    """Points (drawers, points, 2) of a stroke, about 1.3 pixels apart: nearer than the pen is wide.

    Parameters
    ----------
    drawn : list of array (drawers, points, 2)
        The strokes before it.
    noise : array (drawers, STROKE_NOISE)
    """
    n = len(stroke.lengths)
    piece, rest = noise[:, : 3 * n].reshape(-1, 3, n), noise[:, 3 * PIECES :]
    points = np.maximum(np.ceil(stroke.lengths * 0.8), 1).astype(int)
    bends = stroke.bends * (1 + 0.08 * piece[:, 0]) + 0.06 * piece[:, 0]
    turns = np.repeat(bends / points, points, 1)
    turns[:, np.cumsum(points)[:-1]] += stroke.corners[1:] + 0.07 * piece[:, 1, 1:]
    headings = stroke.heading + 0.06 * rest[:, :1] + np.cumsum(turns, axis=1)
    steps = np.repeat(stroke.lengths / points * np.exp(0.10 * piece[:, 2]), points, 1)
    path = np.cumsum(steps[..., None] * np.stack([np.cos(headings), np.sin(headings)], -1), 1)
    path += stroke.offset + ((0.7 + 0.04 * np.abs(stroke.offset)) * rest[:, 1:3])[:, None]
    if stroke.parent >= 0:
        path += _point(drawn[stroke.parent], stroke.at + 0.03 * rest[:, 3])
    if stroke.meets >= 0:
        target = _point([*drawn, path][stroke.meets], stroke.meets_at + 0.03 * rest[:, 4])
        gap = target + 0.9 * rest[:, None, 5:7] - path[:, -1:]
        path += gap * np.linspace(0, 1, path.shape[1])[:, None]
    return path


def _point(path: NDArray, at: NDArray) -> NDArray:
    """The point of each drawer's path at the fraction `at`, (drawers, 1, 2)."""
    last = path.shape[1] - 1
    return path[np.arange(len(path)), np.clip(np.rint(at * last), 0, last).astype(int), None]


def _box(points: NDArray) -> tuple[NDArray, NDArray]:
    """Middle and size of the box around each drawer's points, (drawers, 1, 2) both."""
    low, high = points.min(1, keepdims=True), points.max(1, keepdims=True)
    return (low + high) / 2, high - low


def _place(points: NDArray, size: float, middle: NDArray, noise: NDArray) -> NDArray:
    """Slant, turn, scale and shift each drawer's points, (drawers, points, 2), onto the page."""
    z = noise[:, :, None]
    wide, slant, turn = np.exp(0.08 * z[:, 1]), 0.10 * z[:, 2], 0.05 * z[:, 3]
    x, y = points[..., 0] * wide + points[..., 1] * slant, points[..., 1] / wide
    cos, sin = np.cos(turn), np.sin(turn)
    points = np.stack([cos * x - sin * y, sin * x + cos * y], -1)
    centre, extent = _box(points)
    room = PAGE - 10.0
    fits = room / np.maximum(extent.max(2, keepdims=True), 1)
    grow = np.minimum(size * np.exp(0.09 * z[:, :1]), fits)
    slack = (room - extent * grow) / 2
    shift = np.clip(middle - PAGE / 2 + 5.1 * noise[:, None, 4:6], -slack, slack)
    return (points - centre) * grow + PAGE / 2 + shift


def _ink(points: NDArray) -> NDArray[np.uint8]:
    """Images (drawers, 28, 28), 0 where the pen passes at some point (x, y) and 1 elsewhere.

    The pen is 5 x 5 pixels without the four corners; at most 2 x 2 kept pixels lie under it.
    """
    images = np.ones(len(points) * SIDE * SIDE + 1, np.uint8)  # the last one takes the corners
    x, y = points.astype(int).transpose(2, 0, 1)
    base = SIDE * SIDE * np.arange(len(points))[:, None]
    for row in (FIRST[y], LAST[y]):
        edge = np.abs(KEPT[row] - y) == PEN
        for column in (FIRST[x], LAST[x]):
            corner = edge & (np.abs(KEPT[column] - x) == PEN)
            images[np.where(corner, -1, base + SIDE * row + column)] = 0
    return images[:-1].reshape(-1, SIDE, SIDE)


def _draw_class(seed: int, c: int, drawers: int) -> NDArray[np.uint8]:
    """Images (drawers, 28, 28) of class `c`."""
    rng = generator(seed, Stream.GLYPHS, c)
    strokes, still = _invent(rng)
    extent = max(float(_box(still)[1].max()), 20.0)
    size = (60 / extent) ** 0.85 * np.exp(rng.normal(0, 0.16))
    middle = 50 + rng.normal(0, 1.0, 2)
    rows = (generator(seed, Stream.GLYPHS, c, 1 + d).standard_normal(NOISE) for d in range(drawers))
    place, *noise = np.split(np.stack(list(rows)), STROKE_STARTS, axis=1)
    drawn: list[NDArray] = []
    for stroke, tremor in zip(strokes, noise, strict=False):
        drawn.append(_draw(stroke, drawn, tremor))
    return _ink(_place(np.concatenate(drawn, axis=1), size, middle, place))


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
        images[c] = _draw_class(seed, first + c, drawers)
    return ImageClasses(
        images.reshape(-1, SIDE, SIDE, 1),
        np.arange(classes + 1, dtype=np.int64) * drawers,
        tuple(f"glyph{first + c:05d}" for c in range(classes)),
        1.0,
    )


def glyph_splits(
    train_classes: int = 1200,
    test_classes: int = 400,
    drawers: int = 20,
    seed: int = 0,
    rotations: bool = True,
) -> Splits:
    """Drawn characters for training and others for testing.

    The training split gets each character turned by 90, 180 and 270 degrees as new classes, if
    `rotations`; the test split never does, as in the paper's Omniglot experiments. Parameters and
    errors are those of `glyphs`.
    """
    _at_least(1, train_classes=train_classes, test_classes=test_classes, drawers=drawers)
    train = glyphs(train_classes, drawers, seed)
    test = glyphs(test_classes, drawers, seed, first=train_classes)
    return Splits(with_rotations(train) if rotations else train, test)
