"""The convolution cell by cell: every sum and every product against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minireptile.errors import InputError
from minireptile.explore.answer import compute, tables

STATE: dict[str, Any] = dict(tables()[1]["convolution"].first)
WINDOWS = [(1, "valid", 4, 0), (2, "valid", 2, 0), (1, "same", 6, 1), (2, "same", 3, 0)]
sides = pytest.mark.parametrize(("stride", "padding", "n", "pad"), WINDOWS)


@sides
def test_each_cell_is_the_sum_of_its_products(stride: int, padding: str, n: int, pad: int) -> None:
    found = compute("convolution", {**STATE, "stride": stride, "padding": padding})
    x, w, dy = (np.array(STATE[name]) for name in ("x", "w", "dy"))
    y, dx, dw = np.zeros((n, n)), np.zeros((6, 6)), np.zeros((3, 3))
    terms = set()
    for o, p, i, j in np.ndindex(n, n, 3, 3):  # conv2d.md, eq. 1
        r, q = o * stride + i - pad, p * stride + j - pad
        if 0 <= r < 6 and 0 <= q < 6:
            y[o, p] += x[r, q] * w[i, j]
            dx[r, q] += dy[o, p] * w[i, j]
            dw[i, j] += x[r, q] * dy[o, p]
            terms.add((o * n + p, 3 * i + j, 6 * r + q))
    assert found["pad"] == pad
    for name, want in (("y", y), ("dx", dx), ("dw", dw)):
        assert np.array_equal(found[name], want), name
    assert len(found["terms"]) == len(terms)
    assert set(map(tuple, found["terms"].tolist())) == terms


@sides
def test_the_three_read_one_list_of_products(stride: int, padding: str, n: int, pad: int) -> None:
    """What the page writes out: each cell is the sum of the products that are lit for it."""
    found = compute("convolution", {**STATE, "stride": stride, "padding": padding})
    x, w = np.ravel(STATE["x"]), np.ravel(STATE["w"])
    dy = np.array(STATE["dy"])[:n, :n].ravel()
    o, tap, r = found["terms"].T
    for name, at, product in (("y", o, x[r] * w[tap]), ("dx", r, dy[o] * w[tap]),
                              ("dw", tap, x[r] * dy[o])):  # fmt: skip
        total = np.zeros(found[name].size)
        np.add.at(total, at, product)
        assert np.array_equal(total.reshape(found[name].shape), found[name]), name


def test_the_gradients_are_of_the_output_weighted_by_dy() -> None:
    def weighted(**change: Any) -> float:
        y = compute("convolution", {**STATE, **change})["y"]
        return float((np.array(STATE["dy"])[: len(y), : len(y)] * y).sum())

    found, base = compute("convolution", STATE), weighted()
    for name in ("x", "w"):
        for r, q in np.ndindex(np.shape(STATE[name])):
            more = [list(row) for row in STATE[name]]
            more[r][q] += 1
            assert weighted(**{name: more}) - base == found[f"d{name}"][r, q]  # linear: exact


def test_what_lies_beyond_the_output_in_dy_does_not_matter() -> None:
    other = [[v if r < 4 and c < 4 else 9 for c, v in enumerate(row)]
             for r, row in enumerate(STATE["dy"])]  # fmt: skip
    one, two = (compute("convolution", {**STATE, "dy": dy}) for dy in (STATE["dy"], other))
    assert np.array_equal(one["dx"], two["dx"])
    assert np.array_equal(one["dw"], two["dw"])


@pytest.mark.parametrize(
    "wrong",
    [{"x": [[0] * 6] * 5}, {"x": [[10] + [0] * 5] + [[0] * 6] * 5}, {"w": [[0.5] * 3] * 3},
     {"stride": 3}, {"padding": "full"}, {"dy": 1}],
)  # fmt: skip
def test_a_wrong_argument_is_a_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"convolution: {next(iter(wrong))}"):
        compute("convolution", {**STATE, **wrong})
