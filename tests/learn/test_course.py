"""Every exercise: its solution passes, its stub is to do, and each mistake gets its own message."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from learn.course import COURSE
from learn.folder import STUBS
from learn.learner import attempt, known_mistake, load, with_mistake
from learn.record import Exercise
from learn.solution import solved
from minireptile.errors import InputError
from tests.mistakes import MISTAKES, Mistake, batchnorm, conv2d, dense, losses, maxpool

ROOT = Path(__file__).parents[2]
MADE = [(e, m) for e in COURSE for m in e.mistakes]

by_exercise = pytest.mark.parametrize("exercise", COURSE, ids=lambda e: e.name)


def test_numbers_stubs_and_names_go_together() -> None:
    numbers = [int(e.name[:2]) for e in COURSE]
    assert numbers == sorted(set(numbers))
    assert [e.name for e in COURSE] == sorted(p.stem for p in STUBS.glob("*.py"))
    if len(COURSE) == 14:
        assert numbers == list(range(1, 15))
        assert 5 * 60 <= sum(e.minutes for e in COURSE) <= 7 * 60


def test_the_readme_lists_them_all() -> None:
    readme = (ROOT / "learn" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d) \|.*\| (\d+) \|$", readme, re.MULTILINE)
    assert rows == [(e.name[:2], str(e.minutes)) for e in COURSE]


@by_exercise
def test_the_pages_have_the_equations_that_one_is_to_read(exercise: Exercise) -> None:
    read = re.findall(r"(kernels/\w+\.md)(?:, eq\. ([\d, and to]+))?", exercise.read)
    assert read
    for page, numbers in read:
        text = (ROOT / page).read_text(encoding="utf-8")
        for number in re.findall(r"\d+", numbers):
            assert rf"\qquad ({number})" in text, f"{page}, eq. {number}"


@by_exercise
def test_the_solution_passes_in_few_calls(exercise: Exercise) -> None:
    module, calls = with_mistake(exercise), 0
    for name, function in exercise.solution.items():

        def counted(*args: Any, function: Any = function, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            return function(*args, **options)

        setattr(module, name, counted)
    exercise.check(module)
    assert len(exercise.solution) <= calls <= 1000


EVERY = [(e, name) for e in COURSE for name in e.solution]


@pytest.mark.parametrize(("exercise", "name"), EVERY, ids=[f"{e.name}-{n}" for e, n in EVERY])
def test_every_function_is_looked_at(exercise: Exercise, name: str) -> None:
    """Off by a thousandth, none passes."""

    def off(*args: Any, **options: Any) -> Any:
        result = exercise.solution[name](*args, **options)
        if result is None:  # a kernel, whose output comes first
            args[0][...] *= 1.001
        elif isinstance(result, tuple):
            return tuple(r if r is None else 1.001 * r for r in result)
        return None if result is None else 1.001 * result

    module = with_mistake(exercise)
    setattr(module, name, off)
    with pytest.raises((AssertionError, InputError)):
        exercise.check(module)


@by_exercise
def test_the_solution_as_printed_passes(exercise: Exercise, tmp_path: Path) -> None:
    path = tmp_path / f"{exercise.name}.py"
    path.write_text(solved(exercise), encoding="utf-8")
    assert attempt(exercise, path).text == ""
    assert attempt(exercise, path).outcome == "right"


@by_exercise
def test_the_stub_is_to_do(exercise: Exercise) -> None:
    path = STUBS / f"{exercise.name}.py"
    verdict = attempt(exercise, path)
    assert verdict.outcome == "to do"
    first = re.search(r"write   (\w+)\(", verdict.text)
    assert first
    assert first[1] in exercise.solution
    stub = load(path)
    assert exercise.name[:2] in str(stub.__doc__)
    assert f"{exercise.minutes} minutes" in str(stub.__doc__)
    assert re.search(r"\d+ lines", str(stub.__doc__))
    asked = [
        n.name
        for n in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(n, ast.FunctionDef) and "NotImplementedError" in ast.unparse(n)
    ]
    assert sorted(asked) == sorted(exercise.solution)
    for name, right in exercise.solution.items():
        names = list(inspect.signature(right).parameters)
        own = getattr(stub, name)
        assert list(inspect.signature(own).parameters) == names
        with pytest.raises(NotImplementedError, match=r"\w"):
            own(*names)


@pytest.mark.parametrize(("exercise", "mistake"), MADE, ids=[f"{e.name}-{m.name}" for e, m in MADE])
def test_a_mistake_gets_its_message(exercise: Exercise, mistake: Mistake) -> None:
    with pytest.raises((AssertionError, InputError)) as caught:
        exercise.check(with_mistake(exercise, mistake))
    assert re.search(mistake.points_at, str(caught.value)), str(caught.value)


def mean_of_4(dy: NDArray, x: NDArray, w: NDArray) -> Any:
    return dense.mean_backward(dy * len(x) / 4, x, w)


def loss_of_4(dy: Any, z: NDArray, labels: NDArray) -> Any:
    return losses.backward(dy * len(z) / 4, z, labels)


def square_of_4(dy: Any, out: NDArray, target: NDArray) -> Any:
    return losses.squared_error_backward(dy * len(out) / 4, out, target)


def rows_are_6(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Any:
    xhat, rstd = batchnorm.normalise(x)
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - dbeta / 6 - xhat * dgamma / 6), dgamma, dbeta


def padding_of_6_by_5(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    padded = np.pad(x, conv2d.PAD)
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j, at in conv2d.taps(padded):
        dx[at] += dy @ w[i, j].T
        dw[i, j] = conv2d.product(padded[at], dy)
    return dx[conv2d.INSIDE], dw, dy.sum((0, 1, 2))


def unflatten_2_channels(dy: NDArray, x: NDArray) -> NDArray:
    return np.moveaxis(dy.reshape(len(x), 2, *x.shape[1:3]), 1, -1)


@pytest.mark.parametrize(
    ("exercise", "name", "wrong"),
    [
        ("01_dense", "mean_backward", mean_of_4),
        ("03_cross_entropy", "backward", loss_of_4),
        ("03_cross_entropy", "squared_error_backward", square_of_4),
        ("05_batchnorm", "backward", rows_are_6),
        ("06_convolution", "backward", padding_of_6_by_5),
        ("06_convolution", "unflatten", unflatten_2_channels),
        ("07_maxpool", "backward", maxpool.first_wins),
    ],
)
def test_what_is_right_for_one_size_alone_is_found(
    exercise: str, name: str, wrong: Callable[..., Any]
) -> None:
    (e,) = (e for e in COURSE if e.name == exercise)
    module = with_mistake(e)
    setattr(module, name, wrong)
    with pytest.raises((AssertionError, InputError, ValueError)):
        e.check(module)


def test_every_mistake_that_names_its_function_is_in_the_course() -> None:
    in_course = {m.name for _, m in MADE}
    if len(COURSE) == 14:
        assert in_course == {m.name for m in MISTAKES if m.wrong}
    assert len(in_course) >= 60


@pytest.mark.parametrize("exercise", [e for e in COURSE if e.mistakes], ids=lambda e: e.name)
def test_a_mistake_is_known_by_its_name(exercise: Exercise, tmp_path: Path) -> None:
    mistake = exercise.mistakes[:2][-1]
    path = tmp_path / f"{exercise.name}.py"
    path.write_text(
        "from learn.course import COURSE\n"
        f"e = next(e for e in COURSE if e.name == {exercise.name!r})\n"
        "made = {**e.solution, **e.mistakes[:2][-1].wrong}\n"
        + "".join(f"{n} = made[{n!r}]\n" for n in exercise.solution),
        encoding="utf-8",
    )
    verdict = attempt(exercise, path)
    assert verdict.outcome == "wrong"
    known = known_mistake(exercise, verdict)
    assert known
    assert known.name == mistake.name
