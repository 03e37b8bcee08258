"""Convolutions by tiles of sums that stay in registers, Numba. Derivation: registers.md.

tiles.py says which pixels a tile has and where its numbers lie. A sum goes over the taps and
channels in one order, whatever the tile, the vector and the number of threads.
"""

from typing import Any

from numba.core import cgutils

from .jit_numba import inner, jit
from .memory_numba import address_of, size_of
from .tiles import BN, BR, BT, DN, DT, FN, FR, FT
from .vectors_numba import HERE, Emitter, Processor, emitted

BYTES = HERE.bytes
PANEL = 2  # vectors of output channels in a tile


def sizes(machine: Processor) -> tuple[int, int]:
    """Pixels of a tile, rows of dw in one: with a panel of weights and a number of x they fill the
    registers, and the 10 or more sums hide the time that a multiply-add takes."""
    return (10, 8) if machine.registers == 32 else (5, 4)


HEIGHT, ROWS = sizes(HERE)


def rows_tile(height: int, vectors: int, masked: bool) -> Any:
    """y[target + n] = start + sum over runs and k of x[source + at + k] w[(from + k) N + n], for
    `height` pixels and so many vectors of n; masked: of the last, `valid` lanes.

    start: b[n], where there is an address b; y itself, where `add` is 1; otherwise 0.
    """

    def write(
        e: Emitter, x: Any, w: Any, y: Any, tile: Any, runs: Any, n_runs: Any, N: Any,
        b: Any, add: Any, valid: Any,
    ) -> None:  # fmt: skip
        c = e.b
        masks = [None] * (vectors - 1) + [e.first(valid) if masked else None]
        sums = [e.cells(vectors) for _ in range(height)]
        xs = [e.pointer(x, e.integer(tile, 2 + m)) for m in range(height)]
        ys = [e.pointer(y, e.integer(tile, 2 + height + m)) for m in range(height)]
        start = e.cells(vectors)
        for cell in start:
            c.store(e.zero, cell)
        with c.if_then(c.icmp_signed("!=", b, e.number(0))):
            for v, cell in enumerate(start):
                c.store(e.load(e.pointer(b), v, masks[v]), cell)
        for row in sums:
            for v, cell in enumerate(row):
                c.store(c.load(start[v]), cell)
        with c.if_then(c.icmp_signed("!=", add, e.number(0))):
            for row, place in zip(sums, ys, strict=True):
                for v, cell in enumerate(row):
                    c.store(e.load(place, v, masks[v]), cell)
        with cgutils.for_range(c, n_runs) as run:
            record = c.add(runs, c.mul(run.index, e.number(24)))
            at, first, length = (e.integer(record, i) for i in range(3))
            here = [c.gep(place, [at]) for place in xs]
            weights = e.pointer(w, c.mul(first, N))
            with cgutils.for_range(c, length) as k:
                row = c.gep(weights, [c.mul(k.index, N)])
                panel = [e.load(row, v, masks[v]) for v in range(vectors)]
                for m in range(height):
                    # Each number right before its products: all at once would need registers.
                    number = e.everywhere(c.load(c.gep(here[m], [k.index])))
                    for v, cell in enumerate(sums[m]):
                        c.store(e.multiply_add(number, panel[v], c.load(cell)), cell)
        for row, place in zip(sums, ys, strict=True):
            for v, cell in enumerate(row):
                e.store(place, v, c.load(cell), masks[v])

    return write


def product_tile(rows: int, vectors: int, masked: bool) -> Any:
    """dw[row, n] += sum over pairs (s, t) of x[s + number] dy[t + n], for so many (number, row)
    and vectors of n."""

    def write(
        e: Emitter, x: Any, dy: Any, dw: Any, pairs: Any, count: Any, to: Any, N: Any, valid: Any
    ) -> None:
        c = e.b
        masks = [None] * (vectors - 1) + [e.first(valid) if masked else None]
        sums = [e.cells(vectors) for _ in range(rows)]
        xs = [e.pointer(x, e.integer(to, m)) for m in range(rows)]
        ws = [e.pointer(dw, c.mul(e.integer(to, rows + m), N)) for m in range(rows)]
        for row, place in zip(sums, ws, strict=True):
            for v, cell in enumerate(row):
                c.store(e.load(place, v, masks[v]), cell)
        y = e.pointer(dy)
        with cgutils.for_range(c, count) as p:
            record = c.add(pairs, c.mul(p.index, e.number(16)))
            source, target = e.integer(record, 0), e.integer(record, 1)
            place = c.gep(y, [target])
            panel = [e.load(place, v, masks[v]) for v in range(vectors)]
            for m in range(rows):
                number = e.everywhere(c.load(c.gep(xs[m], [source])))
                for v, cell in enumerate(sums[m]):
                    c.store(e.multiply_add(number, panel[v], c.load(cell)), cell)
        for row, place in zip(sums, ws, strict=True):
            for v, cell in enumerate(row):
                e.store(place, v, c.load(cell), masks[v])

    return write


rows_panel = emitted(10, rows_tile(HEIGHT, PANEL, False))
rows_rest = emitted(10, rows_tile(HEIGHT, 1, True))
product_panel = emitted(8, product_tile(ROWS, PANEL, False))
product_rest = emitted(8, product_tile(ROWS, 1, True))


@inner
def tile_rows(one, x, w, y, tables, tiles, n, runs, N, b, add):
    """All tiles of a table. one: the number 1 of the arrays' type; x, w, y, b: addresses."""
    size = size_of(one)
    lanes = BYTES // size
    at = address_of(tables)
    for t in range(n):
        head = tiles + t * (2 + 2 * HEIGHT)
        these = at + 8 * (runs + 3 * tables[head])
        tile, count = at + 8 * head, tables[head + 1]
        done = 0
        while done + PANEL * lanes <= N:
            place = done * size
            start = b + place if b else 0
            rows_panel(one, (x, w + place, y + place, tile, these, count, N, start, add, 0))
            done += PANEL * lanes
        while done < N:
            place = done * size
            start = b + place if b else 0
            rows_rest(one, (x, w + place, y + place, tile, these, count, N, start, add, N - done))
            done += lanes


@jit
def conv_rows(one, y, x, w, b, tables, N, add):
    """Write y = b + the convolution of x with w, or add it to y (registers.md, eq. 1)."""
    tile_rows(one, x, w, y, tables, tables[FT], tables[FN], tables[FR], N, b, add)


@jit
def conv_rows_back(one, dx, dy, wt, tables, C, add):
    """Write dx, from the weights with rows (tap, n) and columns c, or add it (eq. 2)."""
    tile_rows(one, dy, wt, dx, tables, tables[BT], tables[BN], tables[BR], C, 0, add)


@jit
def conv_products(one, dw, x, dy, tables, N):
    """Add the gradient to dw (registers.md, eq. 3)."""
    size = size_of(one)
    lanes = BYTES // size
    at = address_of(tables)
    for i in range(tables[DN]):
        head = tables[DT] + 4 * i
        pairs, count = at + 8 * tables[head], tables[head + 1]
        for r in range(tables[head + 3]):
            to = at + 8 * (tables[head + 2] + r * 2 * ROWS)
            done = 0
            while done + PANEL * lanes <= N:
                place = done * size
                product_panel(one, (x, dy + place, dw + place, pairs, count, to, N, 0))
                done += PANEL * lanes
            while done < N:
                place = done * size
                product_rest(one, (x, dy + place, dw + place, pairs, count, to, N, N - done))
                done += lanes


@jit
def turned(wt, w):
    """Write wt (taps, N, C), the weights w (taps, C, N) as dx reads them."""
    for tap in range(w.shape[0]):
        for c in range(w.shape[1]):
            for n in range(w.shape[2]):
                wt[tap, n, c] = w[tap, c, n]
