"""What the pictures of measurements show: each point and line against the rows it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import inner_loop, plots, results, roofline, runs


def row(case: str, variant: str, seconds: float, **more: Any) -> results.Row:
    times = {"seconds": seconds, "low": 0.9 * seconds, "high": 1.3 * seconds}
    return {"case": case, "variant": variant, **times, **more}


def points(ax: Any) -> list[tuple[list, list]]:
    """x and y of each line that has any."""
    lines = ((line.get_xdata(), line.get_ydata()) for line in ax.get_lines())
    return [(list(x), list(y)) for x, y in lines if len(x)]


def check_band(ax: Any, i: int, at: list, milliseconds: list[float]) -> None:
    """The i-th line is of these medians, and its band of their quartiles."""
    x, y = points(ax)[i]
    assert x == at
    assert y == pytest.approx(milliseconds)
    corners = ax.collections[i].get_paths()[0].vertices
    for a, median in zip(at, milliseconds, strict=True):
        ends = corners[corners[:, 0] == a][:, 1]
        assert (ends.min(), ends.max()) == pytest.approx((0.9 * median, 1.3 * median))


KERNELS: list[results.Row] = [
    {"case": "limits", "variant": "", "threads": 2, "peak_gflops": 100.0, "gbs_L2": 40.0,
     "gbs_memory": 10.0},
    row("a", "numpy v1", 0.002, operation="conv2d_forward", group="omniglot", times=3,
        intensity=2.0, gbs=8.5),
    row("b", "numpy v1", 0.005, operation="conv2d_forward", group="omniglot", times=1,
        intensity=3.0, gbs=19 / 3),
    row("a", "numba v2", 0.004, operation="conv2d_forward", group="omniglot", times=3,
        intensity=2.0, gbs=4.5),
    row("c", "numpy v1", 0.001, operation="relu_backward", group="omniglot", times=4,
        intensity=0.5, gbs=2.0),
    row("d", "numpy v1", 0.007, operation="tanh_forward", group="sine", times=2,
        intensity=0.25, gbs=6.0),
]  # fmt: skip


def test_the_rooflines(drawn: Callable) -> None:
    figures = drawn(roofline)
    roofline.draw_roofline(KERNELS, Path("p.png"), "here")
    (figure,) = figures
    omniglot, sine = figure.axes
    assert (omniglot.get_title(), sine.get_title()) == ("omniglot", "sine")
    single = [(x[0], y[0]) for x, y in points(omniglot) if len(x) == 1]
    assert single == [(2.0, 17.0), (3.0, 19.0), (2.0, 9.0), (0.5, 1.0)]
    assert [(x[0], y[0]) for x, y in points(sine) if len(x) == 1] == [(0.25, 1.5)]
    roofs = {line.get_label(): (line.get_xdata(), line.get_ydata())
             for line in omniglot.get_lines() if len(line.get_xdata()) > 1}  # fmt: skip
    assert set(roofs) == {"L2, 40 GB/s", "memory, 10 GB/s"}
    for label, bandwidth in (("L2, 40 GB/s", 40), ("memory, 10 GB/s", 10)):
        x, y = roofs[label]
        assert (x[0], x[-1]) == pytest.approx((0.125, 6))  # half and twice what there is
        assert list(y) == pytest.approx([min(100.0, bandwidth * i) for i in x])
    hollow = [line.get_markerfacecolor() == "none" for line in omniglot.get_lines()[:4]]
    assert hollow == [False, False, False, True]  # the backward one
    (peak,) = omniglot.texts
    assert (peak.get_text(), peak.xy) == ("100 GFLOP/s", (2.5, 100.0))  # where its roof begins


def test_the_ladders_sum_over_the_calls_of_a_step(drawn: Callable) -> None:
    figures = drawn(roofline)
    roofline.draw_ladders(KERNELS, Path("p.png"), "here")
    omniglot, sine = figures[0].axes
    found = dict(zip([line.get_label() for line in omniglot.get_lines()], points(omniglot),
                     strict=True))  # fmt: skip
    x, y = found["numpy v1"]
    assert x == pytest.approx([3 * 2 + 5, 4 * 1])  # ms
    assert y == [0, 1]
    assert found["numba v2"] == ([pytest.approx(12.0)], [0])
    assert [text.get_text() for text in omniglot.get_yticklabels()] == [
        "conv2d_forward", "relu_backward",
    ]  # fmt: skip
    assert points(sine) == [([pytest.approx(14.0)], [0])]


def test_the_sweep_draws_each_operation_over_each_size(drawn: Callable) -> None:
    figures = drawn(roofline)
    rows: list[results.Row] = [KERNELS[0]]
    for value in (4, 8):
        for operation, seconds in (("conv2d_forward", 1e-3), ("conv2d_backward", 3e-3),
                                   ("relu_forward", 9e-3)):  # fmt: skip
            rows.append(row("x", "v", seconds * value, operation=operation, value=value,
                            group="sweep tasks"))  # fmt: skip
    roofline.draw_sweep(rows, Path("p.png"), "here")
    forward, backward = figures[0].axes
    assert (forward.get_title(), backward.get_title()) == ("conv2d_forward", "conv2d_backward")
    assert forward.get_xlabel() == "tasks"
    check_band(forward, 0, [4, 8], [4, 8])
    check_band(backward, 0, [4, 8], [12, 24])
    (legend,) = figures[0].legends  # below all panels, where it hides no line
    assert [text.get_text() for text in legend.get_texts()] == ["v"]


def grown(names: tuple[str, str]) -> list[results.Row]:
    return [
        row("", name, 1e-3 * value * factor, axis=axis, value=value, threads=2)
        for axis, values in (("tasks", (1, 3)), ("size", (14, 28)))
        for value in values
        for name, factor in zip(names, (1, 5), strict=True)
    ]


def test_growth_is_drawn_over_each_size(drawn: Callable) -> None:
    figures = drawn(inner_loop)
    rows = [row("a whole one", "numba", 1.0, threads=2), *grown(("looped", "cupy"))]
    assert inner_loop.draw(rows, Path("out"), "here") == [Path("out/inner-growth.png")]
    tasks, size = figures[0].axes
    assert (tasks.get_xlabel(), size.get_xlabel()) == ("tasks T", "image side, pixels")
    assert [text.get_text() for text in tasks.get_legend().get_texts()] == ["looped", "cupy"]
    for ax, at in ((tasks, [1, 3]), (size, [14, 28])):
        check_band(ax, 0, at, [1.0 * a for a in at])
        check_band(ax, 1, at, [5.0 * a for a in at])
        assert [text.get_text() for text in ax.get_xticklabels()] == list(map(str, at))
    assert tasks.get_ylabel() == "ms"


def test_an_outer_iteration_is_sampling_and_the_rest(
    drawn: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = drawn(runs)
    monkeypatch.setattr(runs, "usable", lambda: ("numpy", "numba"))
    rows = [
        row("run a", "numpy", 0.02, sampling=0.25, per_second=50.0, threads=2),
        row("run a", "numba", 0.008, sampling=0.5, per_second=125.0, threads=2),
        row("run a", runs.SAMPLING, 0.004, per_second=250.0, threads=2),
        row("run b", "numpy", 0.1, sampling=0.1, per_second=10.0, threads=2),
    ]
    assert runs.draw(rows, Path("out"), "here") == [Path("out/runs.png")]
    a, b = figures[0].axes
    bars = [(bar.get_x(), bar.get_width()) for bar in a.patches]
    np.testing.assert_allclose(bars, [(0, 5), (0, 4), (5, 15), (4, 4)])  # ms
    assert [(bar.get_x(), bar.get_width()) for bar in b.patches] == [
        (0, pytest.approx(10)), (pytest.approx(10), pytest.approx(90)),
    ]  # fmt: skip
    assert [text.get_text() for text in a.get_yticklabels()] == [
        "numpy\n50 a second", "numba\n125 a second",
    ]  # fmt: skip


def test_distinct_values_keep_their_order() -> None:
    assert plots.distinct([{"a": 3}, {"a": 1}, {"a": 3}], "a") == [3, 1]
