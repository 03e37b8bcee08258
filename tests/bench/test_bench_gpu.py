"""The bench on a GPU, without one: the plan, the budget, the parts as processes, the files."""

from __future__ import annotations

import json
import queue
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import results
from bench.__main__ import main
from bench.gpu import card as gpu_card
from bench.gpu import part as gpu_part
from bench.gpu import parts as gpu
from bench.gpu import report as gpu_report
from bench.gpu.part import Context
from bench.tables import TIME
from minireptile import backend
from minireptile.errors import InputError

from .bench_gpu_helpers import context

# ---------------------------------------------------------------------------- the command, the plan


@pytest.fixture
def as_if(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were a GPU, as far as the command line looks."""
    monkeypatch.setattr(gpu, "why_not", lambda: "")


def test_without_a_gpu_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "why_not", lambda name: f"no card for {name}")
    out = tmp_path / "out"
    assert main(["gpu", "--out", str(out)]) == 2
    assert capsys.readouterr().err == "bench: there is no GPU to measure: no card for cupy\n"
    assert not out.exists()


@pytest.mark.usefixtures("as_if")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], "--minutes must be above 0"),
        (["--minutes", "nan"], "--minutes must be above 0"),
        (["--minutes", "many"], "invalid float value"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--parts", "card,abacus"], "there is no part 'abacus'"),
        (["--out", "FILE"], "cannot write to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_ends_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["gpu", *(a.replace("FILE", str(tmp_path / "file")) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("as_if")
def test_parts_come_in_their_own_order() -> None:
    options = {"quick": True, "minutes": None, "rounds": None, "out": Path("out")}
    plan = gpu.planned(Namespace(parts="train, card", **options))
    assert plan.wanted == ["card", "train"]
    assert (plan.minutes, plan.rounds) == (5, 3)
    assert gpu.planned(Namespace(parts="", **options)).wanted == list(gpu.PARTS)


def test_every_part_has_a_module() -> None:
    for part in gpu.PARTS.values():
        assert (gpu.ROOT / "bench" / "gpu" / f"{part.module}.py").exists()
    assert sum(part.least for part in gpu.PARTS.values()) < 10 * 60


def test_a_part_gets_its_share_and_leaves_the_least_of_the_others() -> None:
    clock = [0.0]
    wanted = ["card", "meta", "settings", "checks"]
    budget = gpu.Budget(1000, now=lambda: clock[0])
    parts = gpu.PARTS
    assert budget.for_part("meta", wanted) == parts["meta"].share * 1000
    clock[0] = 700
    assert budget.for_part("settings", wanted) == 300 - parts["checks"].least
    clock[0] = 1000 - parts["checks"].least - 10  # less than it needs beside the last one
    assert budget.for_part("settings", wanted) == 0
    clock[0] = 1000 - parts["checks"].least
    assert budget.for_part("checks", wanted) == parts["checks"].least
    clock[0] = 990
    assert budget.for_part("checks", wanted) == 0


def test_a_part_alone_gets_all_the_time() -> None:
    assert gpu.Budget(500, now=lambda: 0.0).for_part("card", ["card"]) == 500


# ------------------------------------------------------------------------------- parts as processes


def measured(
    folder: Path, program: str, monkeypatch: pytest.MonkeyPatch, *wanted: str, seconds: float = 300
) -> tuple[list[str], list[results.Row]]:
    """Run parts whose process is a Python program; what failed, and the rows saved."""
    header = "import json, sys, time; name, options = sys.argv[1], json.loads(sys.argv[2])\n"
    row = "def row(**more): print(json.dumps({'case': name, 'variant': 'v', **more}), flush=True)\n"
    monkeypatch.setattr(gpu, "COMMAND", [sys.executable, "-c", header + row + program])
    report = gpu_report.Report(folder, {name: ("about", TIME) for name in gpu.PARTS}, wanted)
    plan = gpu.Plan(list(wanted), seconds / 60, True, 1, folder)
    failed = gpu.run(report, plan, gpu.Budget(seconds))
    return failed, results.load(folder / "gpu.json")["rows"]


def test_rows_of_all_parts_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, rows = measured(tmp_path, "row(seconds=1.5)", monkeypatch, "card", "train")
    assert not failed
    assert [(row["part"], row["seconds"]) for row in rows] == [("card", 1.5), ("train", 1.5)]
    text = (tmp_path / "gpu.md").read_text()
    assert "## card: about" in text
    assert "1.50 s" in text


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("sys.exit('the card is on fire')", "its process ended with code 1: the card is on fire"),
        ("row(note='wrong numbers', failed=True)", "wrong numbers"),
        ("import os; os.kill(os.getpid(), 9)", "its process ended with code -9: it said nothing"),
    ],
)
def test_a_part_that_fails_is_written_down_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, words: str
) -> None:
    program = f"row(seconds=2.0)\nif name == 'card': {mistake}"
    failed, rows = measured(tmp_path, program, monkeypatch, "card", "train")
    assert failed == ["card"]
    assert [row["part"] for row in rows] == ["card", "card", "train"]
    assert words in rows[1]["note"]


def test_a_part_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is over as soon as it has said its first line, however long that took it."""
    real, processes, limits = gpu.lines_of, [], []

    class Over:
        def __init__(self, process: Any) -> None:
            processes.append(process)
            self.lines = real(process)

        def get(self, timeout: float) -> str:
            limits.append(timeout)
            if len(limits) == 2:
                raise queue.Empty
            return self.lines.get(timeout=600)

    monkeypatch.setattr(gpu, "lines_of", Over)
    monkeypatch.setattr(gpu, "GRACE", 3.0)
    monkeypatch.setitem(gpu.PARTS, "card", gpu.PARTS["card"]._replace(least=1, share=0.5))
    program = "row(seconds=2.0)\nif name == 'card': time.sleep(6000)"
    failed, rows = measured(tmp_path, program, monkeypatch, "card", "train", seconds=2000)
    assert failed == ["card"]
    assert [row["part"] for row in rows] == ["card", "card", "train"]
    assert "ended after 1003 s; what came before is above" in rows[1]["note"]
    assert 1000 < limits[0] <= 1003
    assert processes[0].poll() == -9


def test_a_part_without_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, rows = measured(tmp_path, "row()", monkeypatch, "card", "train", seconds=30)
    assert not failed
    assert [row["part"] for row in rows] == ["card", "train"] or rows[0]["note"]
    assert re.fullmatch(r"skipped: \d+ s were left, and it needs 60", rows[-1]["note"])


def test_an_exception_in_a_part_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(context: Context) -> Iterator[results.Row]:
        print("this goes to stderr")
        yield {"case": "fine", "variant": "", "seconds": np.float32(1)}
        raise InputError("no more\nof this")

    monkeypatch.setattr(gpu_card, "run", run)
    rows = list(gpu_part.rows_of("card", context(tmp_path)))
    assert rows[-1]["failed"]
    assert rows[-1]["note"] == "InputError: no more"
    assert rows[0]["case"] == "fine"


def test_a_part_answers_in_lines_of_json(tmp_path: Path) -> None:
    """In its process, without CuPy or a GPU: one row that says what is missing."""
    options = {"quick": True, "rounds": 1, "seconds": 5.0, "out": str(tmp_path)}
    rows = list(gpu.rows_of("card", options, 600))
    if not gpu.why_not():
        pytest.skip("there is a GPU")
    assert rows[-1]["failed"]
    assert "Error" in rows[-1]["note"]
    json.dumps(rows)


# ---------------------------------------------------------------------------------------- the files


def test_rows_are_on_the_disk_before_a_part_ends(tmp_path: Path) -> None:
    clock = [0.0]
    report = gpu_report.Report(tmp_path, {"card": ("about", TIME)}, ["card"], now=lambda: clock[0])
    report.add("card", {"case": "a", "variant": "v"})
    clock[0] = 1.0
    report.add("card", {"case": "b", "variant": "v"})
    assert len(results.load(report.path)["rows"]) == 1
    clock[0] = 2.5
    report.add("card", {"case": "c", "variant": "v"})
    assert len(results.load(report.path)["rows"]) == 3


def test_parts_of_an_earlier_run_stay(tmp_path: Path) -> None:
    parts = {"card": ("one", TIME), "train": ("two", TIME)}
    report = gpu_report.Report(tmp_path, parts, ["card", "train"])
    for part in parts:
        report.add(part, {"case": "old", "variant": "v"})
    report.write()
    again = gpu_report.Report(tmp_path, parts, ["train"])
    again.add("train", {"case": "new", "variant": "v"})
    assert [(row["part"], row["case"]) for row in again.rows] == [("card", "old"), ("train", "new")]
    (tmp_path / "gpu.json").write_text("[]")
    assert gpu_report.Report(tmp_path, parts, []).rows == []
