"""Max pooling on a GPU: launchers for maxpool.cu. Derivation: maxpool.md.

Arguments as in maxpool_numpy.py, with arrays on the device.
"""

from math import prod
from typing import Any

from .launch_cupy import elements, window
from .window import Pair


def maxpool_forward(y: Any, winner: Any, x: Any, size: Pair, step: Pair, pad: Pair) -> None:
    """Write y and which tap won (maxpool.md, eq. 1 and 2)."""
    out = (winner if y is None else y).shape
    g = window(x.shape, out, tuple(size), tuple(step), tuple(pad))
    elements("maxpool", "maxpool_forward", x, prod(out[1:]), y, winner, x, g)


def maxpool_backward(dx: Any, dy: Any, winner: Any, size: Pair, step: Pair, pad: Pair) -> None:
    """Write dx, each dy where its maximum came from (maxpool.md, eq. 3)."""
    g = window(dx.shape, dy.shape, tuple(size), tuple(step), tuple(pad))
    elements("maxpool", "maxpool_backward", dx, dx[0].size, dx, dy, winner, g)


def maxpool_forward_r(ry: Any, rx: Any, winner: Any, size: Pair, step: Pair, pad: Pair) -> None:
    """Write ry, the tangent of each window's winner (maxpool.md, eq. 4)."""
    g = window(rx.shape, ry.shape, tuple(size), tuple(step), tuple(pad))
    elements("maxpool", "maxpool_forward_r", ry, ry[0].size, ry, rx, winner, g)
