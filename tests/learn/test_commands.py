"""``python -m learn`` as a person types it: what it says, its exit code, and what it never does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from learn import folder as folders
from learn.__main__ import main
from learn.course import COURSE
from learn.exercises import classifier
from learn.learner import passed_module
from learn.solution import solved

ROOT = Path(__file__).parents[2]
DENSE, ACTIVATIONS = COURSE[:2]
RIGHT = solved(DENSE)
Learn = Callable[..., str]
BACKWARD = "return dy @ w.T, x.T @ dy, dy.sum(0)"


@pytest.fixture
def my(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my"


@pytest.fixture
def learn(my: Path, capsys: pytest.CaptureFixture[str]) -> Learn:
    """What `python -m learn` with these words says, if it ends with this code."""

    def said(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(list(words), my) == code
        return capsys.readouterr().out

    return said


def write(my: Path, text: str) -> Path:
    """The learner's answer to exercise 1."""
    my.mkdir(exist_ok=True)
    path = my / f"{DENSE.name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_from_the_first_call_to_the_next_exercise(my: Path, learn: Learn) -> None:
    said = learn(code=1)
    assert "to do" in said
    assert "write   forward(x, w, b) in my/01_dense.py:" in said
    assert DENSE.read in said
    write(my, RIGHT.replace(BACKWARD, "return dy @ w.T, x @ dy, dy.sum(0)"))
    said = learn(code=1)
    assert "dw: is wrong in 16 of 16 entries" in said
    assert "hint 01_dense" in said
    assert "again" not in said
    assert "Traceback" not in said
    write(my, RIGHT)
    said = learn(code=1)  # the next one is to do
    assert f"{DENSE.title}: right" in said
    assert f"{ACTIVATIONS.title}: to do" in said
    assert (my / f"{ACTIVATIONS.name}.py").exists()
    assert DENSE.title not in learn(code=1), "what has passed is not checked again"
    write(my, RIGHT.replace(BACKWARD, "return dy @ w.T, x.T @ dy, dy"))
    assert "db: has shape (4, 4), expected (4,)" in learn(code=1), "it has changed"


@pytest.mark.parametrize("word", ["1", "01", "dense", "01_dense"])
def test_an_exercise_by_its_number_or_name(my: Path, learn: Learn, word: str) -> None:
    write(my, RIGHT)
    assert f"{DENSE.title}: right" in learn(word)


def test_when_all_are_right(my: Path, learn: Learn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learn.__main__.COURSE", (DENSE,))
    write(my, RIGHT)
    assert "All 1 exercises are right" in learn()
    learn()


def test_the_list_says_where_one_is(my: Path, learn: Learn) -> None:
    write(my, RIGHT)
    learn("1")
    lines = learn("list").splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["done", "current", "to"]
    assert all(e.name in line and f"{e.minutes} min" in line for e, line in zip(COURSE, lines))  # noqa: B905
    assert lines[-1].startswith(f"1 of {len(COURSE)} done, about")


def test_each_hint_gives_one_more(my: Path, learn: Learn) -> None:
    many = len(DENSE.hints)
    for i in [*range(1, many + 1), many]:
        said = " ".join(learn("hint").split())
        given = [" ".join(h.split()) in said for h in DENSE.hints]
        assert given == [True] * i + [False] * (many - i)
        assert ("That was the last one" in said) == (i == many)
    assert ACTIVATIONS.hints[0][:20] in learn("hint", "activations")


def test_a_hint_names_the_mistake(my: Path, learn: Learn) -> None:
    write(my, RIGHT.replace(BACKWARD, "return dy @ w.T, x.T @ dy, dy.mean(0)"))
    assert "a mistake with a name: db as a mean over the mini-batch" in learn("hint")
    write(my, RIGHT.replace(BACKWARD, "return dy @ w.T, x.T @ dy, 7 * dy.sum(0)"))
    assert "a mistake with a name" not in learn("hint")


def test_the_solution_is_for_those_who_have_passed_or_give_up(my: Path, learn: Learn) -> None:
    said = learn("solution", code=1)
    assert BACKWARD not in said
    assert "--give-up" in said
    assert learn("solution", "--give-up").strip() == RIGHT.strip()
    write(my, RIGHT)
    learn("1")
    assert BACKWARD in learn("solution", "1")


def test_a_reset_loses_nothing(my: Path, learn: Learn) -> None:
    stub = (folders.STUBS / f"{DENSE.name}.py").read_text(encoding="utf-8")
    learn("reset", "1")
    assert (my / f"{DENSE.name}.py").read_text(encoding="utf-8") == stub
    path = write(my, RIGHT)
    learn("1")
    for i, text in enumerate((RIGHT, "# a second try"), 1):
        write(my, text)
        assert f"what you wrote is in my/01_dense.py.{i}" in learn("reset", "dense")
        assert path.read_text(encoding="utf-8") == stub
        assert path.with_name(f"01_dense.py.{i}").read_text(encoding="utf-8") == text
    assert learn("list").startswith("current  01_dense")


FAULTS = {
    "a syntax error": (
        RIGHT.replace(BACKWARD, "return dy @ w.T, (x.T @ dy, dy.sum(0)"),
        "my/01_dense.py:24: Python cannot read this line: '(' was never closed",
    ),
    "bytes that are no text": ("\0", "my/01_dense.py"),
    "an error on import": ("import numpy\nimport numpyy\n", "my/01_dense.py:2: ModuleNotFound"),
    "a function missing": ("", "there is no function forward(x, w, b)"),
    "a number for a function": ("forward = 3", "there is no function forward(x, w, b)"),
    "other parameters": (
        RIGHT.replace("def backward(dy, x, w, b)", "def backward(dy, x)"),
        "write backward(dy, x, w, b), as in the stub, not backward(dy, x)",
    ),
    "an error": (
        RIGHT.replace(BACKWARD, "return dy @ w, x.T @ dy[1:], dy.sum(0)"),
        "my/01_dense.py:24: ValueError: matmul: ",
    ),
    "an error in its helper": (
        RIGHT.replace(BACKWARD, "return helper(dy)") + "\n\ndef helper(dy):\n    return dy[9]\n",
        "where backward was called with dy (4, 4), x (4, 4), w (4, 4), b (4,)\n    return dy[9]",
    ),
    "no end of calls": (
        RIGHT.replace(BACKWARD, "return backward(dy, x, w, b)"), "my/01_dense.py:24: RecursionError"
    ),
    "nothing returned": (
        RIGHT.replace(BACKWARD, "pass"),
        "my/01_dense.py:23: backward(dy, x, w, b) returns None: is its return missing?",
    ),
    "an assertion": (RIGHT.replace(BACKWARD, "assert 0, 'mine'"), "py:24: AssertionError: mine"),
    "sys.exit": (RIGHT.replace(BACKWARD, "import sys; sys.exit(0)"), "it ends Python where back"),
    "exit at the top": ("raise SystemExit", "my/01_dense.py:1: it ends Python when it is loaded"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_a_sentence_with_its_line(my: Path, learn: Learn, text: str, told: str) -> None:
    write(my, text)
    said = learn(code=1)
    assert "cannot be checked" in said
    assert told in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 5


WRONG = {
    "None among them": (RIGHT.replace(BACKWARD, "return dy @ w.T, None, 0"), "returns None"),
    "two of three": (RIGHT.replace(BACKWARD, "return dy @ w.T, x.T @ dy"), "returned 2 gradients"),
    "text": (RIGHT.replace(BACKWARD, "return 'dx', 'dw', 'db'"), ""),
    "a list in a list": (RIGHT.replace(BACKWARD, "return [[1], [1, 2]], 0, 0"), ""),
    "an input changed": (RIGHT.replace(BACKWARD, f"x *= 2; {BACKWARD}"), "changes its input x"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_the_kits_report(my: Path, learn: Learn, text: str, told: str) -> None:
    write(my, text)
    said = learn(code=1)
    assert ": not right yet\n" in said
    assert "  see     backward, my/01_dense.py:23\n" in said
    assert told in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 20


def test_what_is_printed_is_shown_in_part(my: Path, learn: Learn) -> None:
    write(my, "print('loaded')\n" + RIGHT.replace(BACKWARD, f"print(dy.shape); {BACKWARD}"))
    said = learn("1")
    assert "  | loaded\n  | (4, 4)\n" in said
    assert "lines, of which the first 5:" in said
    assert said.count("  | ") == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["15"], "there is no exercise '15': give a number from 01 to"),
        (["0"], "there is no exercise '0'"),
        (["hint", "den"], "there is no exercise 'den'"),
        (["1", "2"], "one at a time, not '1 2'"),
        (["list", "1"], "one at a time"),
        (["--watch"], "there is no option '--watch'"),
        (["hint", "--give-up"], "--give-up goes with solution"),
        (["reset"], "say which: python -m learn reset NAME"),
    ],
)
def test_a_command_that_is_none(
    my: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(words, my) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not my.exists()


def test_help(my: Path, learn: Learn) -> None:
    for word in ("--help", "-h", "help"):
        assert "python -m learn reset NAME" in learn(word)


def test_my_is_a_file(my: Path, capsys: pytest.CaptureFixture[str]) -> None:
    my.write_text("mine")
    assert main([], my) == 2
    assert "should be a folder, for what you write, and cannot be made: it is a file" in (
        capsys.readouterr().err
    )
    assert my.read_text() == "mine"


def test_my_cannot_be_written(
    my: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    assert main([], my) == 2
    said = capsys.readouterr()
    assert said.err == f"Error: cannot write {my / '01_dense.py'}: No space left on device\n"


def test_the_file_is_a_folder(my: Path, learn: Learn) -> None:
    (my / "01_dense.py").mkdir(parents=True)
    assert "cannot read my/01_dense.py" in learn(code=1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"passed": 3, "hints": {}}', "\xff"])
def test_progress_that_cannot_be_read_is_made_again(my: Path, text: str) -> None:
    write(my, RIGHT)
    (my / "progress.json").write_text(text, encoding="latin-1")
    assert main(["1"], my) == 0
    assert folders.Folder(my).has_passed(DENSE)


def test_a_loop_that_never_ends_is_stopped_at_its_line(my: Path) -> None:
    write(my, RIGHT.replace(BACKWARD, "while True: dy = dy + 1"))
    code = (
        "import time; from pathlib import Path; from learn import __main__, learner\n"
        "with learner.time_limit(0.05, Path('my')): pass\n"
        "time.sleep(0.2)\n"  # what has come to an end is not stopped later
        "learner.CHECK_LIMIT = 0.5; __main__.main([], Path('my'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=my.parent, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout == (
        "my/01_dense.py:24: still here after 0.5 seconds, and stopped: does a loop never end?\n"
        "    while True: dy = dy + 1\n"
    )


def test_from_outside_of_the_checkout(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "learn")], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"run it as a module: cd {ROOT} && python -m learn\n"


def test_ones_own_functions_learn_to_read(
    my: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CLASSES": 2, "DRAWERS": 4, "UNSEEN": 1, "B": 6, "STEPS": 2}.items():
        monkeypatch.setattr(classifier, name, value)
    my.mkdir()
    convolution = next(e for e in COURSE if e.name == "06_convolution")
    path = my / "06_convolution.py"
    path.write_text(solved(convolution), encoding="utf-8")
    assert main(["6"], my) == 0
    assert "with your functions of 01_dense, which are not right yet" in capsys.readouterr().out
    for e in COURSE[:5]:
        (my / f"{e.name}.py").write_text(solved(e), encoding="utf-8")
    assert main(["6"], my) == 0
    said = capsys.readouterr().out
    assert "Of 2 drawings by other hands it read" in said
    # They are what computes; what they print does not get in the way.
    told = "def relu(x):\n    print('debug')\n    print('mine', file=sys.stderr)"
    own = "import sys\n" + solved(ACTIVATIONS).replace("def relu(x):", told)
    (my / "02_activations.py").write_text(own, encoding="utf-8")
    assert main(["6"], my) == 0
    heard = capsys.readouterr()
    assert heard.err.count("mine") > 4
    assert "debug" not in heard.out


def test_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classifier, "CLASSES", 2)
    monkeypatch.setattr(classifier, "UNSEEN", 3)
    drawings, read = np.zeros((2, 3, 28, 28, 1)), np.zeros((2, 3), int)
    said = classifier.picture(tmp_path / "a.png", [2.0, 1.0], drawings, read)
    assert said == "A picture of it: a.png"
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    said = classifier.picture(tmp_path / "none" / "a.png", [2.0, 1.0], drawings, read)
    assert "could not be saved in none/a.png: No such file" in said
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = classifier.picture(tmp_path / "b.png", [2.0, 1.0], drawings, read)
    assert said.startswith("The picture was left out: matplotlib is not installed")
    assert not (tmp_path / "b.png").exists()


def test_gradients_of_the_whole_network_are_right(my: Path) -> None:
    """The steps of the classifier go down the loss: its gradient, against differences."""
    my.mkdir()
    for e in COURSE[:6]:
        (my / f"{e.name}.py").write_text(solved(e), encoding="utf-8")
    network = classifier.Network(passed_module(COURSE[5], my), my)
    rng = np.random.default_rng(0)
    p, x = network.draw(rng), rng.standard_normal((4, 28, 28, 1))
    labels = np.array([0, 3, 9, 3])
    _, g = network.gradient(p, x, labels)
    for name, value in p.items():
        along, h = rng.standard_normal(value.shape), 1e-5

        def loss(step: float, name: str = name, along: NDArray = along) -> float:
            return network.gradient({**p, name: p[name] + step * along}, x, labels)[0]

        slope = (loss(h) - loss(-h)) / (2 * h)
        assert abs((g[name] * along).sum() - slope) <= 1e-5 * max(1.0, abs(slope)), name


def test_a_pipe_that_somebody_closed() -> None:
    """`python -m learn list | head -1` ends without a word."""
    done = subprocess.Popen(
        [sys.executable, "-u", "-m", "learn", "list"], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert done.stdout is not None
    done.stdout.close()
    assert done.stderr is not None
    assert done.stderr.read() == ""
    assert done.wait() == 1
    done.stderr.close()
