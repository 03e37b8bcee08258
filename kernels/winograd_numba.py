"""Winograd's convolution F(2x2, 3x3), Numba: 3 x 3 kernels, stride 1. Derivation: winograd.md.

A transform reads a tile, a vector of channels at a time, and keeps it in registers until the end.
What it adds the NumPy reference says: its functions get vectors that write down an instruction
where they are added.

An output goes through the same operations in the same order whichever block its tile is in, and a
sum over tiles is one of blocks' sums, whose sizes follow from the numbers of channels. So bits do
not depend on threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import register_jitable

from .jit_numba import inner
from .vectors_numba import HERE, Emitter, Processor, emitted
from .winograd_numpy import Vector, of_inputs, of_outputs, of_taps, to_outputs, to_taps, twice

BLOCK = 2**16  # numbers of transformed tiles, in and out, at a time: half a second-level cache
BYTES = HERE.bytes
PANEL = 2  # vectors of output channels in a tile of a product
HIGHEST = 12  # rows of a tile of a product, on any processor
APART = 16  # numbers between the entries of tiles, so that they do not all meet in one cache set


@dataclass(frozen=True)
class Lanes:
    """A vector whose arithmetic is written down."""

    builder: Any
    value: Any

    def __add__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fsub(self.value, other.value))

    def __truediv__(self, number: float) -> Lanes:  # by a power of 2, which is exact
        kind = self.value.type
        inverse = ir.Constant(kind, [1 / number] * kind.count)
        return Lanes(self.builder, self.builder.fmul(self.value, inverse))


def transform(f: Callable[[Vector], Vector], size: int, biased: bool = False) -> Any:
    """Writes F table F', size x size entries of `count` channels, f as in winograd_numpy.py.

    Entry (i, j) lies i row + j column numbers behind `at`, of the result i to_row + j to_column
    behind `to`; biased: bias[channel] is added to every entry of the result.
    """

    def write(
        e: Emitter, to: Any, to_row: Any, to_column: Any, at: Any, row: Any, column: Any,
        count: Any, bias: Any,
    ) -> None:  # fmt: skip
        b = e.b

        def place(base: Any, i: int, by: Any, j: int, step: Any, done: Any) -> Any:
            offset = b.add(b.mul(by, e.number(i)), b.mul(step, e.number(j)))
            return e.pointer(base, b.add(offset, done))

        def vectors(done: Any, mask: Any) -> None:
            table = [
                [Lanes(b, e.load(place(at, i, row, j, column, done), 0, mask)) for j in range(size)]
                for i in range(size)
            ]
            offset = e.load(e.pointer(bias, done), 0, mask) if biased else None
            for i, results in enumerate(twice(f, table)):
                for j, result in enumerate(results):
                    value = b.fadd(result.value, offset) if biased else result.value
                    e.store(place(to, i, to_row, j, to_column, done), 0, value, mask)

        lanes = e.number(e.lanes)
        full = b.sdiv(count, lanes)
        with cgutils.for_range(b, full) as k:
            vectors(b.mul(k.index, lanes), None)
        done = b.mul(full, lanes)
        with b.if_then(b.icmp_signed("<", done, count)):
            vectors(done, e.first(b.sub(count, done)))

    return emitted(8, write)


input_tile = transform(of_inputs, 4)
gradient_tile = transform(of_outputs, 2)
output_tile = transform(to_outputs, 4, biased=True)
tap_tiles = transform(of_taps, 3)
taps_of_tiles = transform(to_taps, 4)


def heights(machine: Processor) -> tuple[int, int]:
    """Rows of a tile of a product, and of dw: its sums, a panel and a number fill the registers."""
    return (HIGHEST, 8) if machine.registers == 32 else (HIGHEST // 2, 4)


def product_tile(height: int, vectors: int, masked: bool) -> Callable[..., None]:
    """c[m, n] = sum over k of a[m, k] b[k, n], or c[m, n] plus that where `add` is 1, for `height`
    rows m and so many vectors of n; masked: of the last, `valid` lanes.

    a's numbers are a_row and a_column numbers apart, rows of b and c have N.
    """

    def write(
        e: Emitter, c: Any, a: Any, a_row: Any, a_column: Any, b: Any, N: Any, K: Any, add: Any,
        valid: Any,
    ) -> None:  # fmt: skip
        w = e.b
        masks = [None] * (vectors - 1) + [e.first(valid) if masked else None]
        sums = [e.cells(vectors) for _ in range(height)]
        rows = [e.pointer(a, w.mul(a_row, e.number(m))) for m in range(height)]
        places = [e.pointer(c, w.mul(N, e.number(m))) for m in range(height)]
        for cells in sums:
            for cell in cells:
                w.store(e.zero, cell)
        with e.steps(K) as k:
            panel = [e.load(e.pointer(b, w.mul(k.index, N)), v, masks[v]) for v in range(vectors)]
            along = w.mul(k.index, a_column)
            for row, cells in zip(rows, sums, strict=True):
                number = e.everywhere(w.load(w.gep(row, [along])))
                for v, cell in enumerate(cells):
                    w.store(e.multiply_add(number, panel[v], w.load(cell)), cell)
        with w.if_then(w.icmp_signed("!=", add, e.number(0))):
            for cells, place in zip(sums, places, strict=True):
                for v, cell in enumerate(cells):
                    w.store(w.fadd(e.load(place, v, masks[v]), w.load(cell)), cell)
        for cells, place in zip(sums, places, strict=True):
            for v, cell in enumerate(cells):
                e.store(place, v, w.load(cell), masks[v])

    return write


HEIGHT, ROWS = heights(HERE)
(rows_panel, rows_rest), (sums_panel, sums_rest) = (
    [emitted(9, product_tile(n, PANEL, False)), emitted(9, product_tile(n, 1, True))]
    for n in (HEIGHT, ROWS)
)


@register_jitable
def whole(count, height):
    """The next multiple of a height: what is over is computed and not looked at."""
    return (count + height - 1) // height * height


@register_jitable
def apart(count, channels):
    """Numbers from one entry of the tiles to the next."""
    return count * channels + APART


@inner
def products(M, V, U, P, C, N):
    """Write M = V U, (P, C) (C, N), for each of the 16 entries of a tile (winograd.md, eq. 6)."""
    size, one = V.itemsize, V.dtype.type(1)
    lanes = BYTES // size
    m, v = apart(whole(P, HEIGHT), N), apart(whole(P, HEIGHT), C)
    for entry in range(16):
        b = U.ctypes.data + entry * (C * N + APART) * size
        for p in range(0, P, HEIGHT):
            a = V.ctypes.data + (entry * v + p * C) * size
            c = M.ctypes.data + (entry * m + p * N) * size
            done = 0
            while done + PANEL * lanes <= N:
                at = done * size
                rows_panel(one, (c + at, a, C, 1, b + at, N, C, 0, 0))
                done += PANEL * lanes
            while done < N:
                at = done * size
                rows_rest(one, (c + at, a, C, 1, b + at, N, C, 0, N - done))
                done += lanes


@inner
def products_dw(dU, V, W, P, C, N, add):
    """Write dU = V' W, (C, P) (P, N), or add it, for each of the 16 entries (eq. 8)."""
    size, one = V.itemsize, V.dtype.type(1)
    lanes = BYTES // size
    v, w, u = (apart(whole(P, HEIGHT), C), apart(whole(P, HEIGHT), N), apart(whole(C, ROWS), N))
    for entry in range(16):
        for channel in range(0, C, ROWS):
            a = V.ctypes.data + (entry * v + channel) * size
            b = W.ctypes.data + entry * w * size
            c = dU.ctypes.data + (entry * u + channel * N) * size
            done = 0
            while done + PANEL * lanes <= N:
                at = done * size
                sums_panel(one, (c + at, a, 1, C, b + at, N, P, add, 0))
                done += PANEL * lanes
            while done < N:
                at = done * size
                sums_rest(one, (c + at, a, 1, C, b + at, N, P, add, N - done))
                done += lanes


@inner
def patch_of(patch, x, b, r, q, size):
    """Write the size x size pixels of image b from (r, q) on, 0 outside: patch (size, size, C)."""
    for i in range(size):
        for j in range(size):
            inside = 0 <= r + i < x.shape[1] and 0 <= q + j < x.shape[2]
            for c in range(x.shape[3]):
                patch[i, j, c] = x[b, r + i, q + j, c] if inside else 0


@inner
def inputs(V, patch, x, first, P, high, wide, pr, pc):
    """Write B' d B for P tiles, of high x wide in an image (winograd.md, eq. 6)."""
    _, H, W, C = x.shape
    size, one, v = x.itemsize, x.dtype.type(1), apart(whole(P, HEIGHT), C)
    around = patch[: 16 * C].reshape((4, 4, C))
    for k in range(P):
        tile = (first + k) % (high * wide)
        b, r, q = (first + k) // (high * wide), 2 * (tile // wide) - pr, 2 * (tile % wide) - pc
        to = V.ctypes.data + k * C * size
        if 0 <= r <= H - 4 and 0 <= q <= W - 4:
            at = x.ctypes.data + ((b * H + r) * W + q) * C * size
            input_tile(one, (to, 4 * v, v, at, W * C, C, C, 0))
        else:
            patch_of(around, x, b, r, q, 4)
            input_tile(one, (to, 4 * v, v, patch.ctypes.data, 4 * C, C, C, 0))


@inner
def gradients(W, patch, dy, first, P, high, wide):
    """Write A dy A' for P tiles (winograd.md, eq. 8)."""
    _, H, W_out, N = dy.shape
    size, one, w = dy.itemsize, dy.dtype.type(1), apart(whole(P, HEIGHT), N)
    around = patch[: 4 * N].reshape((2, 2, N))
    for k in range(P):
        tile = (first + k) % (high * wide)
        b, o, p = (first + k) // (high * wide), 2 * (tile // wide), 2 * (tile % wide)
        to = W.ctypes.data + k * N * size
        if o <= H - 2 and p <= W_out - 2:
            at = dy.ctypes.data + ((b * H + o) * W_out + p) * N * size
            gradient_tile(one, (to, 4 * w, w, at, W_out * N, N, N, 0))
        else:
            patch_of(around, dy, b, o, p, 2)
            gradient_tile(one, (to, 4 * w, w, patch.ctypes.data, 2 * N, N, N, 0))


@inner
def outputs(y, patch, M, bias, first, P, high, wide):
    """Write A' m A + bias for P tiles, of those that hang over what lies in y."""
    _, H, W, N = y.shape
    size, one, m = y.itemsize, y.dtype.type(1), apart(whole(P, HEIGHT), N)
    around = patch[: 4 * N].reshape((2, 2, N))
    for k in range(P):
        tile = (first + k) % (high * wide)
        b, o, p = (first + k) // (high * wide), 2 * (tile // wide), 2 * (tile % wide)
        at, start = M.ctypes.data + k * N * size, bias.ctypes.data
        if o <= H - 2 and p <= W - 2:
            to = y.ctypes.data + ((b * H + o) * W + p) * N * size
            output_tile(one, (to, W * N, N, at, 4 * m, m, N, start))
        else:
            output_tile(one, (patch.ctypes.data, 2 * N, N, at, 4 * m, m, N, start))
            for i in range(min(2, H - o)):
                for j in range(min(2, W - p)):
                    for n in range(N):
                        y[b, o + i, p + j, n] = around[i, j, n]


@register_jitable
def tiles_at_once(C, N):
    """How many tiles a block has, on any processor."""
    return max(1, BLOCK // (16 * HIGHEST * (C + N))) * HIGHEST


@register_jitable
def pieces(C, N):
    """Where parts of the scratch begin, and its end: V, the products or W, U or dU, a patch."""
    P = tiles_at_once(C, N)
    M = 16 * apart(P, C)
    U = M + 16 * apart(P, N)
    patch = U + 16 * apart(whole(C, ROWS), N)
    return M, U, patch, patch + 16 * max(C, N)


@inner
def winograd_forward(y, room, x, w, bias, pr, pc):
    """Write y = A' [(G w G') (B' x B)] A + bias for the images of one task (winograd.md, eq. 6).

    y (B, H_out, W_out, N), x (B, H, W, C), w (3, 3, C, N), bias (N,); room (pieces(C, N)[-1],) is
    scratch.
    """
    B, H, W, N = y.shape
    C, high, wide, one = x.shape[3], (H + 1) // 2, (W + 1) // 2, x.dtype.type(1)
    at_M, at_U, at_patch, _ = pieces(C, N)
    V, M, U, patch = room[:at_M], room[at_M:at_U], room[at_U:at_patch], room[at_patch:]
    u = C * N + APART
    tap_tiles(one, (U.ctypes.data, 4 * u, u, w.ctypes.data, 3 * C * N, C * N, C * N, 0))
    step, total = tiles_at_once(C, N), B * high * wide
    for first in range(0, total, step):
        P = min(step, total - first)
        inputs(V, patch, x, first, P, high, wide, pr, pc)
        products(M, V, U, P, C, N)
        outputs(y, patch, M, bias, first, P, high, wide)


@inner
def winograd_dw(dw, room, dy, x, pr, pc):
    """Write dw = G' [sum (B' x B) (A dy A')] G for the images of one task (winograd.md, eq. 8).

    dw (3, 3, C, N); the rest as above.
    """
    B, H, W, N = dy.shape
    C, high, wide, one = x.shape[3], (H + 1) // 2, (W + 1) // 2, x.dtype.type(1)
    at_W, at_U, at_patch, _ = pieces(C, N)
    V, Y, dU, patch = room[:at_W], room[at_W:at_U], room[at_U:at_patch], room[at_patch:]
    step, total = tiles_at_once(C, N), B * high * wide
    for first in range(0, total, step):
        P = min(step, total - first)
        inputs(V, patch, x, first, P, high, wide, pr, pc)
        gradients(Y, patch, dy, first, P, high, wide)
        products_dw(dU, V, Y, P, C, N, min(first, 1))
    u = apart(whole(C, ROWS), N)
    taps_of_tiles(one, (dw.ctypes.data, 3 * C * N, C * N, dU.ctypes.data, 4 * u, u, C * N, 0))


@register_jitable
def room_for(C, N):
    """Numbers of scratch for all that a convolution needs, with a bias and turned weights."""
    return C + N + 9 * C * N + max(pieces(C, N)[-1], pieces(N, C)[-1])


@inner
def half_turn(turned, w):
    """Write turned (3, 3, N, C), w (3, 3, C, N) as dx reads it (winograd.md, eq. 7)."""
    for i in range(3):
        for j in range(3):
            for n in range(w.shape[3]):
                for c in range(w.shape[2]):
                    turned[i, j, n, c] = w[2 - i, 2 - j, c, n]


@inner
def room_in(cols, numbers):
    """Scratch of so many numbers: what is there, if it is large enough."""
    flat = cols.reshape(-1)
    return flat if flat.size >= numbers else np.empty(numbers, flat.dtype)
