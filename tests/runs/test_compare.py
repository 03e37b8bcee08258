"""Runs side by side: what a folder of them holds, and where their settings differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.cli import main
from minireptile.runs import checkpoint, compare
from minireptile.runs.settings import Settings

IMAGES = {"accuracy": 0.827, "accuracy_ci95": 0.0101, "transductive_accuracy": 0.874,
          "transductive_accuracy_ci95": 0.01, "tasks": 5}  # fmt: skip
SINE = {"steps": [0, 32], "mse": [3.0, 0.125], "mse_ci95": [0.5, None], "tasks": 1}


def made(folder: Path, iteration: int, test: Any = None, **settings: Any) -> Path:
    """The folder of a run with these settings and this last evaluation."""
    folder.mkdir(parents=True)
    snapshot = mr.Snapshot(iteration, np.ones(1), {}, np.empty(0))
    made = Settings(**{"backend": "numpy", **settings})
    checkpoint.save(folder / "checkpoint.safetensors", snapshot, made)
    tests = [{"iteration": i, "test": t} for i, t in ((0, {**test, "tasks": 0}), (iteration, test))
             ] if test else []  # fmt: skip
    lines = [{"iteration": 1, "loss": 0.5}, *tests]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made(Path("runs/a"), 6000, IMAGES)
    made(Path("runs/b"), 30, inner_lr=0.002, rotations=False, way=20, shot=5)
    made(Path("runs/c"), 5, SINE, dataset="sine", network="sine", iterations=5, algorithm="maml")
    return Path("runs")


@pytest.mark.usefixtures("runs")
def test_the_runs_of_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else is one: neither a folder without a checkpoint, nor a damaged one."""
    Path("runs/reproduce").mkdir()
    Path("runs/damaged").mkdir()
    Path("runs/damaged/checkpoint.safetensors").write_bytes(b"no checkpoint")
    assert main(["list"]) == 0
    captured = capsys.readouterr()
    head, *rows = [re.split(" {2,}", line.strip()) for line in captured.out.splitlines()]
    assert head == ["folder", "data", "way", "shot", "algorithm", "iterations", "test", "saved"]
    assert [row[:7] for row in rows] == [
        ["runs/a", "glyphs", "5", "1", "reptile", "6,000", "82.7 ± 1.0 %"],
        ["runs/b", "glyphs", "20", "5", "reptile", "30 of 6,000", "-"],
        ["runs/c", "sine", "-", "1", "maml", "5", "0.125 mse"],
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", row[7]) for row in rows)
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("minireptile: runs/damaged is left out: ")
    assert main(["list", "runs/a"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.usefixtures("runs")
def test_the_runs_of_a_folder_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "runs", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [run["folder"] for run in said] == ["runs/a", "runs/b", "runs/c"]
    assert [run["iteration"] for run in said] == [6000, 30, 5]
    assert [run["test"] for run in said] == [IMAGES, None, SINE]
    assert [run["settings"]["way"] for run in said] == [5, 20, 5]
    assert said[1]["settings"]["inner_lr"] == 0.002


@pytest.mark.usefixtures("runs")
def test_only_the_settings_in_which_runs_differ(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "runs/a", "runs/b", "nowhere"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[:2] == ["A  runs/a", "B  runs/b"]
    assert [re.split(" {2,}", line.strip()) for line in lines[2:]] == [
        ["A", "B"],
        ["rotations", "yes", "no"],
        ["way", "5", "20"],
        ["shot", "1", "5"],
        ["inner-lr", "0.001", "0.002"],
        ["iterations done", "6,000", "30"],
        ["accuracy", "82.70 ± 1.01", "-"],
        ["transductive accuracy", "87.40 ± 1.00", "-"],
    ]
    assert captured.err.startswith("minireptile: nowhere is left out: there is no checkpoint")
    assert main(["compare", "runs/b", "runs/c", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["differences"]["dataset"] == ["glyphs", "sine"]
    assert said["differences"]["iterations"] == [6000, 5]
    assert "seed" not in said["differences"]
    assert [run["folder"] for run in said["runs"]] == ["runs/b", "runs/c"]


@pytest.mark.usefixtures("runs")
def test_nothing_to_compare_or_to_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "runs/a", "nowhere"]) == 2
    assert capsys.readouterr().err.endswith(
        "\nminireptile: compare needs two runs or more, and has 1 to read\n"
    )
    assert main(["list", "nowhere"]) == 2
    assert capsys.readouterr().err == (
        "minireptile: nowhere holds no runs: minireptile train makes one there\n"
    )


def test_names_of_columns() -> None:
    assert compare.names(28)[:2] + compare.names(28)[25:] == ["A", "B", "Z", "27", "28"]
