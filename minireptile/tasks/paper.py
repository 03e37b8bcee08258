"""What is written on a piece of paper: the ink of a picture, and where it stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

FAINT = 0.1  # contrast below which there is nothing on the paper
FRAME = 1.5  # sides of the paper to those of the ink: Omniglot's median is 1.57

Box = tuple[int, int, int, int]  # left, top, right, bottom


def ink_of(grey: NDArray, what: str) -> tuple[NDArray, bool]:
    """The ink (H, W) of a picture (H, W) of any scale, from 0 where there is none to 1, and whether
    it was light on dark. `InputError` if there is nothing on the paper."""
    low, high = grey.min(), grey.max()
    if high - low < FAINT:
        raise InputError(f"{what} is blank: remove it")
    amount = (high - grey) / (high - low)
    edge = np.concatenate([amount[[0, -1]].ravel(), amount[:, [0, -1]].ravel()])
    paper = float(np.median(edge))  # what surrounds a character
    inverted = paper > 0.5
    if inverted:
        amount, paper = 1 - amount, 1 - paper
    return ((amount - paper) / (1 - paper)).clip(0, 1), inverted


def frame(ink: NDArray) -> Box:
    """A square of the paper with the character of `ink` (H, W) in its middle, as large as
    characters are in what the networks were trained on. It may reach beyond the picture: there is
    paper."""
    ys, xs = np.nonzero(ink > 0.5)
    half = max(np.ptp(xs) + 1, np.ptp(ys) + 1) * FRAME / 2
    x, y = (xs.min() + xs.max() + 1) / 2, (ys.min() + ys.max() + 1) / 2
    left, top, right, bottom = (round(float(a)) for a in (x - half, y - half, x + half, y + half))
    return left, top, right, bottom


def resized(ink: NDArray, box: Box, side: int) -> NDArray:
    """A square of the paper as (side, side) pixels; beyond the picture's edge there is paper, 0.

    Cubic convolution (Keys, 1981, a = -1/2), stretched by as much as a pixel holds of the old ones,
    as Pillow's; its small overshoots are cut off.
    """
    left, top, right, bottom = box
    rows = _weights(top, bottom, len(ink), side)
    columns = _weights(left, right, ink.shape[1], side)
    return (rows @ ink @ columns.T).clip(0, 1)


def _weights(low: int, high: int, size: int, side: int) -> NDArray:
    """What each of `side` pixels between `low` and `high` takes of `size` old ones."""
    scale = (high - low) / side
    middle = low + (np.arange(side)[:, None] + 0.5) * scale
    z = np.abs(np.arange(size) + 0.5 - middle) / (wide := max(scale, 1.0))
    near, far = (1.5 * z - 2.5) * z**2 + 1, ((2.5 - 0.5 * z) * z - 4) * z + 2
    return np.where(z < 1, near, np.where(z < 2, far, 0)) / wide
