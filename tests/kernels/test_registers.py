"""Register tiles: their tables against windows cut from a padded image; their numbers against the
reference on shapes that cross every edge of a tile; their bits, whatever the tile and the vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile.backend import why_not

if why_not("numba"):
    pytest.skip(why_not("numba"), allow_module_level=True)

from minireptile.backend import versions
from minireptile.kernels.registers_numba import (
    HEIGHT,
    PANEL,
    ROWS,
    conv_products,
    conv_rows,
    conv_rows_back,
    turned,
)
from minireptile.kernels.tiles import BN, BR, BT, DN, DT, FEW, FN, FR, FT, Window, tables
from minireptile.kernels.vectors_numba import HERE
from minireptile.testing.strategies import geometries, seeds

from .contract import Call, Gradient, Parameter, Written, close, make
from .contract_calls import REFERENCES, largest, uniform, with_some_outputs
from .emitted import Tile, compiled

# Each type has tiles of its own, which are compiled for these tests alone.
both_types = pytest.mark.parametrize(
    "dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.long)]
)

Terms = dict[int, list[tuple[int, int]]]  # of each number written, by its place, in their order

# ----------------------------------------------------------------------------------- the tables


few = st.integers(1, 9)


@st.composite
def windows(draw: st.DrawFn, channels: st.SearchStrategy = few) -> Window:
    g = draw(geometries())
    n = draw(channels), draw(channels)
    sizes = *g.in_size, n[0], *g.out_size, n[1], *g.kernel, *g.stride, *g.pad
    return Window._make(sizes)


def meetings(w: Window, images: int) -> NDArray:
    """(n, 3): an output pixel, a tap, and the input pixel that meet; in order. From windows of a
    padded image that holds the numbers of its pixels."""
    pixels = np.arange(images * w.H * w.W).reshape(images, w.H, w.W)
    rows, columns = (w.H_out * w.sr + w.kh, w.W_out * w.sc + w.kw)  # enough behind the image
    padded = np.pad(pixels, ((0, 0), (w.pr, rows), (w.pc, columns)), constant_values=-1)
    cut = np.lib.stride_tricks.sliding_window_view(padded, (w.kh, w.kw), (1, 2))
    cut = cut[:, :: w.sr, :: w.sc][:, : w.H_out, : w.W_out].reshape(-1, w.kh * w.kw)
    y, tap = np.nonzero(cut >= 0)
    return np.stack([y, tap, cut[y, tap]], axis=1)


def sums(triples: NDArray, targets: int, to: int, unit: int) -> Terms:
    """Of each of the target pixels, `to` numbers each, what it is a sum of: (place in the source,
    row of the weights), from triples (target pixel, tap, source pixel) of `unit` numbers each."""
    found: Terms = {pixel * to: [] for pixel in range(targets)}
    for pixel, tap, source in triples.tolist():
        found[pixel * to] += [(source * unit + k, tap * unit + k) for k in range(unit)]
    return found


def read_tiles(table: NDArray, first: int, n: int, runs: int, height: int) -> Terms:
    """What the tiles compute."""
    found: Terms = {}
    for tile in table[first : first + n * (2 + 2 * height)].reshape(n, 2 + 2 * height).tolist():
        these = table[runs + 3 * tile[0] :][: 3 * tile[1]].reshape(-1, 3).tolist()
        places = [(at + k, row + k) for at, row, length in these for k in range(length)]
        for source, target in zip(tile[2 : 2 + height], tile[2 + height :], strict=True):
            terms = [(source + at, row) for at, row in places]
            assert found.setdefault(target, terms) == terms, "two sums for one place"
    return found


def read_products(table: NDArray, rows: int) -> Terms:
    """Of each row of dw, the places in x and in dy whose products are added, as they come."""
    found: Terms = defaultdict(list)
    for at, count, first, n in table[table[DT] :][: 4 * table[DN]].reshape(-1, 4).tolist():
        pairs = table[at : at + 2 * count].reshape(-1, 2).tolist()
        for tile in table[first : first + n * 2 * rows].reshape(n, 2, rows):
            for number, row in sorted(set(zip(*tile.tolist(), strict=True))):
                found[row] += [(source + number, target) for source, target in pairs]
    return found


@given(windows(), st.integers(1, 4), st.integers(1, 10), st.integers(1, 8))
def test_tables_have_every_term_once_and_in_order(
    w: Window, images: int, height: int, rows: int
) -> None:
    met, table = meetings(w, images), tables(w, images, height, rows)
    y, x = images * w.H_out * w.W_out, images * w.H * w.W
    forward = read_tiles(table, table[FT], table[FN], table[FR], height)
    assert forward == sums(met, y, w.N, w.C)
    back = met[np.lexsort((met[:, 1], met[:, 2]))][:, ::-1]  # input pixel, tap, output pixel
    backward = read_tiles(table, table[BT], table[BN], table[BR], height)
    assert backward == sums(back, x, w.C, w.N)
    expected: Terms = defaultdict(list)
    for target, tap, source in met.tolist():
        for c in range(w.C):
            expected[tap * w.C + c].append((source * w.C + c, target * w.N))
    found = read_products(table, rows)
    by_pixel = {row: sorted(terms, key=lambda term: term[1]) for row, terms in found.items()}
    assert (by_pixel if w.C < FEW else found) == expected  # few channels: class after class
    assert found == read_products(tables(w, images, 1, 1), 1)


@pytest.mark.parametrize(
    ("rows", "columns", "block"), [(4, 4, 64), (10, 10, 100), (10, 12, 120), (11, 11, 60)]
)
def test_the_products_of_dw_go_block_by_block(rows: int, columns: int, block: int) -> None:
    """Some whole images, or 60 pixels of a large one: all taps read a block while it is near."""
    w = Window(rows, columns, 4, rows, columns, 2, 3, 3, 1, 1, 1, 1)
    images = 600 // (rows * columns)
    table = tables(w, images, 4, 4)
    met = []
    for at, count, _, _ in table[table[DT] :][: 4 * table[DN]].reshape(-1, 4):
        pixels = table[at : at + 2 * count].reshape(-1, 2)[:, 1] // w.N
        assert pixels[0] // block == pixels[-1] // block
        met.append(int(pixels[0] // block))
    assert met == sorted(met)
    assert max(map(met.count, met)) == 9
    assert len(set(met)) == -(-images * rows * columns // block)


# ----------------------------------------------------------------- numbers, across every edge


def around(*edges: int) -> st.SearchStrategy[int]:
    return st.sampled_from(sorted({max(1, edge + n) for edge in edges for n in (-1, 0, 1)}))


LANES = HERE.bytes // 8, HERE.bytes // 4
CHANNELS = around(FEW, ROWS, 2 * ROWS)
FILTERS = around(*LANES, *(PANEL * n for n in LANES))
IMAGES = around(1, HEIGHT, 2 * HEIGHT)


@st.composite
def calls(draw: st.DrawFn, backward: bool) -> Call:
    """As the contract's, two tasks, with sizes around those of tiles and panels."""
    g, c, n, B = draw(geometries(3)), draw(CHANNELS), draw(FILTERS), draw(IMAGES)
    c, n = draw(st.permutations((c, n)))  # forwards and backwards change places
    rng = np.random.default_rng(draw(seeds))
    shapes = (2, B, *g.in_size, c), (2, *g.kernel, c, n), (2, n), (2, B, *g.out_size, n)
    x, w, b, dy = (uniform(rng, *shape) for shape in shapes)
    taps = g.kernel[0] * g.kernel[1]
    assume(taps * max(c, n) < 190)  # longer sums have wider tolerances
    if not backward:
        bias = Parameter(b) if draw(st.booleans()) else None
        arguments = Written(dy.shape), None, x, Parameter(w), bias, g.stride, g.pad
        return Call(arguments, taps * c + 1, (taps * c + 1) * max(1, largest(x, w)))
    terms = max(taps * n, B * g.out_size[0] * g.out_size[1])
    written = Written(x.shape), Gradient(w.shape), Gradient(b.shape)
    return Call((*written, None, dy, x, Parameter(w), g.stride, g.pad), terms, terms)


@both_types
@pytest.mark.parametrize("operation", ["conv2d_forward", "conv2d_backward"])
@given(data=st.data())
def test_shapes_across_every_edge(operation: str, dtype: type, data: st.DataObject) -> None:
    call = data.draw(with_some_outputs(calls("backward" in operation)))
    expected = make(REFERENCES[operation], call.rounded(dtype), np.float64)
    close(make(versions(operation, "numba")["v3"], call, dtype), expected, call, dtype)


# -------------------------------------------------------------------------- bits, whatever the tile


class Memory:
    """Arrays between fences of NaN, which nobody may write or let into a sum. They begin anywhere,
    as a parameter does."""

    def __init__(self, window: Window, images: int, dtype: type, seed: int) -> None:
        self.rng, self.dtype = np.random.default_rng(seed), dtype
        self.vectors: list[NDArray] = []
        w, taps = window, window.kh * window.kw
        self.x = self.array(images, w.H, w.W, w.C)
        self.dy = self.array(images, w.H_out, w.W_out, w.N)
        self.w, self.b = self.array(taps, w.C, w.N), self.array(w.N)
        self.wt = self.array(taps, w.N, w.C)
        turned(self.wt, self.w)

    def array(self, *shape: int) -> NDArray:
        n = int(np.prod(shape))
        vector: NDArray = np.full(n + 2 * 67, np.nan, self.dtype)
        vector[67:-67] = uniform(self.rng, n)
        self.vectors.append(vector)
        return vector[67:-67].reshape(shape)

    def copy(self, array: NDArray) -> NDArray:
        new = self.array(*array.shape)
        new[...] = array
        return new

    def check(self) -> None:
        for vector in self.vectors:
            assert np.isnan(vector[:67]).all()
            assert np.isnan(vector[-67:]).all()
            assert np.isfinite(vector[67:-67]).all()


def at(array: NDArray | None) -> int:
    return 0 if array is None else array.ctypes.data


def rows(y: NDArray, x: NDArray, w: NDArray, b: NDArray | None, table: NDArray, add: int) -> None:
    conv_rows(y.dtype.type(1), at(y), at(x), at(w), at(b), table, y.shape[-1], add)


def rows_back(dx: NDArray, dy: NDArray, wt: NDArray, table: NDArray, add: int) -> None:
    conv_rows_back(dx.dtype.type(1), at(dx), at(dy), at(wt), table, dx.shape[-1], add)


def products(dw: NDArray, x: NDArray, dy: NDArray, table: NDArray) -> None:
    conv_products(dw.dtype.type(1), at(dw), at(x), at(dy), table, dw.shape[-1])


def panels(tile: Tile, lanes: int, N: int) -> Iterator[tuple[Any, int, int]]:
    """The compiled tiles for all channels, the first channel of each and how many are left."""
    machine = HERE._replace(bytes=lanes * tile.bits // 8)
    done = 0
    while done + tile.vectors * lanes <= N:
        yield compiled(tile, machine), done, 0
        done += tile.vectors * lanes
    while done < N:
        yield compiled(tile._replace(vectors=1, masked=True), machine), done, N - done
        done += lanes


def by_tiles(tile: Tile, lanes: int, y: NDArray, x: NDArray, w: NDArray, b: NDArray | None,
             table: NDArray, first: int, n: int, runs: int) -> None:  # fmt: skip
    """Write y = x w + b by tiles of another size."""
    for t in range(n):
        head = first + t * (2 + 2 * tile.rows)
        these, count = at(table) + 8 * (runs + 3 * int(table[head])), int(table[head + 1])
        for function, done, left in panels(tile, lanes, y.shape[-1]):
            place = y.itemsize * done
            start = 0 if b is None else at(b) + place
            function(at(x), at(w) + place, at(y) + place, at(table) + 8 * head, these, count,
                     y.shape[-1], start, 0, left)  # fmt: skip


def by_products(tile: Tile, lanes: int, dw: NDArray, x: NDArray, dy: NDArray,
                table: NDArray) -> None:  # fmt: skip
    """Add the gradient to dw likewise."""
    for pairs, count, first, n in table[table[DT] :][: 4 * table[DN]].reshape(-1, 4).tolist():
        for r in range(n):
            to = at(table) + 8 * (first + r * 2 * tile.rows)
            for function, done, left in panels(tile, lanes, dw.shape[-1]):
                place = dw.itemsize * done
                function(at(x), at(dy) + place, at(dw) + place, at(table) + 8 * pairs, count, to,
                         dw.shape[-1], left)  # fmt: skip


same = np.testing.assert_array_equal
small = windows(around(*LANES, FEW))


@both_types
@given(small, st.integers(1, 4), seeds, st.sampled_from((1, 4, 7, 10)), st.sampled_from((1, 2, 3)),
       st.sampled_from((16, 32, 64)))  # fmt: skip
def test_bits_for_any_tile_and_vector(
    dtype: type, w: Window, images: int, seed: int, height: int, vectors: int, width: int
) -> None:
    m = Memory(w, images, dtype, seed)
    table, other = tables(w, images, HEIGHT, ROWS), tables(w, images, height, height)
    tile = Tile(height, vectors, False, 8 * m.x.itemsize)
    lanes = width // m.x.itemsize
    y, dx, dw = (m.copy(a) for a in (m.dy, m.x, m.w))
    rows(y, m.x, m.w, m.b, table, 0)
    rows_back(dx, m.dy, m.wt, table, 0)
    products(dw, m.x, m.dy, table)
    y_too, dx_too, dw_too = (m.copy(a) for a in (m.dy, m.x, m.w))
    starts, back = ([int(n) for n in other[[*these]]] for these in ((FT, FN, FR), (BT, BN, BR)))
    by_tiles(tile, lanes, y_too, m.x, m.w, m.b, other, *starts)
    by_tiles(tile, lanes, dx_too, m.dy, m.wt, None, other, *back)
    by_products(tile._replace(of_dw=True), lanes, dw_too, m.x, m.dy, other)
    same(y_too, y)
    same(dx_too, dx)
    same(dw_too, dw)
    m.check()


@both_types
@given(small, st.integers(2, 12), seeds, st.data())
def test_bits_for_any_share_of_the_images(
    dtype: type, w: Window, images: int, seed: int, data: st.DataObject
) -> None:
    m = Memory(w, images, dtype, seed)
    table, cut = tables(w, images, HEIGHT, ROWS), data.draw(st.integers(1, images - 1))
    y, dx, dw = (m.copy(a) for a in (m.dy, m.x, m.w))
    rows(y, m.x, m.w, m.b, table, 0)
    rows_back(dx, m.dy, m.wt, table, 0)
    products(dw, m.x, m.dy, table)
    y_too, dx_too, dw_too = (m.copy(a) for a in (m.dy, m.x, m.w))
    for share in (slice(0, cut), slice(cut, images)):
        part = tables(w, share.stop - share.start, HEIGHT, ROWS)
        rows(y_too[share], m.x[share], m.w, m.b, part, 0)
        rows_back(dx_too[share], m.dy[share], m.wt, part, 0)
        products(dw_too, m.x[share], m.dy[share], part)
    same(y_too, y)
    same(dx_too, dx)
    if w.C >= FEW:  # pixel after pixel: the sum goes on
        same(dw_too, dw)
    m.check()


@both_types
@given(small, st.integers(1, 12), seeds)
def test_a_sum_goes_on_from_what_is_there(dtype: type, w: Window, images: int, seed: int) -> None:
    m = Memory(w, images, dtype, seed)
    table = tables(w, images, HEIGHT, ROWS)
    y, dx, y_too, dx_too = (m.copy(a) for a in (m.dy, m.x, m.dy, m.x))
    rows(y, m.x, m.w, m.b, table, 0)
    y_too[...] = m.b
    rows(y_too, m.x, m.w, None, table, 1)
    same(y_too, y)
    rows_back(dx, m.dy, m.wt, table, 0)
    dx_too[...] = 0
    rows_back(dx_too, m.dy, m.wt, table, 1)
    same(dx_too, dx)
    rows(y, m.x, m.w, None, table, 0)  # and without an offset
    y_too[...] = 0
    rows(y_too, m.x, m.w, None, table, 1)
    same(y_too, y)
    m.check()
