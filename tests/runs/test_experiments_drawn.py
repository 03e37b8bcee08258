"""What the pictures of the experiments show: points, bars, bands and their names, against made-up
measurements."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minireptile.reproduce import (
    convergence,
    cost,
    gradient_combinations,
    inner_products,
    k1,
    manifolds,
    meta_batch,
    overlap,
    sine,
    taylor,
    variance,
)
from minireptile.reproduce.outcome import Outcome
from minireptile.runs.plot import figure

from .made_up import replace
from .test_measured import ENDS, apart, cosines, sines
from .test_measured_on_characters import FALL, by_size, costs, sizes, sums, tails


def drawn(outcome: Outcome) -> list[Any]:
    _, axes = figure(ncols=outcome.panels)
    outcome.draw(*np.atleast_1d(axes))
    return list(np.atleast_1d(axes))


def texts(ax: Any) -> tuple[str, str, str, str]:
    return ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale(), ax.get_yscale()


def legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def points(line: Any) -> list[tuple[float, float]]:
    return list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))


def look(line: Any) -> tuple[str, str, str]:
    return line.get_color(), line.get_linestyle(), line.get_marker()


def band(collection: Any, x: Any, middle: Any, half: Any) -> None:
    """A filled band's corners are the ends of its intervals."""
    corners = {(round(a, 9), round(b, 9)) for a, b in collection.get_paths()[0].vertices}
    ends = [(a, m + s * h) for a, m, h in zip(x, middle, half, strict=True) for s in (1, -1)]
    assert corners == {(round(float(a), 9), round(float(b), 9)) for a, b in ends}


# Widths and sizes of lines and of their marks, strength of bands, size of legends and their titles.
STROKES: dict[str, set[tuple[str, Any, Any]]] = {
    "sine": {("line", 1.0, 0.0), ("line", 1.5, 3.0), ("line", 1.5, 4.0), ("band", 0.2, None),
             ("legend", 10.0, 10.0), ("legend", 7.0, 10.0)},
    "taylor": {("line", 1.5, 6.0), ("line", 1.5, 14.0), ("band", None, None),
               ("legend", 10.0, 10.0)},
    "inner-products": {("line", 1.5, 3.0), ("band", 0.2, None), ("legend", 10.0, 10.0)},
    "variance": {("line", 1.5, 4.0), ("band", None, None)},
    "race": {("line", 0.5, 0.0), ("line", 1.0, 0.0), ("band", 0.1, None), ("legend", 8.0, 7.0)},
    "manifolds": {("line", 1.0, 0.0), ("line", 1.5, 10.0), ("legend", 10.0, 10.0)},
    "gradient-combinations": {("line", 1.2, 0.0), ("legend", 7.0, 10.0)},
    "overlap": {("line", 1.5, 3.0), ("legend", 7.0, 10.0)},
    "meta-batch": {("line", 1.5, 3.0), ("line", 0.5, 0.0), ("legend", 6.0, 10.0)},
}  # fmt: skip


def strokes(*axes: Any) -> set[tuple[str, Any, Any]]:
    """What curves that cross are told apart by, as in STROKES."""
    found: set[tuple[str, Any, Any]] = set()
    for ax in axes:
        for line in ax.lines:
            size = line.get_markersize() if line.get_marker() not in ("None", "", None) else 0.0
            found.add(("line", line.get_linewidth(), size))
        found |= {("band", collection.get_alpha(), None) for collection in ax.collections}
        if names := ax.get_legend():
            sizes = names.get_texts()[0].get_fontsize(), names.get_title().get_fontsize()
            found.add(("legend", *sizes))
    return found


def test_k1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "geomspace", lambda start, stop, count: np.array([1.0, 3.0]))
    apart(monkeypatch, {1: [0.0, 1e-13, 0.0], 2: [0.5, 2.0, 1.0]})
    (ax,) = drawn(k1.run(quick=True))
    assert [points(line) for line in ax.lines] == [
        [(1, 1e-18), (3, 1e-18)],  # none has no place on the scale
        [(1, pytest.approx(0.5)), (3, pytest.approx(1.0))],
    ]
    assert legend(ax) == ["k = 1", "k = 2"]
    assert texts(ax) == ("iteration", "relative distance to joint training", "log", "log")


def test_inner_products(monkeypatch: pytest.MonkeyPatch) -> None:
    cosines(monkeypatch, {"Reptile": (0.25, 0.5), "joint training": (0.125, 0.375)})
    (ax,) = drawn(inner_products.run(quick=True))
    for line, filled, middle in zip(
        ax.lines, ax.collections, ([0.25, 0.9, 0.5], [0.125, 0.9, 0.375]), strict=True
    ):
        assert points(line) == list(zip((1, 2, 3), middle, strict=True))
        band(filled, (1, 2, 3), middle, (0.03125, 0.0625, 0.09375))
    assert legend(ax) == ["Reptile", "joint training"]
    assert texts(ax) == ("iteration + 1", "cosine of two mini-batches' gradients", "log", "linear")
    assert strokes(ax) == STROKES["inner-products"]


def test_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """In milliseconds and in millions of bytes."""
    costs(monkeypatch, lambda k: 1.5, 1.0)
    outcome = cost.run(quick=True)
    left, right = drawn(outcome)
    for ax, numbers, unit in ((left, "seconds", 1e3), (right, "peak_bytes", 1e-6)):
        for line, (name, values) in zip(ax.lines, outcome.data[numbers].items(), strict=True):
            assert line.get_label() == name
            assert points(line) == [(k, pytest.approx(unit * v))
                                    for k, v in zip((2, 5, 10), values, strict=True)]  # fmt: skip
        assert list(ax.get_xticks()) == [2, 5, 10]
    assert legend(left) == ["reptile", "fomaml", "maml"]
    assert texts(left)[:2] == ("inner steps k", "ms an outer iteration")
    assert texts(right)[:2] == ("inner steps k", "most memory held, MB")


def test_gradient_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A color for each k; sums are solid, means dashed, single gradients dotted."""
    sums(monkeypatch, {"g1": 0.3})
    (ax,) = drawn(gradient_combinations.run(quick=False))
    looks = {line.get_label(): look(line)[:2] for line in ax.lines}
    assert looks == {
        "g1": ("C0", ":"), "g1 + g2": ("C1", "-"), "(g1 + g2) / 2": ("C1", "--"),
        "g2": ("C1", ":"), "g1 + g2 + g3": ("C2", "-"), "(g1 + g2 + g3) / 3": ("C2", "--"),
        "g3": ("C2", ":"), "g1 + g2 + g3 + g4": ("C3", "-"), "(g1 + ... + g4) / 4": ("C3", "--"),
        "g4": ("C3", ":"),
    }  # fmt: skip
    assert points(ax.lines[0]) == [(0, 0.2), (10_000, 0.3)]
    assert legend(ax) == list(looks)
    assert texts(ax)[:2] == ("iteration", "5-way 5-shot accuracy, transductive")
    assert strokes(ax) == STROKES["gradient-combinations"]


def test_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel for each number; the values side by side."""
    tails(monkeypatch, {}, FALL, "inner_batch")
    (ax,) = drawn(overlap.run(quick=True))
    assert [points(line) for line in ax.lines] == [
        [(0, 0.5), (1, 0.25)],
        *[[(0, 0.5), (1, 0.5)]] * 4,
    ]
    assert [look(line)[1:] for line in ax.lines] == [
        ("--", "o"), ("--", "o"), ("-.", "o"), ("-.", "o"), ("-", "o")
    ]  # fmt: skip
    assert legend(ax) == list(overlap.CURVES)
    assert strokes(ax) == STROKES["overlap"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["5", "10"]
    assert (list(ax.get_xticks()), texts(ax)[:2]) == (
        [0, 1], ("inner batch", "5-way 5-shot accuracy")
    )  # fmt: skip


def test_meta_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against tasks seen and against iterations; a color for each size, an outer Adam dashed."""
    sizes(monkeypatch, by_size)
    left, right = drawn(meta_batch.run(quick=True))
    names = [f"T = {size}{end}" for end in ("", ", Adam") for size in (1, 5, 20, 100)]
    assert legend(left) == names
    for ax, at in ((left, [400] * 4), (right, [20] * 4)):
        *lines, flat = ax.lines
        assert [look(line) for line in lines] == [
            (f"C{n}", style, "o") for style in ("-", "--") for n in range(4)
        ]
        assert [points(line)[-1][0] for line in lines] == at * 2
        assert set(flat.get_ydata()) == {0.25}
    ends = [0.5, 0.625, 0.6875]
    assert [points(line)[-1][1] for line in left.lines[:4]] == [*ends, 0.46875]
    assert [points(line)[-1][1] for line in right.lines[:4]] == [*ends, 0.71875]
    assert points(left.lines[1])[0] == (5, 0.125)  # one iteration on five tasks
    assert points(right.lines[1])[0] == (1, 0.125)
    label = "5-way 5-shot accuracy, transductive"
    assert texts(left) == ("tasks seen", label, "log", "linear")
    assert texts(right) == ("iterations", label, "log", "linear")
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["1", "400"]
    assert strokes(left, right) == STROKES["meta-batch"]


def test_manifolds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the plane the lines of solutions, the way and the nearest point; beside it the ways."""
    path, nearest = np.array([[0.0, 0.25], [0.5, 0.75], [1.0, 0.5]]), np.array([0.875, 0.375])
    ways = {"Reptile": np.array([1.0, 2, 3, 4, 5, 90]), "joint training": 4 + np.arange(6.0),
            "random": np.arange(6) / 2}  # fmt: skip
    monkeypatch.setattr(manifolds, "in_the_plane", lambda *_: (path, nearest))
    monkeypatch.setattr(manifolds, "on_sine", lambda *_: ways)
    left, right = drawn(manifolds.run(quick=True))
    *solutions, way, place = left.lines
    for line, (a1, a2, b) in zip(solutions, manifolds.LINES, strict=True):
        assert look(line)[0] == "0.6"
        (x, y), (x2, y2) = points(line)
        assert (x, x2) == (-0.6, 1.4)
        assert a1 * x + a2 * y == pytest.approx(b)
        assert a1 * x2 + a2 * y2 == pytest.approx(b)
    assert points(way) == [tuple(at) for at in path]
    assert points(place) == [(0.875, 0.375)]
    assert (place.get_marker(), legend(left)) == ("+", ["Reptile", "least squared distance"])
    assert (left.get_xlim(), left.get_ylim()) == ((-0.6, 1.4), (-0.6, 1.4))
    assert texts(left)[:2] == ("theta 1", "theta 2")
    assert [label.get_text() for label in right.get_xticklabels()] == list(ways)
    flat = [line.get_ydata()[0] for line in right.lines if len(set(line.get_ydata())) == 1]
    # The ends and the middle, without the one far out.
    assert sorted(flat) == sorted([1, 3.5, 5, 4, 6.5, 9, 0, 1.25, 2.5])
    assert right.get_ylabel() == f"way to an error of {manifolds.SOLVED}"
    assert strokes(left, right) == STROKES["manifolds"]


def test_sine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The errors with their bands; then one wave and what each has learned, after 32 steps."""
    _, evaluated = sines(monkeypatch, ENDS)
    x = np.array([[[3.0], [-1.0], [2.0]]])
    batch = SimpleNamespace(query_x=x, query_y=2 * x, x=np.array([[[[2.5], [0.5]]]]))

    def adapt(model: Any, theta: Any, state: Any, tasks: Any, optimizer: Any, protocol: Any) -> Any:
        assert (protocol.tasks, protocol.shot, protocol.marks[-1]) == (1, 10, 32)
        for steps in (0, 32):
            yield steps, np.full((1, model.size), 0.01 * (steps + theta[0])), batch

    asked = replace(monkeypatch, sine, "adapt_unseen", adapt)
    outcome = sine.run(quick=True)
    left, right = drawn(outcome)
    for line, name in zip(left.lines, ENDS, strict=True):
        assert points(line) == list(zip(sine.MARKS, outcome.data["mse"][name], strict=True))
    band(left.collections[0], sine.MARKS, outcome.data["mse"]["joint"], [0.5] * 7 + [0.0625])
    assert legend(left) == list(ENDS)
    assert texts(left) == ("gradient steps on 10 points", "mean squared error", "linear", "log")
    model = evaluated[0][0]
    *learned, seen, target = right.lines
    grid = np.linspace(-5, 5, 200, dtype=np.float32)
    for n, (line, name) in enumerate(zip(learned, ENDS, strict=True)):
        phi = np.full(model.size, 0.01 * (32 + n))
        np.testing.assert_array_equal(line.get_xdata().ravel(), grid)
        wanted = model.forward(phi, grid[:, None]).ravel()
        np.testing.assert_allclose(line.get_ydata().ravel(), wanted, rtol=1e-5, atol=1e-6)
        assert line.get_label() == name
    assert (points(seen), look(seen)) == ([(2.5, 5.0), (0.5, 1.0)], ("k", "None", "^"))
    assert points(target) == [(-1, -2), (2, 4), (3, 6)]
    assert legend(right) == [*ENDS, "a mini-batch"]
    assert texts(right)[:2] == ("x", "after 32 steps")
    assert len(asked) == len(ENDS)
    assert strokes(left, right) == STROKES["sine"]


def test_taylor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found with its interval, a dash where it should be; and what is left out."""
    names = ("MAML", "FOMAML", "Reptile")

    def regressed(model: Any, theta: Any, k: int, tasks: int) -> list[dict[str, Any]]:
        return [
            {"algorithm": name, "k": k, "of": of, "expected": -2.0 * k, "found": -2.25 * k,
             "low": -3.0 * k, "high": -1.0 * k}
            for name in names for of in ("inner", "grad")
        ]  # fmt: skip

    slopes = dict(zip(names, (1.99, 2.0, 2.01), strict=True))
    left_out = {name: [s, s / 10, s / 100, s / 1000] for name, s in slopes.items()}
    monkeypatch.setattr(taylor, "trained", lambda model, iterations: np.zeros(model.size))
    monkeypatch.setattr(taylor, "regressed", regressed)
    monkeypatch.setattr(taylor, "orders", lambda *_: (slopes, left_out))
    left, right = drawn(taylor.run(quick=False))
    for bars, shift in zip(left.containers, (-0.08, 0.0, 0.08), strict=True):
        data, caps, (intervals,) = bars.lines
        assert len(caps) == 2
        at = [k + shift for k in (2, 3, 4)]
        assert data.get_xdata() == pytest.approx(at)
        assert list(data.get_ydata()) == [-4.5, -6.75, -9.0]
        ends = [(tuple(a), tuple(b)) for a, b in intervals.get_segments()]
        for ((x, low), (x2, high)), k, x0 in zip(ends, (2, 3, 4), at, strict=True):
            assert (x, x2, low, high) == pytest.approx((x0, x0, -3 * k, -k))
    dashes = [line for line in left.lines if line.get_marker() == "_" and line.get_color() == "k"]
    assert [points(line) for line in dashes] == [[(2, -4), (3, -6), (4, -8)]] * 3
    assert legend(left) == list(names)
    assert (left.get_xlim(), list(left.get_xticks())) == ((1.6, 4.4), [2, 3, 4])
    assert texts(left)[:2] == ("k", "coefficient of alpha AvgGradInner")
    for line, name in zip(right.lines, names, strict=True):
        assert points(line) == list(zip(taylor.ALPHAS, left_out[name], strict=True))
    assert legend(right) == ["MAML: 1.99", "FOMAML: 2.00", "Reptile: 2.01"]
    assert right.get_legend().get_title().get_text() == "slope"
    assert texts(right) == ("alpha", "what the expansion leaves out", "log", "log")
    assert strokes(left, right) == STROKES["taylor"]


def test_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars side by side at each point, with their intervals; then the first race."""
    rows = [
        {"algorithm": name, "iteration": mark, "variance": height + mark / 1e5, "ci95": 0.125}
        for name, height in zip(variance.ALGORITHMS, (0.25, 0.5, 0.75), strict=True)
        for mark in (0, 4000)
    ]
    monkeypatch.setattr(variance, "shares", lambda *_: rows)
    monkeypatch.setattr(variance, "QUICK", ["one", "two"])
    monkeypatch.setattr(variance, "race", lambda model, sizes: sizes)
    monkeypatch.setattr(variance, "sooner", lambda data, unit: [])
    monkeypatch.setattr(variance, "told", lambda found: "So soon.")
    races = replace(monkeypatch, variance, "draw_race", lambda ax, found: None)
    left, right = drawn(variance.run(quick=True))
    assert races == [(right, "one")]
    groups = [c for c in left.containers if hasattr(c, "patches")]
    for n, (bars, name) in enumerate(zip(groups, variance.ALGORITHMS, strict=True)):
        assert bars.get_label() == name
        places = [bar.get_x() + bar.get_width() / 2 for bar in bars]
        assert places == pytest.approx([0.25 * (n - 1), 1 + 0.25 * (n - 1)])
        assert {round(bar.get_width(), 9) for bar in bars} == {0.23}
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx([0.25 * (n + 1), 0.25 * (n + 1) + 0.04])
        segments = bars.errorbar.lines[2][0].get_segments()
        for ((_, low), (_, high)), height in zip(segments, heights, strict=True):
            assert (low, high) == pytest.approx((height - 0.125, height + 0.125))
    assert [label.get_text() for label in left.get_xticklabels()] == ["0", "4,000"]
    assert texts(left)[:2] == ("iteration", "variance of the update / its mean square")
    assert strokes(left) == STROKES["variance"]


def test_a_race() -> None:
    """Solid for the epsilon that is first at the end, dotted for half way; 0 lies left of all."""
    found: dict[str, Any] = {
        "marks": [0, 10, 100], "levels": {"half way": 2.0, "at the end": 1.0},
        "reached": {level: {name: {"epsilon": epsilon} for name in convergence.ALGORITHMS}
                    for level, epsilon in (("half way", 0.5), ("at the end", 0.25))},
        "curves": [{"algorithm": name, "epsilon": epsilon, "mse": [4.0, 2.0, epsilon + n],
                    "ci95": [0.5, 0.25, 0.125]}
                   for n, name in enumerate(convergence.ALGORITHMS) for epsilon in (0.25, 0.5)],
    }  # fmt: skip
    _, ax = figure()
    convergence.draw_race(ax, found)
    *curves, half, end = ax.lines
    for line, filled, row in zip(curves, ax.collections, found["curves"], strict=True):
        n = list(convergence.ALGORITHMS).index(row["algorithm"])
        assert points(line) == list(zip((5, 10, 100), row["mse"], strict=True))
        assert look(line)[:2] == (f"C{n}", "-" if row["epsilon"] == 0.25 else ":")
        band(filled, (5, 10, 100), row["mse"], row["ci95"])
    assert [set(line.get_ydata()) for line in (half, end)] == [{2.0}, {1.0}]
    assert legend(ax) == list(convergence.ALGORITHMS)
    assert ax.get_legend().get_title().get_text() == "dotted: epsilon for half way"
    assert ax.get_ylim() == (0.5, 8.0)
    assert texts(ax) == ("iteration", "mean squared error after 5 steps", "log", "log")
    assert strokes(ax) == STROKES["race"]
