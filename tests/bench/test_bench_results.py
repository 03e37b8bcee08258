"""Result files of the benchmarks, and their comparison."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import machine, results
from bench.__main__ import main
from bench.compare import compare
from minireptile.errors import InputError

FOLDER = Path(results.__file__).parent


def row(case: str, seconds: float, spread: float = 0.0, variant: str = "v1") -> results.Row:
    low, high = seconds * (1 - spread), seconds * (1 + spread)
    return {"case": case, "variant": variant, "seconds": seconds, "low": low, "high": high}


def saved(path: Path, rows: list[results.Row], **changes: Any) -> Path:
    results.save(path, "kernels", rows)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_a_result_file_comes_back(tmp_path: Path) -> None:
    rows = [row("a", 1.0), {"case": "b", "variant": "x", "note": "not installed", "n": np.int64(3)}]
    results.save(tmp_path / "new.json", "kernels", rows)
    found = results.load(tmp_path / "new.json")
    assert found["rows"] == rows
    assert found["suite"] == "kernels"
    assert found["machine"]["cores"] == machine.cores()
    assert found["machine"]["numpy"] == np.__version__
    with pytest.raises(InputError, match="cannot write"):
        results.save(tmp_path / "nowhere" / "new.json", "kernels", rows)


def test_a_result_file_says_when_and_of_which_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def run(command: list[str], cwd: Path, **options: Any) -> Any:
        asked.append((command, cwd, options["check"], options["text"]))
        if len(asked) > 1:
            raise OSError
        return SimpleNamespace(stdout="v1-dirty\n")

    git = SimpleNamespace(run=run, SubprocessError=subprocess.SubprocessError)
    monkeypatch.setattr(results, "subprocess", git)
    for path in (tmp_path / "of git.json", tmp_path / "of none.json"):
        results.save(path, "kernels", [])
    assert asked == [(["git", "describe", "--always", "--dirty"], FOLDER, True, True)] * 2
    first, second = results.load(tmp_path / "of git.json"), results.load(tmp_path / "of none.json")
    keys = ["format", "suite", "machine", "date", "commit", "rows"]
    assert list(first) == keys
    assert (first["format"], first["commit"]) == (1, "v1-dirty")
    assert list(second) == [key for key in keys if key != "commit"]
    date = datetime.fromisoformat(first["date"])
    assert (date.utcoffset(), date.microsecond) == (timedelta(0), 0)


ROW = '{"format": 1, "suite": "a", "machine": {}, "date": "", "rows": [{"case": "a", "variant": "b"'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON: give a file that python -m bench wrote$"),
        ("\x00\xff", "not JSON"),
        ("[1, 2]", "is not a result file of python -m bench: it does not hold an object$"),
        ("{}", "its format is None, not 1$"),
        ('{"format": 1}', "'suite' is missing or of the wrong type$"),
        *(
            (f'{ROW}, "low": {low}}}]}}', "row 0: 'low' is not a positive number of seconds$")
            for low in ("0", "true", "-1", "Infinity", '"1"')
        ),
        ('{"format": 1, "suite": "a", "machine": {}, "date": "", "rows": {}}', "'rows' is missing"),
        ('{"format": 1, "suite": "a", "machine": {}, "date": "", "rows": [1]}', "row 0 has no"),
        (
            '{"format": 1, "suite": "a", "machine": {}, "date": "",'
            ' "rows": [{"case": "a", "variant": "b", "seconds": "fast"}]}',
            "row 0: 'seconds' is not",
        ),
        (
            '{"format": 1, "suite": "a", "machine": {}, "date": "",'
            ' "rows": [{"case": "a", "variant": "b", "seconds": NaN}]}',
            "row 0: 'seconds' is not",
        ),
    ],
)
def test_a_bad_result_file_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=why):
        results.load(path)


def test_a_missing_result_file_is_refused(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"^cannot read {path}: {why}"):
            results.load(path)


def test_compare_speaks_of_clear_changes_alone(tmp_path: Path) -> None:
    before = [row("slow", 1.0), row("fast", 1.0), row("noisy", 1.0, 0.3), row("little", 1.0)]
    after = [row("slow", 1.2), row("fast", 0.8), row("noisy", 1.4, 0.3), row("little", 1.04)]
    gone = {"case": "gone", "variant": "v1", "note": "not installed"}
    old = saved(tmp_path / "old.json", [*before, gone, row("old only", 1.0)])
    new = saved(tmp_path / "new.json", [*after, row("gone", 1.0)])
    text, slower = compare(old, new)
    assert slower
    lines = [line.strip("| ") for line in text.splitlines()]
    changes = {
        name: next((word for word in ("slower", "faster") if lines[i + 1].endswith(word)), "")
        for i, name in enumerate(lines)
        if name in ("slow", "fast", "noisy", "little")
    }
    assert len(changes) == 4
    assert changes["slow"] == "slower"
    assert changes["fast"] == "faster"
    assert changes["noisy"] == changes["little"] == ""
    assert "old only / v1" in text
    assert "gone / v1" in text
    assert "1 slower, 1 faster, of 4" in text
    assert "machines differ" not in text


def test_compare_says_first_that_the_machines_differ(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", [row("a", 1.0)])
    this = json.loads(old.read_text())["machine"]
    other = {**this, "cpu": "another", "load": -1.0}
    new = saved(tmp_path / "new.json", [row("a", 1.0)], machine=other)
    text, slower = compare(old, new)
    assert text.startswith(
        "The machines differ, so the ratios compare machines as well as code:\n- cpu: "
    )
    assert "another now" in text
    assert "load" not in text
    assert not slower


@pytest.mark.parametrize(
    ("new", "change"),
    [
        ((1.049, 1.02, 1.1), ""),  # by less than 5 %
        ((1.051, 1.02, 1.1), "slower"),
        ((1.051, 1.009, 1.1), ""),  # the quartile ranges overlap
        ((1 / 1.049, 0.93, 0.98), ""),
        ((1 / 1.051, 0.93, 0.98), "faster"),
        ((1 / 1.051, 0.93, 0.991), ""),
        ((1.2, None, None), "slower"),  # without quartiles, the median stands for them
    ],
)
def test_compare_draws_the_line_where_it_says(tmp_path: Path, new: tuple, change: str) -> None:
    times = dict(zip(("seconds", "low", "high"), new, strict=True))
    before = {"case": "a", "variant": "v1", "seconds": 1.0, "low": 0.99, "high": 1.01}
    old = saved(tmp_path / "old.json", [before])
    text, slower = compare(old, saved(tmp_path / "new.json", [{**before, **times}]))
    row = text.splitlines()[3]
    assert row.startswith("|   v1 ")
    assert (row.split("|")[5].strip() if change else "") == change
    assert "slower |" not in row or change == "slower"
    assert slower == (change == "slower")


def test_compare_has_a_column_for_each_time(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", [row("a", 2.0)])
    text, _ = compare(old, saved(tmp_path / "new.json", [row("a", 3.0)]))
    lines = text.splitlines()
    assert lines[:4] == [
        "| case, variant |    old |    new | ratio | change |",
        "| ------------- | -----: | -----: | ----: | ------ |",
        "| a                                                |",
        "|   v1          | 2.00 s | 3.00 s |   1.5 | slower |",
    ]
    assert lines[-1] == "1 slower, 0 faster, of 1"


def test_compare_says_what_each_machine_was(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", [row("a", 1.0)], machine={"cpu": "x", "cores": 2})
    new = saved(tmp_path / "new.json", [row("a", 1.0)], machine={"cpu": "y", "cores": 2})
    assert compare(old, new)[0].splitlines()[1] == "- cpu: x before, y now"


@pytest.mark.parametrize(
    ("rows", "changes", "why"),
    [
        (
            [row("a", 1.0)],
            {"suite": "runs"},
            "'kernels' and .* 'runs': give two files of one suite$",
        ),
        ([row("b", 1.0)], {}, "no case and variant in common"),
        ([row("a", 1.0), row("a", 2.0)], {}, "two rows for a / v1: measure again$"),
    ],
)
def test_compare_refuses(tmp_path: Path, rows: list, changes: dict, why: str) -> None:
    old = saved(tmp_path / "old.json", [row("a", 1.0)])
    with pytest.raises(InputError, match=why):
        compare(old, saved(tmp_path / "new.json", rows, **changes))


def test_the_command_says_that_something_got_slower(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", [row("a", 1.0)])
    new = saved(tmp_path / "new.json", [row("a", 2.0)])
    assert main(["compare", str(old), str(new)]) == 1
    assert main(["compare", str(new), str(old)]) == 0
