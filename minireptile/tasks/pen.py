"""The pen that draws characters: a stroke, a drawer's hand, and the ink on the page.

Page and pen are Omniglot's: 105 x 105 pixels, a pen 5 pixels wide, and 28 x 28 of the pixels kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAGE, SIDE, PEN = 105, 28, 2  # pixels: page, image, and pen to each side of its middle
KEPT = ((np.arange(SIDE) + 0.5) * PAGE / SIDE).astype(int)  # by nearest-neighbour resizing
# For each row (or column) of the page, the first and the last kept one under the pen: at most two.
FIRST = np.searchsorted(KEPT, np.arange(PAGE) - PEN)
LAST = np.searchsorted(KEPT, np.arange(PAGE) + PEN, side="right") - 1


PIECES = 6  # of a stroke, at most
STROKE_NOISE = 3 * PIECES + 7  # normal numbers that a drawer needs for a stroke,
PLACE_NOISE = 6  # and for the whole character


@dataclass(frozen=True)
class Stroke:
    """One movement of the pen; a length of 1 is about a pixel of the page."""

    heading: float  # direction at the start, in radians; 0 is right, pi/2 is down
    # (pieces,): length of each piece, its turn spread evenly along it, and its turn at once
    # before it.
    lengths: NDArray
    bends: NDArray
    corners: NDArray
    # The stroke begins at `offset` from the point `at` (0 to 1) of stroke `parent`; -1 is the
    # page's middle.
    parent: int = -1
    at: float = 0.0
    offset: NDArray | float = 0.0
    # The stroke (itself included) and the point of it where this one ends; -1 is nowhere.
    meets: int = -1
    meets_at: float = 0.0


def draw(stroke: Stroke, drawn: list[NDArray], noise: NDArray) -> NDArray:
    """Points (drawers, points, 2) of a stroke, about 1.3 pixels apart: nearer than the pen is wide.
    The strokes before it are `drawn`, likewise; noise (drawers, STROKE_NOISE) is the drawers'
    own."""
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
        path += point(drawn[stroke.parent], stroke.at + 0.03 * rest[:, 3])
    if stroke.meets >= 0:
        target = point([*drawn, path][stroke.meets], stroke.meets_at + 0.03 * rest[:, 4])
        gap = target + 0.9 * rest[:, None, 5:7] - path[:, -1:]
        path += gap * np.linspace(0, 1, path.shape[1])[:, None]
    return path


def point(path: NDArray, at: NDArray) -> NDArray:
    """The point of each drawer's path at the fraction `at`, (drawers, 1, 2)."""
    last = path.shape[1] - 1
    return path[np.arange(len(path)), np.clip(np.rint(at * last), 0, last).astype(int), None]


def box(points: NDArray) -> tuple[NDArray, NDArray]:
    """Middle and size of the box around each drawer's points, (drawers, 1, 2) both."""
    low, high = points.min(1, keepdims=True), points.max(1, keepdims=True)
    return (low + high) / 2, high - low


def place(points: NDArray, size: float, middle: NDArray | float, noise: NDArray) -> NDArray:
    """Slant, turn, scale and shift each drawer's points, (drawers, points, 2), onto the page."""
    z = noise[:, :, None]
    wide, slant, turn = np.exp(0.08 * z[:, 1]), 0.10 * z[:, 2], 0.05 * z[:, 3]
    x, y = points[..., 0] * wide + points[..., 1] * slant, points[..., 1] / wide
    cos, sin = np.cos(turn), np.sin(turn)
    points = np.stack([cos * x - sin * y, sin * x + cos * y], -1)
    centre, extent = box(points)
    room = PAGE - 10.0
    fits = room / np.maximum(extent.max(2, keepdims=True), 1)
    grow = np.minimum(size * np.exp(0.09 * z[:, :1]), fits)
    slack = (room - extent * grow) / 2
    shift = np.clip(middle - PAGE / 2 + 5.1 * noise[:, None, 4:6], -slack, slack)
    return (points - centre) * grow + PAGE / 2 + shift


def ink(points: NDArray) -> NDArray[np.uint8]:
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
