"""What a sweep tells of its runs: table, picture, sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.cli import grid as options_of
from minireptile.cli import main
from minireptile.cli import sweep as command
from minireptile.runs import plot_sweep, sweep_table
from minireptile.runs.measures import MEASURES
from minireptile.runs.sweep import Cell

from .sweep_helpers import accuracy, cells, error, made


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Means over seeds, by Student's t: of 1 and 3, 2 ± 12.71; what failed and what is to do."""
    grid = cells(tmp_path, inner_lr=[0.02, 0.01], rotations=True)
    made(grid, {0: error(1.0), 1: error(3.0), 3: error(0.125), 4: "no luck", 5: None})
    options_of.keep({"dataset": "sine", "seeds": 3, "iterations": 3, "inner_lr": [0.01, 0.02]},
                  grid[0].settings, tmp_path)  # fmt: skip
    assert main(["sweep", "--out", str(tmp_path), "--table"]) == 0
    head, names, *lines, note, picture = capsys.readouterr().out.splitlines()
    assert head == "mean squared error on 200 unseen tasks of sine, 10 points each"
    assert names.split() == ["inner-lr", "mean", "squared", "error", "seeds"]
    assert [" ".join(line.split()) for line in lines] == [
        "0.01 2.00 ± 12.71 2 1 to do",
        "0.02 0.125 1 seed 1 failed, 1 to do",
    ]
    assert "Student" in note
    assert picture == f"picture: {tmp_path / 'sweep.png'}"
    assert main(["sweep", "--out", str(tmp_path), "--table", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["settings"] for row in found["rows"]] == [{"inner_lr": 0.01}, {"inner_lr": 0.02}]
    figure = found["rows"][0]["figures"]["mean squared error"]
    assert figure["mean"] == 2.0
    assert figure["ci95"] == pytest.approx(12.71)
    assert figure["values"] == [1.0, 3.0]
    assert found["rows"][0]["seeds"] == [0, 1]
    assert found["rows"][0]["to_do"] == [2]
    assert found["rows"][1]["failed"] == {"1": "no luck"}
    assert found["rows"][1]["figures"]["mean squared error"]["ci95"] is None


def test_both_accuracies(tmp_path: Path) -> None:
    grid = cells(tmp_path, dataset="glyphs", seeds=[3, 7])
    made(grid, {0: accuracy(0.8, 0.9), 1: accuracy(0.82, 0.9)})
    found = sweep_table.rows({cell: cell.standing() for cell in grid})
    assert sweep_table.table(found, grid[0].measure) == [
        ["", "accuracy", "transductive accuracy", "seeds"],
        ["all", "81.00 ± 12.71", "90.00 ± 0.00", "2"],
    ]


def test_a_figure_and_its_interval_have_the_same_decimals() -> None:
    """Of errors three digits; where these need an exponent, three each."""
    cell, of = sweep_table._cell, MEASURES["regression"]
    assert cell((0.0012345, 0.0004), of) == "0.00123 ± 0.00040"
    assert cell((123.4, 5.6), of) == "123 ± 6"
    assert cell((1.234e30, 4e28), of) == "1.23e+30 ± 4.00e+28"
    assert cell((12.0, None), of) == "12.0"
    assert cell(None, of) == "-"


def test_a_test_that_diverged_is_no_figure(tmp_path: Path) -> None:
    (cell,) = made(cells(tmp_path, seeds=1), {0: error(float("inf"))})
    standing = cell.standing()
    assert standing.values  # complete, and not trained again
    assert standing.failed == "it diverged on tasks of its test"
    assert sweep_table.rows({cell: standing})[0].seeds == []


def test_if_all_fail_alike_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where there are no data."""
    grid = made(cells(tmp_path), dict.fromkeys(range(3), "there are no data"))
    with pytest.raises(mr.InputError, match="all runs failed: there are no data"):
        command._code(grid)


def draw(drawn: Callable, grid: list[Cell], tests: list[float]) -> Any:
    """The picture of a sweep with these losses."""
    figures = drawn(plot_sweep)
    made(grid, dict(enumerate(map(error, tests))))
    found = sweep_table.rows({cell: cell.standing() for cell in grid})
    plot_sweep.draw(found, grid[0].measure, grid[0].settings, grid[0].folder.parent)
    (figure,) = figures
    return figure


def test_the_picture(tmp_path: Path, drawn: Callable) -> None:
    """The number with most values along the axis, logarithmic over more than a factor of 10; a
    line for each value of the other setting, each seed a dot."""
    grid = cells(tmp_path, inner_lr=[0.001, 0.01, 0.02], inner_steps=[2, 5], seeds=2)
    (ax,) = draw(drawn, grid, [1.0 + 0.1 * i for i in range(12)]).axes
    assert ax.get_xlabel() == "inner-lr"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    labels = ax.get_legend_handles_labels()[1]
    assert labels == ["inner-steps 2", "inner-steps 5"]
    (line, *_), *_ = ax.containers
    order = [cell.values["inner_steps"] for cell in grid[::2]]
    means = [1.05 + 0.2 * i for i in range(6)]
    assert list(line.get_xdata()) == [0.001, 0.01, 0.02]
    np.testing.assert_allclose(
        line.get_ydata(), [m for m, steps in zip(means, order, strict=True) if steps == 2]
    )
    dots = [each for each in ax.lines if each.get_marker() == "."]
    assert sorted(y for each in dots for y in each.get_ydata()) == pytest.approx(
        [1.0 + 0.1 * i for i in range(12)]
    )
    low, high = ax.get_ylim()
    half = 12.71 * 0.05
    assert low < means[0] - half or low <= 0
    assert high > means[-1] + half


def test_what_diverged_leaves_room_for_the_others(tmp_path: Path, drawn: Callable) -> None:
    grid = cells(tmp_path, algorithm=["reptile", "fomaml", "maml"], seeds=1)
    figure = draw(drawn, grid, [1.0, 2.0, 1e30])
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["reptile", "fomaml", "maml"]
    assert ax.get_ylim()[1] < 10
    assert "1 beyond the axis" in figure.get_suptitle()


def test_no_line_leads_to_what_diverged(tmp_path: Path, drawn: Callable) -> None:
    grid = cells(tmp_path, inner_lr=[0.01, 0.02, 0.06], seeds=1)
    (line, *_), *_ = draw(drawn, grid, [1.0, 2.0, 1e30]).axes[0].containers
    np.testing.assert_array_equal(line.get_ydata(), [1.0, 2.0, np.nan])
