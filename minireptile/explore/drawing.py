"""Drawings as text, short enough for an address, and as the images that a network sees.

The strokes of a hand are points of a square, x and y from 00 to 99 in four digits: "10109090" is a
diagonal, and strokes are joined by "-". A picture of one's own is "p" and its 28 x 28 pixels of 16
greys, in base64. What is not drawn yet is "".
"""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import shown
from ..errors import InputError
from ..rng import Stream, generator
from ..tasks.glyphs import written
from ..tasks.paper import frame, ink_of, resized
from ..tasks.pen import PAGE, PEN, PLACE_NOISE, SIDE, box, ink, place

SQUARE, GREYS = 100, 15
LONGEST = 4000  # characters: a thousand points
STROKES = re.compile(r"([0-9]{4})+(-([0-9]{4})+)*")
PICTURE = re.compile(rf"p[A-Za-z0-9_-]{{{-(-SIDE * SIDE * 2 // 3)}}}")
# A character's longer side on the page, ink and all: nine tenths of Omniglot's lie between. What is
# smaller or larger is brought to the nearer of the two.
SMALL, LARGE = 45.0, 90.0
SMOOTH = 1.0  # of the square: what a corner left out may have been off by
FIRST_UNSEEN, UNSEEN = 4800, 400  # of the drawn characters, those that no weights were trained on

# For who has no pointer: a key draws its letter. Points of a square of ten by ten, in two digits.
LETTERS = {
    "a": "095099-2676", "b": "1019-1060826414-1474967919", "c": "82502215275987",
    "d": "1019-105083865919", "e": "80101989-1464", "f": "801019-1464",
    "g": "825022152759898555", "h": "1019-8089-1484", "i": "5059-3070-3979",
    "j": "7077593917", "k": "1019-8014-1489", "l": "101989", "m": "0910559099", "n": "19108980",
    "o": "502215275987958250", "p": "1910-1060826515", "q": "502215275987958250-6699",
    "r": "1910-1060826515-5589", "s": "8250223465875928", "t": "0090-5059",
    "u": "101639798680", "v": "005990", "w": "0029537990", "x": "0099-9009",
    "y": "0054-9054-5459", "z": "00900999",
}  # fmt: skip


def drawing(value: Any, what: str) -> str:
    """A drawing in a question, as it is; `InputError` if it is none."""
    if not isinstance(value, str) or len(value) > LONGEST:
        raise InputError(f"{what} must be a drawing of at most {LONGEST:,} characters: clear it")
    if value and not (STROKES.fullmatch(value) or PICTURE.fullmatch(value)):
        raise InputError(f"{what} is no drawing, {shown(value)}: clear it")
    return value


# ---------------------------------------------------------------------------------------- strokes


def text_of(strokes: list[NDArray]) -> str:
    """The drawing of some strokes (points, 2) of a square from 0 to 100, simplified."""
    rounded = [np.clip(corners(stroke), 0, SQUARE - 1).astype(int) for stroke in strokes]
    return "-".join("".join(f"{x:02}{y:02}" for x, y in stroke) for stroke in rounded)


def corners(path: NDArray) -> NDArray:
    """The points (n, 2) of a path that it cannot do without (Ramer, 1972): no other is farther
    than `SMOOTH` from the lines between them."""
    if len(path) < 3:
        return path
    start, way = path[0], path[-1] - path[0]
    along = ((path - start) @ way / max(way @ way, 1e-9)).clip(0, 1)
    off = np.hypot(*(path - start - along[:, None] * way).T)
    if off[far := int(off.argmax())] <= SMOOTH:
        return path[[0, -1]]
    return np.concatenate([corners(path[: far + 1])[:-1], corners(path[far:])])


def strokes_of(text: str) -> list[NDArray]:
    """The strokes (points, 2) of a drawing, whole numbers from 0 to 99."""
    digits = [re.findall("..", stroke) for stroke in text.split("-")]
    return [np.array(numbers, float).reshape(-1, 2) for numbers in digits]


def on_page(strokes: list[NDArray]) -> NDArray:
    """Every point (n, 2) of the pen's way over Omniglot's page, the drawing in its middle."""
    points = np.concatenate([_densely(stroke * PAGE / SQUARE) for stroke in strokes])[None]
    middle, size = box(points)
    extent, pen = float(size.max()), 2 * PEN + 1
    grow = np.clip(extent, SMALL - pen, LARGE - pen) / max(extent, pen)
    return ((points - middle) * grow + PAGE / 2)[0]


def _densely(path: NDArray) -> NDArray:
    """Points of a path that are nearer to each other than the pen is wide, however it grows."""
    length = np.append(0, np.cumsum(np.hypot(*np.diff(path, axis=0).T)))
    at = np.linspace(0, length[-1], int(length[-1] * 4) + 1)
    return np.stack([np.interp(at, length, path[:, i]) for i in (0, 1)], -1)


def image(text: str) -> NDArray[np.float32]:
    """A drawing as the network sees it, (28, 28): 0 where there is ink, 1 where there is paper."""
    if text.startswith("p"):
        raw = np.frombuffer(base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4)), "u1")
        return np.float32(np.stack([raw >> 4, raw & 15], -1).reshape(SIDE, SIDE)) / GREYS
    return np.float32(ink(on_page(strokes_of(text))[None])[0])


# ------------------------------------------------------------------------- characters and pictures


def character(c: int, hand: int) -> str:
    """Character c of the generator by one of its drawers."""
    return text_of([s[hand] * SQUARE / PAGE for s in written(0, c, hand + 1)])


def letter(name: str, hand: int) -> str:
    """A letter, slanted, turned and placed as a hand would."""
    strokes = strokes_of(re.sub("(.)", r"\1\1", LETTERS[name]).replace("--", "-"))
    noise = generator(hand, Stream.EXAMPLE).standard_normal((1, PLACE_NOISE))
    middle = np.full(2, PAGE / 2)
    points = place(np.concatenate(strokes)[None], 0.65, middle, noise)[0] * SQUARE / PAGE
    ends = np.cumsum([len(stroke) for stroke in strokes])[:-1]
    return text_of(np.split(points, ends))


def picture(grey: NDArray) -> tuple[str, bool]:
    """The drawing of a picture (H, W): cut out, in the middle, dark on light. And whether it was
    light on dark; `InputError` if there is nothing on it."""
    found, inverted = ink_of(grey, "the picture")
    square = resized(found, frame(found), SIDE)
    levels = np.rint(GREYS * (1 - square / square.max())).astype(np.uint8).reshape(-1, 2)
    raw = (levels[:, 0] << 4 | levels[:, 1]).tobytes()
    return "p" + base64.urlsafe_b64encode(raw).decode().rstrip("="), inverted
