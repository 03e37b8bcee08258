"""Which pixels a register tile computes, and from where: tables in place of im2col and of padding.
Derivation: registers.md.

A tap that lies on the padding multiplies by zero, so it is left out. Pixels of an output that have
the same taps inside the image are of one class: they take the same numbers, from other places.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 60  # output pixels of a block of dw: their inputs stay in the first-level cache
FEW = 4  # channels that do not fill a tile of dw by themselves

# The head of a convolution's tables: where the tiles begin and how many there are, and where their
# runs begin, forwards and backwards; where the products of dw begin, and how many.
HEAD = FT, FN, FR, BT, BN, BR, DT, DN = range(8)


class Window(NamedTuple):
    """A convolution of images: H x W x C, kh x kw taps, to H_out x W_out x N."""

    H: int
    W: int
    C: int
    H_out: int
    W_out: int
    N: int
    kh: int
    kw: int
    sr: int
    sc: int
    pr: int
    pc: int


Taps = list[list[tuple[int, int]]]  # of each pixel of an axis: (tap, source)


def forward_taps(n: int, kernel: int, stride: int, pad: int, n_out: int) -> Taps:
    """For each output the inputs that it reads, of those inside the image."""
    reads = [[(i, o * stride + i - pad) for i in range(kernel)] for o in range(n_out)]
    return [[(i, r) for i, r in taps if 0 <= r < n] for taps in reads]


def backward_taps(n: int, kernel: int, stride: int, pad: int, n_out: int) -> Taps:
    """For each input the outputs that read it."""
    back: Taps = [[] for _ in range(n)]
    for o, taps in enumerate(forward_taps(n, kernel, stride, pad, n_out)):
        for i, r in taps:
            back[r].append((i, o))
    return [sorted(taps) for taps in back]


class Class(NamedTuple):
    """Pixels with the same taps: offsets (pixels,) of their first source and of themselves, and
    runs (n, 3) of numbers side by side: from the first source on, in w's rows, and how many."""

    sources: NDArray
    targets: NDArray
    runs: NDArray


def classes(rows: Taps, columns: Taps, width: int, unit: int, kw: int) -> list[Class]:
    """The classes of an image's pixels; a source has `width` columns and `unit` channels."""
    groups: dict[tuple, list[tuple[int, int]]] = {}
    for r, row in enumerate(rows):
        for q, column in enumerate(columns):
            top, left = (taps[0][1] if taps else 0 for taps in (row, column))
            key = tuple((i, s - top) for i, s in row), tuple((j, s - left) for j, s in column)
            groups.setdefault(key, []).append((top * width + left, r * len(columns) + q))
    found = []
    for (row, column), pixels in groups.items():
        runs: list[list[int]] = []
        for i, r in row:
            for j, q in column:
                at, start = (r * width + q) * unit, (i * kw + j) * unit
                if runs and runs[-1][0] + runs[-1][2] == at and runs[-1][1] + runs[-1][2] == start:
                    runs[-1][2] += unit  # goes on where the last one ends
                else:
                    runs.append([at, start, unit])
        sources, targets = np.array(pixels).T
        found.append(Class(sources * unit, targets, np.array(runs, np.int64).reshape(-1, 3)))
    return found


def over_images(offsets: NDArray, images: int, size: int) -> NDArray:
    """The offsets in each image, image after image."""
    return (np.arange(images)[:, None] * size + offsets).reshape(-1)


def tiles(
    found: list[Class], images: int, source: int, target: int, channels: int, height: int
) -> tuple[NDArray, NDArray]:
    """Tiles (n, 2 + 2 height): the first of its runs and how many, sources, targets; and the runs.
    source, target: elements of an image; channels of a target pixel."""
    out, first = [], 0
    for group in found:
        x = over_images(group.sources, images, source)
        y = over_images(group.targets * channels, images, target)
        n = -(-len(x) // height)
        last = np.minimum(np.arange(n * height), len(x) - 1)  # what is over is computed twice
        head = np.tile([first, len(group.runs)], (n, 1))
        pixels = (a[last].reshape(n, height) for a in (x, y))
        out.append(np.concatenate([head, *pixels], axis=1))
        first += len(group.runs)
    table = np.concatenate(out)
    order = np.argsort(table[:, 2 + height], kind="stable")  # neighbours read the same rows
    return table[order], np.concatenate([group.runs for group in found])


def pairs_by_tap(w: Window, rows: Taps, columns: Taps) -> list[tuple[NDArray, NDArray, NDArray]]:
    """For each tap: pixels of an image, as sources and targets, and the rows of dw that they add
    to, as (number within the source, row)."""
    found = []
    for i in range(w.kh):
        for j in range(w.kw):
            r = np.array([(o, s) for o, taps in enumerate(rows) for tap, s in taps if tap == i])
            q = np.array([(o, s) for o, taps in enumerate(columns) for tap, s in taps if tap == j])
            r, q = r.reshape(-1, 2), q.reshape(-1, 2)
            sources = (r[:, 1, None] * w.W + q[:, 1]).reshape(-1) * w.C
            targets = (r[:, 0, None] * w.W_out + q[:, 0]).reshape(-1)
            channels = np.arange(w.C)
            to = np.stack([channels, (i * w.kw + j) * w.C + channels], axis=1)
            found.append((sources, targets, to))
    return found


def pairs_by_class(found: list[Class]) -> list[tuple[NDArray, NDArray, NDArray]]:
    """The same, class by class, where a tap's channels are too few for a tile."""
    out = []
    for group in found:
        runs = [np.arange(n)[:, None] + [at, start] for at, start, n in group.runs]
        to = np.concatenate([np.zeros((0, 2), np.int64), *runs])
        out.append((group.sources, group.targets, to))
    return out


def products(
    groups: list[tuple[NDArray, NDArray, NDArray]], w: Window, images: int, height: int
) -> tuple[NDArray, NDArray, NDArray]:
    """dw's products: heads (n, 4), block by block: first pair and how many, first tile of rows and
    how many; pairs (n, 2) of offsets in x and dy; tiles of rows (n, 2 height)."""
    heads, pairs, rows, n_pairs, n_rows = [], [], [], 0, 0
    of_image = w.H_out * w.W_out
    whole = of_image * max(1, round(BLOCK / of_image))  # images, where they are small
    edges = np.arange(0, images * of_image, whole if whole <= 2 * BLOCK else BLOCK)
    for sources, targets, to in groups:
        x = over_images(sources, images, w.H * w.W * w.C)
        y = over_images(targets, images, of_image)
        cuts = [*np.searchsorted(y, edges), len(y)]
        n = -(-len(to) // height)
        last = np.minimum(np.arange(n * height), len(to) - 1)
        tile = to[last].reshape(n, height, 2).transpose(0, 2, 1).reshape(n, 2 * height)
        for block, (a, b) in enumerate(pairwise(cuts)):
            if b > a and n:
                heads.append((block, n_pairs + a, b - a, n_rows, n))
        pairs.append(np.stack([x, y * w.N], axis=1))
        rows.append(tile)
        n_pairs, n_rows = n_pairs + len(x), n_rows + n
    heads.sort(key=lambda head: head[0])  # stable: within a block in the order of the groups
    table = np.array([head[1:] for head in heads], np.int64).reshape(-1, 4)
    return table, np.concatenate(pairs), np.concatenate(rows)


@lru_cache(64)
def tables(w: Window, images: int, height: int, rows: int) -> NDArray:
    """All tables of a convolution of so many images, one task's or a thread's share of them, in one
    vector (n,) of int64: HEAD, then what it points to; the products of dw have the offsets of their
    pairs and rows. `height`: pixels of a tile; `rows`: of dw in one."""
    axes = [(w.H, w.kh, w.sr, w.pr, w.H_out), (w.W, w.kw, w.sc, w.pc, w.W_out)]
    reads = [forward_taps(*axis) for axis in axes]
    back = [backward_taps(*axis) for axis in axes]
    x, y = w.H * w.W * w.C, w.H_out * w.W_out * w.N
    found = classes(reads[0], reads[1], w.W, w.C, w.kw)
    forward = tiles(found, images, x, y, w.N, height)
    found_back = classes(back[0], back[1], w.W_out, w.N, w.kw)
    backward = tiles(found_back, images, y, x, w.C, height)
    groups = pairs_by_class(found) if w.C < FEW else pairs_by_tap(w, reads[0], reads[1])
    heads, pairs, to = products(groups, w, images, rows)
    head = np.zeros(len(HEAD), np.int64)
    parts, size = [head], len(head)
    starts = []
    for part in (*forward, *backward, heads, pairs, to):
        starts.append(size)
        parts.append(part.astype(np.int64).reshape(-1))
        size += parts[-1].size
    head[[FT, FR, BT, BR, DT]] = starts[:5]
    head[[FN, BN, DN]] = len(forward[0]), len(backward[0]), len(heads)
    heads[:, 0] = starts[5] + 2 * heads[:, 0]
    heads[:, 2] = starts[6] + 2 * rows * heads[:, 2]
    parts[5] = heads.reshape(-1)
    return np.concatenate(parts)
