"""Max pooling, channels last. Its windows are 2 x 3; where they step by 1, they overlap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minireptile.testing import check_gradients, check_same

from .record import Check, Mistake

ROWS, COLUMNS = 2, 3
rng = np.random.default_rng(5)
x0 = rng.standard_normal((2, 5, 6, 2))
dy0 = rng.standard_normal((2, 2, 2, 2))

Backward = Callable[[NDArray, NDArray], NDArray]


def windows_of(x: NDArray) -> NDArray:
    """All windows, (B, H - ROWS + 1, W - COLUMNS + 1, C, ROWS, COLUMNS)."""
    return sliding_window_view(x, window_shape=(ROWS, COLUMNS), axis=(1, 2))  # type: ignore[call-overload, unused-ignore]


def by_window(x: NDArray) -> NDArray:
    """(B, H_out, W_out, C, ROWS * COLUMNS)."""
    windows = windows_of(x)[:, ::ROWS, ::COLUMNS]
    return windows.reshape(*windows.shape[:4], -1)


def pad(x: NDArray, value: float) -> NDArray:
    """A sixth row."""
    return np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=value)


def forward(x: NDArray) -> NDArray:
    """Windows side by side; the fifth row of x0 meets none."""
    return by_window(x).max(-1)


def forward_overlapping(x: NDArray) -> NDArray:
    return windows_of(x).max((-2, -1))


def forward_padded(x: NDArray) -> NDArray:
    """A sixth row, of -inf, which never wins."""
    return forward(pad(x, -np.inf))


def scatter(dy: NDArray, x: NDArray, down: int, right: int) -> NDArray:
    """Each dy to the first largest entry of its window."""
    dx = np.zeros_like(x)
    for at in np.ndindex(dy.shape):
        n, o, p, c = at
        window = x[n, o * down : o * down + ROWS, p * right : p * right + COLUMNS, c]
        i, j = divmod(int(np.argmax(window)), window.shape[1])
        dx[n, o * down + i, p * right + j, c] += dy[at]
    return dx


def backward(dy: NDArray, x: NDArray) -> NDArray:
    return scatter(dy, x, ROWS, COLUMNS)


def backward_overlapping(dy: NDArray, x: NDArray) -> NDArray:
    return scatter(dy, x, 1, 1)


def backward_padded(dy: NDArray, x: NDArray) -> NDArray:
    return backward(dy, pad(x, -np.inf))[:, :-1]


def wrong_width(dy: NDArray, x: NDArray) -> NDArray:
    dx = np.zeros_like(x)
    for at in np.ndindex(dy.shape):
        n, o, p, c = at
        window = x[n, o * ROWS : (o + 1) * ROWS, p * COLUMNS : (p + 1) * COLUMNS, c]
        i, j = divmod(int(np.argmax(window)), ROWS)
        dx[n, o * ROWS + i, p * COLUMNS + j, c] += dy[at]
    return dx


def overlap_overwritten(dy: NDArray, x: NDArray) -> NDArray:
    dx = np.zeros_like(x)
    for at in np.ndindex(dy.shape):
        n, o, p, c = at
        window = x[n, o : o + ROWS, p : p + COLUMNS, c]
        i, j = divmod(int(np.argmax(window)), COLUMNS)
        dx[n, o + i, p + j, c] = dy[at]
    return dx


def zeros_on_the_padding(dy: NDArray, x: NDArray) -> NDArray:
    return backward(dy, pad(x, 0))[:, :-1]  # not -inf, so that it wins over negative entries


def average(dy: NDArray, x: NDArray) -> NDArray:
    dx = np.zeros_like(x)
    for i, j in np.ndindex(ROWS, COLUMNS):
        dx[:, i:4:ROWS, j::COLUMNS] = dy / (ROWS * COLUMNS)
    return dx


# Ties, of which an image behind a ReLU is full. That only one of them may take dy is a matter of
# right and wrong; that it is the first one, a convention, on which two kernels should agree.


def spread(dy: NDArray, x: NDArray, wins: NDArray) -> NDArray:
    """dy to the entries of each window that win."""
    dx = np.zeros_like(x)
    for i, j in np.ndindex(ROWS, COLUMNS):
        here = dx[:, i:4:ROWS, j::COLUMNS]
        here[...] = np.where(wins[..., i * COLUMNS + j], dy, 0)
    return dx


def first_wins(dy: NDArray, x: NDArray) -> NDArray:
    windows = by_window(x)
    return spread(dy, x, windows.argmax(-1)[..., None] == np.arange(ROWS * COLUMNS))


def last_wins(dy: NDArray, x: NDArray) -> NDArray:
    windows = by_window(x)[..., ::-1]
    return spread(dy, x, windows.argmax(-1)[..., None] == np.arange(ROWS * COLUMNS)[::-1])


def all_ties_win(dy: NDArray, x: NDArray) -> NDArray:
    windows = by_window(x)
    return spread(dy, x, windows == windows.max(-1, keepdims=True))


def check(forward: Callable[[NDArray], NDArray], backward: Backward, x: NDArray) -> Check:
    return lambda: check_gradients((forward, backward), x, name="maxpool")


def check_convention(backward: Backward) -> Check:
    x = np.maximum(x0, 0)
    return lambda: check_same(backward, first_wins, dy0, x, name="maxpool at ties")


MISTAKES = (
    Mistake(
        "maxpool: all entries of a tie get the gradient",
        "invisible at random x, without ties; behind a ReLU, a window of zeros gets dy six times",
        check(forward, all_ties_win, np.round(x0)),
        r"tie in a max.* the gradient says",
        check(forward, backward, np.round(x0)),
        wrong={"backward": all_ties_win},
    ),
    Mistake(
        "maxpool: the last entry of a tie wins",
        "as valid as the first, but not the same: two kernels that should agree do not",
        check_convention(last_wins),
        r"maxpool at ties.* expected",
        check_convention(backward),
        wrong={"backward": last_wins},
    ),
    Mistake(
        "maxpool: overlapping windows overwrite each other",
        "an entry that wins in two windows keeps one dy; invisible at stride >= size",
        check(forward_overlapping, overlap_overwritten, x0),
        r"dx: is wrong",
        check(forward_overlapping, backward_overlapping, x0),
        wrong={"backward_overlapping": overlap_overwritten},
    ),
    Mistake(
        "maxpool: the winner's index taken apart with the wrong width",
        "dy lands beside its maximum; invisible for square windows",
        check(forward, wrong_width, x0),
        r"numbers are right, but in another order",
        check(forward, backward, x0),
        wrong={"backward": wrong_width},
    ),
    Mistake(
        "maxpool: zeros on the padding win over negative entries",
        "the gradient of the last row is lost, where all entries are negative",
        check(forward_padded, zeros_on_the_padding, -np.abs(x0)),
        r"only at index 4 of axis 1, the last",
        check(forward_padded, backward_padded, -np.abs(x0)),
        wrong={"backward_padded": zeros_on_the_padding},
    ),
    Mistake(
        "maxpool: dy shared out among the window, as in average pooling",
        "every entry gets dy / 6, whether it won or not",
        check(forward, average, x0),
        r"80 of 120 entries should be 0 and are not",
        check(forward, backward, x0),
        wrong={"backward": average},
    ),
)
