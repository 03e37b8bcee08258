"""13: the way back through im2col, and through a transposed convolution."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from minireptile.testing import check_adjoint, check_same
from tests.mistakes import conv2d

from ..record import Exercise, made_in, named

SOLUTION = named(conv2d, "col2im", "gather")
rng = np.random.default_rng(0)
# The images' shape, kernel, stride and pad: windows that overlap, touch, or leave pixels out.
SHAPES = (
    ((2, 5, 4, 3), (3, 2), 1, ((1, 1), (0, 1))),
    ((1, 6, 6, 1), (2, 2), 2, ((0, 0), (0, 0))),
    ((1, 7, 8, 2), (1, 2), 3, ((0, 0), (2, 0))),
    ((2, 2, 3, 1), (4, 5), 2, ((1, 2), (2, 2))),
)


def check(my: ModuleType) -> None:
    """The adjoint of 3 x 3 windows at stride 2; other sizes, entry by entry; then gather."""
    conv2d.check_col2im(my.col2im)()
    for shape, kernel, stride, pad in SHAPES:
        x = rng.standard_normal(shape)
        cols = conv2d.im2col(x, kernel, stride, pad)
        said = f"col2im, x {shape}, kernel {kernel}, stride {stride}, pad {pad}"
        given = cols, shape, stride, pad
        check_same(my.col2im, conv2d.col2im, *given, length=kernel[0] * kernel[1], name=said)
    conv2d.check_transposed(my.gather)()
    for shape, kernel, stride, pad in SHAPES:
        x, w = rng.standard_normal(shape), rng.standard_normal((*kernel, shape[3], 2))
        y = conv2d.gather(x, w, stride, pad)
        check_adjoint(
            lambda y, w=w, s=shape, n=stride, p=pad: conv2d.spread(y, w, s, n, p),  # type: ignore[misc]
            lambda x, w=w, n=stride, p=pad: my.gather(x, w, n, p),  # type: ignore[misc]
            y, x, name=f"spread, x {shape}, w {w.shape}, stride {stride}, pad {pad}",
        )  # fmt: skip


EXERCISE = Exercise(
    name="13_col2im",
    title="col2im, the adjoint of im2col",
    minutes=20,
    read="kernels/conv2d.md, eq. 6 and 9",
    hints=(
        "im2col: cols[b, o, p, i, j, c] = x[b, o s + i - top, p s + j - left, c]. Its adjoint adds "
        "cols[b, o, p, i, j, c] to the same entry of x: eq. 9 of kernels/conv2d.md.",
        "Begin with zeros of the padded size. Tap (i, j) is one slice of them, rows i, i + s, ..., "
        "H_out in all, and one slice of cols, [:, :, :, i, j]. Cut the padding off at the end.",
        "A pixel lies in several windows, under another tap in each, so that the slices of "
        "different taps overlap: add, and do not assign.",
        "spread is y -> y w' -> col2im. The adjoint of a chain is the chain of adjoints, from the "
        "last to the first: im2col, and then the sum over i, j and c with w, not flipped. "
        "np.tensordot(cols, w, 3) sums over the last three axes of cols.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, conv2d),
)
