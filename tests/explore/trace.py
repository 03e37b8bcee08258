"""The strokes of a written character, from its image: thinned to lines, which are followed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The eight neighbours, clockwise from above.
AROUND = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]


def thinned(ink: NDArray) -> NDArray[np.bool_]:
    """Lines one pixel wide (Zhang & Suen, 1984)."""
    found = np.pad(ink.astype(bool), 1)
    while True:
        before = found.copy()
        for one, other in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            p = np.array([np.roll(found, (-dy, -dx), (0, 1)) for dy, dx in AROUND])
            near, turns = p.sum(0), (~p & np.roll(p, -1, 0)).sum(0)
            edge = (near >= 2) & (near <= 6) & (turns == 1)
            found = found & ~(edge & ~p[list(one)].all(0) & ~p[list(other)].all(0))
        if (found == before).all():
            return found[1:-1, 1:-1]


def trace(ink: NDArray) -> list[NDArray]:
    """Strokes (points, 2), x before y, of ink (H, W) that is true where the pen was."""
    left = {(int(y), int(x)) for y, x in np.argwhere(thinned(ink))}

    def near(at: tuple[int, int]) -> list[tuple[int, int]]:
        return [p for dy, dx in sorted(AROUND, key=lambda s: abs(s[0]) + abs(s[1]))
                if (p := (at[0] + dy, at[1] + dx)) in left]  # fmt: skip

    strokes = []
    everything = set(left)
    while left:
        here = min(left, key=lambda at: (len(near(at)), at))  # an end, if there is one
        path = [here]
        left.remove(here)
        while ahead := near(here):
            way = np.subtract(here, path[-4]) if len(path) > 3 else np.zeros(2)
            here = max(ahead, key=lambda at: float(np.dot(np.subtract(at, path[-1]), way)))
            path.append(here)
            left.remove(here)
        # An end beside another stroke's line joins it.
        for end, where in ((path[0], 0), (path[-1], len(path))):
            joins = [
                p for dy, dx in AROUND
                if (p := (end[0] + dy, end[1] + dx)) in everything and p not in path
            ]  # fmt: skip
            if joins:
                path.insert(where, joins[0])
        strokes.append(np.array(path, float)[:, ::-1] + 0.5)
    return strokes
