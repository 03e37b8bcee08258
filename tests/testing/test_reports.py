"""The figures that the kit reports: which entry is worst, by how much, how many are wrong, and what
may be the cause; the rows and the table of `minireptile check`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import minireptile as mr
from minireptile.layers import BatchNorm, Conv2D, Dense, Layer, MaxPool
from minireptile.plan import LOSSES
from minireptile.tasks.images import FewShot
from minireptile.testing import (
    Finding,
    GradientError,
    Report,
    SameError,
    check_gradients,
    check_hvp,
    check_layers,
    check_same,
    strategies,
    table,
)
from minireptile.testing.diagnosis import diagnose
from minireptile.testing.guesses import what_if
from minireptile.testing.layers import loss_functions

RNG = np.random.default_rng(0)
UPSTREAM = np.random.default_rng([0, 1])  # as the kit draws dy for seed 0


def test_the_worst_entry_its_ratio_and_the_count() -> None:
    """All from the upstream gradient that seed 0 draws."""
    x = np.arange(1.0, 7).reshape(2, 3)
    dy = np.random.default_rng([0, 1]).standard_normal(x.shape)
    want = 2 * x * dy
    factor = np.array([[1, 1.5, 1], [1, 1, 0.5]])
    worst = max(((0, 1), (1, 2)), key=lambda at: abs(want[at] * (factor[at] - 1)))
    with pytest.raises(GradientError) as error:
        check_gradients((lambda x: x**2, lambda dy, x: 2 * x * dy * factor), x)
    report = error.value.report
    largest = np.abs(want).max()
    assert report.errors == {
        "dx": pytest.approx(abs(want[worst] * (factor[worst] - 1)) / largest, rel=1e-9)
    }
    assert report.shapes == {"dx": (2, 3)}
    (finding,) = report.findings
    assert finding.message.split("\n")[:2] == [
        "is wrong in 2 of 6 entries, shape (2, 3)",
        f"worst at {worst}: analytic {want[worst] * factor[worst]:.9g}, numeric {want[worst]:.9g}, "
        f"ratio {factor[worst]:.6g}",
    ]


def test_errors_of_right_gradients_are_their_largest_part() -> None:
    x = np.arange(1.0, 5)
    dy = np.random.default_rng([0, 1]).standard_normal(4)
    error = 3e-13 * dy[2] * 2 * x[2]
    add = np.array([0, 0, 3e-13, 0])
    report = check_gradients((lambda x: x**2, lambda dy, x: 2 * x * dy * (1 + add)), x)
    assert report.errors["dx"] == pytest.approx(abs(error) / np.abs(2 * x * dy).max(), rel=0.01)
    assert f"{report.errors['dx']:.1e}" in str(report)


def test_a_report_in_words() -> None:
    report = Report("f", "differences", {"dx": 1.5e-9, "dw": 0.0})
    assert report.passed
    assert str(report) == "f: gradients are right by the differences (dx 1.5e-09, dw 0.0e+00)"
    report.notes.append("moved")
    report.add("value", "dx", "is wrong\nworst")
    report.add("random", "", "is random")
    assert report.findings == [Finding("value", "dx", "is wrong\nworst"),
                               Finding("random", "", "is random")]  # fmt: skip
    assert not report.passed
    assert str(report) == (
        "f: 2 wrong, by the differences\n  dx: is wrong\n    worst\n  all: is random\n  note: moved"
    )


def test_other_seeds_draw_other_upstream_gradients() -> None:
    seen = []

    def backward(dy: NDArray, x: NDArray) -> NDArray:
        seen.append(dy)
        return 2 * x * dy

    for seed in (0, 0, 5):
        check_gradients((lambda x: x**2, backward), np.ones(3), seed=seed)
    np.testing.assert_array_equal(seen[0], np.random.default_rng([0, 1]).standard_normal(3))
    first = [dy for dy in seen if len(set(dy)) == 3]
    np.testing.assert_array_equal(first[0], first[len(first) // 3])
    assert not np.array_equal(first[0], first[-1])


def test_where_kernels_differ() -> None:
    want = np.array([[1.0, 2.0], [4.0, 8.0]])
    got = want + np.array([[0, 0.5], [-1, 0]])
    with pytest.raises(SameError) as error:
        check_same(lambda: (want, got), lambda: (want, want), name="f", length=2)
    assert str(error.value) == (
        "f: output 1 differs from the reference in 2 of 4 entries; worst at (1, 0): 3, expected 4, "
        f"ratio 0.75; rounding explains {2**-52 * 10 * 8:.1e}"
    )


def test_the_message_of_a_hessian_vector_product() -> None:
    with pytest.raises(AssertionError, match=r"f: u \. H v = .* ratio 3$"):
        check_hvp(lambda t: t, lambda t, v: 3 * v, np.ones(4), name="f")


# What may be the cause. want (3, 4), and other arrays that lie along its axes.

WANT = RNG.standard_normal((3, 4))
W3, W4 = RNG.standard_normal(3), RNG.standard_normal(4)
GIVEN = {"x": RNG.standard_normal((3, 4)), "w": W4, "v": W3, "n": np.arange(3)}


def of(axis: int, *indices: int) -> NDArray:
    """An error at some indices of an axis alone."""
    error = RNG.standard_normal(WANT.shape)
    keep = np.zeros(WANT.shape, bool)
    keep[(slice(None),) * axis + (list(indices),)] = True
    return np.where(keep, error, 0)


CENTRED = GIVEN["x"] - GIVEN["x"].mean(0)
SQUARE = RNG.standard_normal((4, 4))
MEAN = "a mean where a sum belongs"
CAUSES: dict[str, tuple[NDArray, NDArray, str]] = {
    "zeros": (0 * WANT, WANT, "^all zeros"),
    "nothing to find": (WANT, 0 * WANT, "^the true gradient is zero"),
    "sign": (-WANT, WANT, "^ratio -1 everywhere: the sign is wrong$"),
    "mean over rows": (WANT / 3, WANT, f"ratio 0.333333 .*: 1/3, and 3 .* axis 0 of this.*{MEAN}"),
    "sum": (WANT * 12, WANT, "ratio 12 everywhere: 12, and 12 is the size of axis 0, 1 of this"),
    "of the output": (WANT * 5, WANT, "ratio 5 everywhere: 5, and 5 is the size of axis 1"),
    "n - 1": (WANT * 3 / 4, WANT, r"ratio 0.75 everywhere: 1 - 1/4, and 4 is the size of axis 1"),
    "n / (n - 1)": (WANT * 4 / 3, WANT, "ratio 1.33333 everywhere: 4/3, and 4 is the size of"),
    "two": (WANT * 2, WANT, "ratio 2 everywhere: a factor 2, such as"),
    "half": (WANT / 2, WANT, "ratio 0.5 everywhere: a factor 2, such as"),
    "any": (WANT * 7.7, WANT, "ratio 7.7 everywhere: a constant factor is missing or too much"),
    "a factor each": (WANT * np.array([[2], [3], [4.5]]), WANT,
                      r"depends on axis 0 alone \(2 to 4.5\)"),
    "missing w": (WANT / W4, WANT, "^the factor w is missing"),
    "w too much": (WANT * W4, WANT, "^there is a factor w too much"),
    "missing v": (WANT / W3[:, None], WANT, "^the factor v is missing"),
    "transposed": (SQUARE.T, SQUARE, "^transposed: axes 0 and 1 are exchanged"),
    "flipped": (WANT[:, ::-1], WANT, "^flipped along axis 1$"),
    "flipped twice": (WANT[::-1, ::-1], WANT, "^flipped along axis 0, 1$"),
    "down": (np.roll(WANT, 1, 0), WANT, "^shifted by 1 along axis 0: an index"),
    "left": (np.roll(WANT, -1, 1), WANT, "^shifted by -1 along axis 1: an index"),
    "reshaped": (WANT.T.reshape(3, 4), WANT, "^the numbers are right, but in another order"),
    "the first": (WANT + of(0, 0), WANT, "^only at index 0 of axis 0, the first$"),
    "the last": (WANT + of(1, 3), WANT, "^only at index 3 of axis 1, the last$"),
    "one": (WANT + of(1, 2), WANT, "^only at index 2 of axis 1$"),
    "borders": (WANT + of(1, 0, 3), WANT, "^only at both borders of axis 1$"),
    "some": (WANT + of(1, 0, 2), WANT, "^only at indices 0, 2 of axis 1, which has 4$"),
    "a mean": (WANT + W4, WANT, "^the error is the same along axis 0: a term summed"),
    "a variance": (WANT + 2 * CENTRED, WANT, "^the error is proportional to the input centred over "
                                             "axis 0: the path through a variance"),
    "unwritten": (np.where(WANT > 0, WANT, 0), WANT,
                  f"^{(WANT <= 0).sum()} of 12 entries are 0 and should not be$"),
    "too much": (WANT, np.where(WANT > 0, WANT, 0),
                 f"^{(WANT <= 0).sum()} of 12 entries should be 0 and are not$"),
}  # fmt: skip


@pytest.mark.parametrize("case", CAUSES)
def test_a_cause(case: str) -> None:
    """Named, and not where the gradient is right."""
    got, want, words = CAUSES[case]
    given = GIVEN if want.shape == (3, 4) else {"x": np.cos(want)}
    causes = diagnose("x", got, want, given, (7, 5))
    assert any(re.search(words, cause) for cause in causes), causes
    for unit in (1e-5, 1e5):  # of both: the same causes
        assert diagnose("x", unit * got, unit * want, given, (7, 5)) == causes
    noise = want + np.where(want, 0.3 * np.sin(np.arange(want.size) ** 2).reshape(want.shape), 0)
    if want.any():
        others = diagnose("x", noise, want, given, (7, 5))
        assert not any(re.search(words, cause) for cause in others), others


def test_no_cause_for_what_has_none() -> None:
    assert diagnose("x", WANT + 0.1 * np.exp(GIVEN["x"]), WANT, GIVEN, (7, 5)) == []


def product(at: dict[str, NDArray]) -> NDArray:
    return at["x"] @ at["w"]


PART = {"x": RNG.standard_normal((3, 3)), "w": RNG.standard_normal((3, 3))}
DY = RNG.standard_normal((3, 3))
GUESSES: dict[str, tuple[Callable[[NDArray, NDArray], NDArray], str]] = {
    "of w": (lambda dy, w: PART["x"].T @ dy, "^it is the gradient of w: returned in the wrong"),
    "shortcut": (lambda dy, w: dy @ w.T + dy, "upstream gradient itself, which is too much"),
    "no shortcut": (lambda dy, w: dy @ w.T - dy, "upstream gradient itself, which is missing"),
    "first": (lambda dy, w: only(dy, slice(0, 1)) @ w.T, "of the first along axis 0"),
    "last": (lambda dy, w: only(dy, slice(2, 3)) @ w.T, "of the last along axis 0"),
    "not first": (lambda dy, w: only(dy, slice(1, 3)) @ w.T, "of all but the first along axis 0"),
    "not last": (lambda dy, w: only(dy, slice(0, 2)) @ w.T, "of all but the last along axis 0"),
    "transposed": (lambda dy, w: dy @ w, r"right if w were transposed \(axes 0 and 1\)"),
    "flipped": (lambda dy, w: dy @ w[::-1].T, "right if w were flipped along axis 0$"),
    "both": (lambda dy, w: dy @ w[::-1, ::-1].T, "right if w were flipped along axis 0, 1$"),
    "one for all": (lambda dy, w: dy @ np.repeat(w[:1], 3, 0).T, "its first entry along axis 0"),
}  # fmt: skip


def only(dy: NDArray, rows: slice) -> NDArray:
    return np.where(np.isin(np.arange(3), np.arange(3)[rows])[:, None], dy, 0)


@pytest.mark.parametrize("case", GUESSES)
def test_a_guess(case: str) -> None:
    wrong, words = GUESSES[case]
    got, want = wrong(DY, PART["w"]), DY @ PART["w"].T
    for analytic in (True, False):
        (cause,) = what_if(product, PART, DY, "x", got, want, analytic)
        assert re.search(words, cause), cause
    assert what_if(product, PART, DY, "x", got + np.cos(got), want, True) == []


def test_a_guess_at_a_sum() -> None:
    shift = lambda at: at["x"] + at["b"]  # noqa: E731
    at = {"x": PART["x"], "b": np.ones(3)}
    (cause,) = what_if(shift, at, DY, "b", DY.sum(1), DY.sum(0), True)
    assert cause == "it is dy summed over axis 1, the wrong one"


# `minireptile check`


def test_the_rows_of_every_layer() -> None:
    rows = check_layers()
    counts = {kind: [r.gradient for r in rows if r.layer == kind] for kind in
              dict.fromkeys(r.layer for r in rows)}  # fmt: skip
    with_bias, without = ["dx", "dweight", "dbias"], ["dx", "dweight", "adjoint"]
    norm = ["dx", "dgamma", "dbeta"]
    assert counts == {
        "Conv2D": [*with_bias * 2, *without], "Dense": [*with_bias, *without],
        "BatchNorm": norm * 2, "ReLU": ["dx"], "Tanh": ["dx"], "MaxPool": ["dx"] * 2,
        "Flatten": ["dx", "adjoint"], "softmax_cross_entropy": ["dout"], "squared_error": ["dout"],
        "Model": ["hvp"],
    }  # fmt: skip
    for row in rows:
        assert row.backend == "numpy"
        assert row.report.passed
        assert row.shape
        identity = row.gradient in ("adjoint", "hvp")
        assert row.method == ("identity" if identity else "complex step")
        assert row.error < (1e-5 if row.gradient == "hvp" else 1e-12)
    assert [row.shape[2:] for row in rows if row.gradient == "dx"] == [
        (6, 5, 2), (4, 5, 2), (3, 3, 2), (5,), (2,), (3, 2, 4), (5,), (5, 4, 3), (7, 5, 2),
        *[(5, 4, 3)] * 3,
    ]  # fmt: skip
    assert [row.report.name for row in rows if row.gradient in ("dweight", "dgamma")] == list(
        map(repr, (
            Conv2D(3, 3, stride=2), Conv2D(2, (2, 3), padding="valid"), Conv2D(2, 5, bias=False),
            Dense(4), Dense(3, bias=False), BatchNorm(), BatchNorm(),
        ))
    )  # fmt: skip
    assert [row.report.name for row in rows if row.gradient == "dout"] == list(LOSSES)
    lines = table(rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert lines[0].split() == ["layer", "gradient", "shape", "backend", "by", "error"]
    assert lines[1].split() == [
        "Conv2D", "dx", "2x3x6x5x2", "numpy", "complex", "step", f"{rows[0].error:.1e}", "ok"
    ]  # fmt: skip
    assert [r.layer for r in check_layers("Dense")] == ["Dense"] * 6


def test_a_loss_is_the_mean_over_a_mini_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the backend's kernels; in complex numbers, by NumPy's."""
    asked: list[str] = []

    def kernels(backend: str) -> Any:
        asked.append(backend)
        return mr.backend.kernels("numpy")

    monkeypatch.setattr("minireptile.testing.layers.kernels", kernels)
    out, targets = RNG.standard_normal((2, 2, 3, 4))
    forward, backward = loss_functions("squared_error", targets, "mine")
    error = out - targets
    np.testing.assert_allclose(forward(out), (error**2).sum(-1).mean(-1), rtol=1e-14)
    np.testing.assert_allclose(backward(np.ones(2), out), 2 * error / 3, rtol=1e-14)
    forward(out + 0j)
    assert asked == ["mine", "mine", "numpy"]


def test_wrong_layers_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in its row and below the table; a wrong bias is wrong in its row alone."""
    kernels = mr.backend.kernels("numpy")
    original = kernels.dense_backward

    def wrong(dx: Any, dw: Any, db: Any, *rest: Any) -> None:
        original(dx, dw, db, *rest)
        if db is not None:
            db *= 3
        else:
            dx *= 2

    monkeypatch.setattr("minireptile.testing.subject.kernels",
                        lambda backend: Replaced(kernels, dense_backward=wrong))  # fmt: skip
    rows = check_layers("Dense")
    assert [np.isinf(r.error) or r.error > 0.1 for r in rows] == [
        False, False, True, True, False, True
    ]  # fmt: skip
    lines = table(rows).split("\n")
    assert [line.split()[-1] for line in lines[1:7]] == [
        "ok",
        "ok",
        "WRONG",
        "WRONG",
        "ok",
        "WRONG",
    ]
    assert "  dbias: is wrong in 8 of 8 entries, shape (2, 4)" in lines
    assert any("not adjoint" in line and "ratio 2" in line for line in lines)


class Replaced:
    """Kernels, some of them others."""

    def __init__(self, kernels: Any, **others: Any) -> None:
        self.kernels, self.others = kernels, others

    def __getattr__(self, name: str) -> Any:
        return self.others.get(name) or getattr(self.kernels, name)


def test_gradients_that_cannot_be_compared_are_rows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = mr.backend.kernels("numpy")
    unwritten = Replaced(kernels, tanh_backward=lambda *_: None)
    monkeypatch.setattr("minireptile.testing.subject.kernels", lambda backend: unwritten)
    (row,) = check_layers("Tanh")
    assert (row.gradient, row.error) == ("dx", np.inf)
    assert "360 entries are NaN" in table([row])


# The strategies' ranges: nothing beyond them, and all of them reached.


def reaches(strategy: Any, corner: Callable[[Any], bool]) -> None:
    limits = settings(max_examples=3000, database=None, phases=[Phase.generate])  # no shrinking
    find(strategy, corner, settings=limits)


@given(shape=strategies.shapes(), few=strategies.few, seed=strategies.seeds)
def test_sizes(shape: tuple[int, ...], few: int, seed: int) -> None:
    assert 1 <= len(shape) <= 4
    assert 1 <= min(shape) <= max(shape) <= 5
    assert 1 <= few <= 3
    assert 0 <= seed < 2**32


@given(g=strategies.geometries())
def test_windows(g: Any) -> None:
    for n, k, s in zip(g.in_size, g.kernel, g.stride, strict=True):
        assert 1 <= n <= 6
        assert 1 <= k <= (n if g.padding == "valid" else n + 2)
        assert 1 <= s <= 4
    for a in range(2):
        n, k, s = g.in_size[a], g.kernel[a], g.stride[a]
        out = -(-n // s) if g.padding == "same" else (n - k) // s + 1
        assert g.out_size[a] == out
        total = max((out - 1) * s + k - n, 0) if g.padding == "same" else 0
        assert g.pad[a] == total // 2


def test_sizes_reach_their_ends() -> None:
    reaches(strategies.shapes(), lambda s: len(s) == 4 and max(s) == 5)
    reaches(strategies.few, lambda n: n == 3)
    reaches(strategies.dtypes(), lambda d: d == np.float32)
    reaches(strategies.geometries(), lambda g: g.kernel[1] == g.in_size[1] + 2)
    reaches(strategies.geometries(), lambda g: g.stride == (4, 4) and g.in_size[0] == 6)
    reaches(strategies.geometries(), lambda g: g.padding == "valid" and g.kernel == g.in_size)


@given(case=strategies.layers())
def test_layers_are_small(case: tuple[Layer, tuple[int, ...]]) -> None:
    layer, shape = case
    assert max(shape) <= 5
    layer.out_shape(shape)
    if isinstance(layer, Dense):
        assert (layer.units <= 3, len(shape)) == (True, 1)
    if isinstance(layer, Conv2D):
        assert (layer.filters <= 3, len(shape)) == (True, 3)
        assert max(shape) <= 4


def test_layers_reach_their_options() -> None:
    drawn = strategies.layers
    for kind in strategies.LAYERS:
        reaches(drawn().map(lambda c: type(c[0]).__name__), kind.__name__.__eq__)
    for kind, corner in (
        (Conv2D, lambda c: not c[0].bias and c[0].filters == 3 and c[1][2] == 3),
        (Dense, lambda c: not c[0].bias and c[1] == (5,)),
        (BatchNorm, lambda c: c[0].eps == 1.0 and len(c[1]) == 3),
        (BatchNorm, lambda c: c[0].eps == 1e-3),
        (MaxPool, lambda c: c[1][:2] == (5, 5) and c[1][2] == 3),
    ):
        reaches(drawn(kind), corner)


def test_models_and_tasks_reach_their_ends() -> None:
    for loss in ("softmax_cross_entropy", "squared_error"):
        for reduction in ("mean", "sum"):
            reaches(
                strategies.models().map(lambda m: (m.loss, m.reduction)), (loss, reduction).__eq__
            )
    reaches(strategies.models(), lambda m: len(m.input_shape) == 3 and len(m.layers) == 5)
    reaches(strategies.models(), lambda m: len(m.input_shape) == 1 and len(m.layers) == 4)
    assert find(strategies.models("float32"), lambda m: True).dtype == np.float32
    reaches(strategies.tasks(), lambda t: t.n_out == 4)
    assert find(strategies.tasks(5), lambda t: True).input_shape == (5, 5, 1)


@given(drawn=strategies.tasks(), data=st.data())
def test_tasks_are_few_ways_of_few_images(drawn: FewShot, data: st.DataObject) -> None:
    assert 2 <= drawn.n_out <= 4
    assert drawn.input_shape == (4, 4, 1)
    array = data.draw(strategies.arrays_like((2, 3)))
    assert (array.shape, array.dtype) == ((2, 3), np.float64)
    assert np.abs(array).max() < 6
