"""A race's process, its command, what cannot be, and what is told; no test is of time."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import race, race_turns, results, roofline
from bench.__main__ import main
from bench.machine import Limits
from bench.measure import Mismatch
from bench.race_check import Unfair
from bench.race_file import Racer
from bench.race_turns import MARGIN, Job
from minireptile.errors import InputError

from .racing import LIMITS, RELU, convolution, job, nothing, row

# ------------------------------------------------------------------------------ what is to be done


def test_what_is_planned_is_what_the_command_says(write: Any) -> None:
    mine, other = write(RELU), write(RELU, "other.py")
    assert race.planned(mine, None, 3, False, "", False) == Job({"yours": str(mine)}, 3, False)
    files = {"yours": str(mine), "theirs": str(other)}
    assert race.planned(mine, other, 5, True, "relu", False) == Job(files, 5, True, "relu")


def test_without_a_gpu_it_is_a_sentence(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(race, "why_not", lambda backend: f"no {backend} here")
    source = str(write("", "mine.cu"))
    for arguments in (
        [source],
        [str(write(RELU)), "--gpu"],
        [str(write(RELU)), "--against", source],
    ):
        assert main(["race", *arguments, "--out", str(tmp_path)]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told == "bench: kernels for a GPU can be raced on one alone: no cupy here"


# ------------------------------------------------------------------- a process that comes to an end


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process starts faster without one."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("text", "said"),
    [("import os\nos._exit(7)", "while it is imported: it ended the process, with exit code 7"),
     ("import ctypes\nctypes.string_at(0)", "it crashed (SIGSEGV)"),
     ("import os\nif os.fork() == 0:\n    while True: pass", "it forks"),
     ("import os, subprocess\n"
      "open(PIDS, 'w').write(f'{os.getpid()} {subprocess.Popen([\"sleep\", \"99\"]).pid}')\n"
      "print('once more')\nwhile True: pass", "it did not return within 3 s")],
    ids=["ends", "crashes", "forks", "never returns"],
)  # fmt: skip
def test_a_process_that_does_not_answer_is_a_sentence(
    text: str, said: str, write: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pids = tmp_path / "pids"
    path = write(text.replace("PIDS", repr(str(pids))))
    assert main(["race", str(path), "--time-limit", "3", "--out", str(tmp_path / "out")]) == 2
    printed, told = capfd.readouterr()
    assert printed == "runs the code of mine.py\n"
    sentence = told.splitlines()[-1]
    assert sentence.startswith("bench: mine.py, while it is imported")
    assert said in sentence
    if "once more" in text:
        assert "bench: mine.py printed lines: 1\n    once more\n" in told
        assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_process_that_ends_before_it_has_said_anything(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "COMMAND", [sys.executable, "-c", "raise SystemExit(5)"])
    with pytest.raises(InputError, match=r"^the race: it ended the process, with exit code 5$"):
        race.run(job(write(RELU)), 30.0)


def test_less_than_a_second_is_a_limit_too(
    write: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Of what the file's code is at; where it is at nothing, there is none."""
    text = "import time; print('{%s}', flush=True); time.sleep(%g); print('{%s}', flush=True)"
    told = '"doing": "a kernel"'
    monkeypatch.setattr(race, "COMMAND", [sys.executable, "-c", text % (told, 60, told)])
    with pytest.raises(InputError, match=r"^a kernel: it did not return within 0.2 s; --time-l"):
        race.run(job(write(RELU)), 0.2)
    other = text % ('"doing": ""', 0.5, '"rows": []')
    monkeypatch.setattr(race, "COMMAND", [sys.executable, "-c", other])
    assert race.run(job(write(RELU), write(RELU, "other.py")), 0.2) == []
    assert capsys.readouterr().out.splitlines()[-1] == "runs the code of mine.py and of other.py"


def gone(pid: int) -> bool:
    """Whether a process has ended, or soon has; its parent may not have looked yet."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.usefixtures("no_compiler")
def test_a_race_ends_with_the_process_that_asked_for_it(write: Any) -> None:
    """However that one ended: killed, it can tell nobody."""
    with race._process(job(write("print('begun')\nwhile True: pass"))) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@pytest.mark.usefixtures("no_compiler")
def test_the_command_races_saves_and_draws(
    write: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the file prints is not in the table."""
    text = RELU.replace("np.maximum", 'print("a line")\n        np.maximum')
    out = tmp_path / "out"
    path = write(text)
    assert main(["race", str(path), "--quick", "--rounds", "1", "--out", str(out)]) == 0
    printed, told = capfd.readouterr()
    assert printed.startswith("runs the code of mine.py\n## race\n")
    assert "|   **yours**   |" in printed
    assert "yours: " in printed
    assert "a line" not in printed
    assert "    a line\n" * race.SHOWN in told
    assert told.count("a line") == race.SHOWN
    assert re.search(rf" printed lines: \d+, the last {race.SHOWN} of them\n", told)
    saved = results.load(out / "race.json")
    assert saved["suite"] == "race"
    assert {row["variant"] for row in saved["rows"][1:]} == {"yours", "numpy v1"}
    assert (out / "race-ladders.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(Mismatch("y"), 1, "bench: wrong numbers, so nothing was timed: y"),
     (Unfair("kept"), 1, "bench: kept"), (InputError("no"), 2, "bench: no")],
)  # fmt: skip
def test_what_a_process_answers_is_the_exit_code(
    error: Exception, code: int, said: str, write: Any, tmp_path: Path, capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(race, "run", fail)
    assert main(["race", str(write(RELU)), "--out", str(tmp_path)]) == code
    assert capsys.readouterr().err.splitlines()[-1] == said
    key = {Mismatch: "wrong", Unfair: "unfair", InputError: "error"}[type(error)]
    with pytest.raises(type(error), match=str(error)):
        race._rows({key: str(error)})


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "1e300"])
def test_a_time_limit_is_a_time(limit: str, write: Any, tmp_path: Path, capsys: Any) -> None:
    path = str(write(RELU))
    assert main(["race", path, "--time-limit", limit, "--out", str(tmp_path)]) == 2
    assert "--time-limit must be" in capsys.readouterr().err


# ------------------------------------------------------------------- faster than this machine can


def test_the_least_time_of_a_convolution_leaves_room_for_winograds() -> None:
    call, _ = convolution(1, 1)
    fast = Limits(1, 1.0, {"memory": 1e9}, {"memory": np.inf})
    taps = 2 * 2 * 4 * 10 * 10 * 9 * 8 * 8
    assert race_turns.least_seconds(call, fast) == pytest.approx(1e-9 * taps / 4)
    strided = replace(call, arguments={**call.arguments, "stride": (2, 2)})
    assert race_turns.shared(strided) == pytest.approx((8 / 5) ** 2)
    slow = Limits(1, 1e9, {"memory": 1.0}, {"memory": np.inf})
    assert race_turns.least_seconds(call, slow) == pytest.approx(1e-9 * call.traffic)


@pytest.mark.parametrize("share", [0.97, 1.03])
def test_faster_than_the_limits_by_more_than_they_may_be_off(share: float) -> None:
    call, _ = convolution(1, 1)
    least = race_turns.least_seconds(call, LIMITS)
    _, timings = convolution(least / MARGIN / share, ladder=2 * least)
    found = race_turns.too_fast(call, timings, ["yours"], LIMITS)
    assert found == ({"yours"} if share > 1 else set())
    # Where the ladder is beyond the limits, these are not to be trusted.
    _, timings = convolution(least / MARGIN / share, ladder=least / 1.1)
    assert not race_turns.too_fast(call, timings, ["yours"], LIMITS)
    place = {"case": "a", "group": "omniglot", "times": 1}
    notes = [row["note"] for row in race_turns.rows_of(call, place, timings, ["yours"], LIMITS)]
    assert notes == ["", ""]


def test_limits_are_measured_again_before_anything_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice; the best of each counts, and the row of the limits has it."""
    call, _ = convolution(1, 1)
    least = race_turns.least_seconds(call, LIMITS)
    _, timings = convolution(least / MARGIN / 3, ladder=2 * least)
    factors = [1]
    measured: list[int] = []

    def limits(*_: object) -> Limits:
        measured.append(factors[len(measured)])
        return replace(LIMITS, gflops=100 * measured[-1], gbs={"memory": 10 * measured[-1]})

    monkeypatch.setattr(race_turns, "limits", limits)
    monkeypatch.setattr(race_turns, "take_turns", lambda *_: timings)
    place = {"case": "a", "group": "omniglot", "times": 1}
    for found, count, note in (
        ([1, 4], 2, ""), ([1, 1, 4], 3, ""), ([1, 2, 1], 3, race_turns.IMPOSSIBLE),
    ):  # fmt: skip
        factors[:] = found
        measured.clear()
        racer = Racer("yours", Path("mine.py"), {}, nothing)
        roof, first, _ = race_turns.timed_cases([racer], [(call, place)], 1, True)
        assert len(measured) == count
        assert roof["peak_gflops"] == 100 * max(measured)
        assert (first["variant"], first["note"]) == ("yours", note)


def test_it_is_said_and_ends_in_1(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    call, _ = convolution(1, 1)
    _, timings = convolution(1e-9, ladder=1.0)
    place = {"case": "omniglot conv2d", "group": "omniglot", "times": 1}
    rows = race_turns.rows_of(call, place, timings, ["yours"], LIMITS)
    monkeypatch.setattr(race, "run", lambda *_: [race_turns.roof(LIMITS), *rows])
    assert main(["race", str(write(RELU)), "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "faster than this machine can" in told.out
    assert "bench: yours: faster than this machine can: 1.00 ns for omniglot conv2d" in told.err
    worse = {**rows[0], "variant": "theirs", "share": 2 * rows[0]["share"]}
    assert race.impossible([rows[0], worse]).startswith("theirs: ")
    assert race.impossible([worse, rows[0]]).startswith("theirs: ")


def test_a_kernel_on_several_processors_is_told() -> None:
    call, timings = convolution(1.0, ladder=2.0)
    place = {"case": "a", "group": "omniglot", "times": 1}
    for used, note in ((1.1, ""), (1.9, "computes on 1.9 processors at a time")):
        timings["yours"] = timings["yours"][0], used
        first = race_turns.rows_of(call, place, timings, ["yours"], LIMITS)[0]
        assert first["note"].startswith(note)
        assert bool(first["note"]) == bool(note)


# --------------------------------------------------------------------------------- what is told


def test_the_summary_is_of_an_inner_step() -> None:
    """Over its layers, each as often as the step has it."""
    rows = [
        row("numba v3", 0.002), row("yours", 0.001, yours=True), row("numpy v1", 0.009),
        row("yours", 0.004, "b", yours=True, times=2), row("numba v3", 0.001, "b", times=2),
        row("numpy v1", 0.001, "b", times=2),
    ]  # fmt: skip
    assert race.summary([{}, *rows]) == (
        "yours: second of 3, 0.44 times as fast as numba v3: 9.00 ms an inner step against "
        "4.00 ms (conv2d_forward, omniglot)"
    )
    close = [row("yours", 0.001, yours=True), row("numba v3", 0.0011), row("theirs", 0.003)]
    mine, others, both = race.summary(close).splitlines()
    assert mine.startswith("yours: first of 3, 1.1 times as fast as numba v3")
    assert "the quartiles overlap" in mine
    assert others.startswith("theirs: third of 3, 0.33 times as fast as yours")
    assert both.startswith("yours: 3 times as fast as theirs: 1.00 ms an inner")
    assert "overlap" not in both
    other = [{**each, "group": "sine"} for each in close]
    assert len(race.summary([*close, *other]).splitlines()) == 6
    many = [row(f"numpy v{n}", 0.001 * n) for n in range(1, 13)]
    twelfth, last = (
        race.summary([*some, row("yours", 0.1, yours=True)]) for some in (many[1:], many)
    )
    assert twelfth.startswith("yours: twelfth of 12, ")
    assert last.startswith("yours: number 13 of 13, ")


def test_yours_stand_out_in_the_picture(drawn: Callable, tmp_path: Path) -> None:
    figures = drawn(roofline)
    rows: list[results.Row] = [
        {"case": "limits", "variant": "", "threads": 1}, row("numba v1", 0.004),
        row("yours", 0.002, yours=True, times=3), row("theirs", 0.003, yours=True),
        row("yours", 0.005, "b", yours=True),
    ]  # fmt: skip
    assert race.draw(rows, tmp_path, "here") == [tmp_path / "race-ladders.png"]
    (ax,) = figures[0].axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert list(lines["yours"].get_xdata()) == pytest.approx([6.0, 5.0])
    assert list(lines["yours"].get_ydata()) == [0, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    size, edge = lines["numba v1"].get_markersize(), lines["numba v1"].get_color()
    for name in ("yours", "theirs"):
        assert lines[name].get_markersize() > 2 * size
        assert lines[name].get_color() != edge
    (legend,) = figures[0].legends
    assert [t.get_text() for t in legend.get_texts()] == ["yours", "theirs", "numba v1"]
