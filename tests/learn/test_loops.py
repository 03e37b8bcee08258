"""What is special about 08 to 14: what they end with, a verdict on time, results of other forms."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from learn.course import COURSE
from learn.exercises import fast_convolution, maml, reptile, waves
from learn.form import check_form
from learn.learner import Fault, attempt, with_mistake
from learn.record import Exercise
from learn.solution import solved
from minireptile.kernels.conv2d_numpy import conv2d_forward_v1, conv2d_forward_v2
from tests.mistakes import loops, second_order

ADAM, INNER_LOOP, REPTILE, HVP, MAML, COL2IM, FAST = COURSE[7:]


@pytest.fixture
def my(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that has been written up to here."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my"
    folder.mkdir()
    for e in COURSE[7:12]:
        (folder / f"{e.name}.py").write_text(solved(e), encoding="utf-8")
    return folder


def said(exercise: Exercise, **functions: Callable[..., Any]) -> str:
    """What the check says to the solution with these functions in it."""
    module = with_mistake(exercise)
    module.__dict__.update(functions)
    with pytest.raises(AssertionError) as caught:
        exercise.check(module)
    return str(caught.value)


# ------------------------------------------------------------------- results of another form


def test_a_form_is_a_sentence() -> None:
    check_form("f", np.zeros((2, 3)), y=(2, 3))
    check_form("f", [1.0, [2, 3]], t=(), y=(2,))
    for result, got in (
        (None, "None"), ([[1], [2, 3]], "None"), ("text", "None"), (3, "()"), ((), "(0,)"),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match=re.escape(f"y (2, 3), and returns {got}")):
            check_form("f", result, y=(2, 3))
    with pytest.raises(AssertionError, match=r"f is to return t \(\), y \(2,\), and returns \(\)$"):
        check_form("f", (1,), t=(), y=(2,))
    with pytest.raises(AssertionError, match="returns nothing"):
        check_form("f", (), t=(), y=(2,))


def test_two_of_four() -> None:
    def of_two(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: function(*args)[:2]

    right = ADAM.solution["adam_step"]
    assert "phi (5,), m (5,), v (5,), t (), and returns (5,), (5,)" in said(
        ADAM, adam_step=of_two(right)
    )
    assert "w (2, 4), b (4,), u (4, 3), c (3,), and returns (2, 4), (4,)" in said(
        HVP, hvp=of_two(second_order.hvp)
    )


def test_steps_of_another_number() -> None:
    def last(grads: NDArray, lr: float, mu: float) -> Any:
        return ADAM.solution["momentum_steps"](grads, lr, mu)[-1]

    assert "momentum_steps is to return steps (6, 3), and returns (3,)" in said(
        ADAM, momentum_steps=last
    )
    assert "returns (0,)" in said(ADAM, momentum_steps=lambda grads, lr, mu: [])


def test_adam_forgets_its_averages() -> None:
    def forgets(*args: Any) -> Any:
        phi, _, v, t = ADAM.solution["adam_step"](*args)
        return phi, args[1], v, t

    assert "adam: output 1 differs" in said(ADAM, adam_step=forgets)

    def jumps(*args: Any) -> Any:
        phi, m, v, t = ADAM.solution["adam_step"](*args)
        return phi, m, v, 1 if t == 1 else t + (t == 4 and len(phi) == 5)

    assert "after step 4: output 3 differs" in said(ADAM, adam_step=jumps)


# ------------------------------------------------------------------------- theta stays as it is


def test_theta_is_changed() -> None:
    def adapt_tasks(theta: NDArray, *rest: Any) -> NDArray:
        phi = loops.adapt_tasks(theta, *rest)
        theta[...] = phi[-1]
        return phi

    assert "adapt_tasks changes theta" in said(INNER_LOOP, adapt_tasks=adapt_tasks)

    def reptile_step(theta: NDArray, *rest: Any) -> NDArray:
        moved = loops.reptile_step(theta, *rest)
        before = theta.copy()
        theta[...] = moved
        return moved + (theta - before)  # so that the step alone looks right

    assert "reptile_step changes the theta" in said(REPTILE, reptile_step=reptile_step)

    def meta_gradient(theta: NDArray, *rest: Any) -> NDArray:
        grad = second_order.meta_gradient(theta, *rest)
        theta -= grad
        return grad

    assert "meta_gradient changes theta" in said(MAML, meta_gradient=meta_gradient)


def test_an_optimizer_without_its_state() -> None:
    def adapt(phi: NDArray, batches: Any, loss_and_grad: Any, optimizer: Any) -> None:
        for x, y in batches:  # a new state for every step: no difference with SGD
            optimizer.step(phi, loss_and_grad(phi, x, y)[1], optimizer.init(phi))

    assert "phi of a task by Adam: output 0 differs" in said(INNER_LOOP, adapt=adapt)


@pytest.mark.parametrize("epsilon_at", [lambda j, n: 1.0, lambda j, n: 1 - (j + 1) / n])
def test_epsilon_falls_otherwise(epsilon_at: Callable[[int, int], float]) -> None:
    def run(theta: NDArray, draw: Any, adapt: Any, epsilon: float, iterations: int) -> NDArray:
        for j in range(iterations):
            theta = loops.reptile_step(theta, draw(j), adapt, epsilon_at(j, iterations) * epsilon)
        return theta

    assert "theta after a run of 1, 2 and 3 iterations" in said(REPTILE, reptile=run)


def test_the_same_tasks_in_every_iteration() -> None:
    def run(theta: NDArray, draw: Any, *rest: Any) -> NDArray:
        return reptile.reptile(theta, lambda j: draw(0), *rest)

    assert "(output 0 to 2): output 1 differs" in said(REPTILE, reptile=run)


def test_steps_back_in_the_wrong_order() -> None:
    def meta_gradient(theta: NDArray, support: Any, *rest: Any) -> NDArray:
        _, loss_and_grad, hvp, lr = rest
        phi, path = theta, []
        for x, y in support:
            path.append(phi)
            phi = phi - lr * loss_and_grad(phi, x, y)[1]
        a = loss_and_grad(phi, *rest[0])[1]
        for phi, (x, y) in zip(path, support, strict=True):
            a = a - lr * hvp(phi, x, y, a)
        return a

    assert "dtheta: is wrong" in said(MAML, meta_gradient=meta_gradient)


def test_which_part_of_a_product_is_wrong() -> None:
    text = said(HVP, hvp=second_order.weights_constant_on_the_way_back)
    assert "not symmetric" in text
    assert "wrong: the derivatives of the gradients by w, b; right: u, c" in text
    assert "by w, b, u, c; right: none" in said(HVP, hvp=second_order.outer_product)


def test_a_product_for_one_size_of_mini_batches() -> None:
    def hvp(params: Any, x: NDArray, target: NDArray, direction: Any) -> Any:
        product = second_order.hvp(params, x, target, direction)
        return tuple(len(x) / 5 * part for part in product)

    text = said(HVP, hvp=hvp)
    assert "(output 0 to 3): output 0 differs" in text
    assert "ratio 1.4;" in text


def test_gather_for_one_stride() -> None:
    def gather(x: NDArray, w: NDArray, stride: int, pad: Any) -> NDArray:
        return COL2IM.solution["gather"](x, w, 2, pad)

    assert "stride 1" in said(COL2IM, gather=gather)


def test_a_list_in_few_words(my: Path) -> None:
    path = my / f"{INNER_LOOP.name}.py"
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace("for x, y in batches", "for x in batches.x"), encoding="utf-8")
    text = attempt(INNER_LOOP, path).text
    assert "no attribute 'x', where adapt was called with phi (4,), batches of 5, loss" in text


# ------------------------------------------------------------------------------ 14: its verdict


@pytest.mark.parametrize("times", [9.78, 0.8, 1.05, 1 / 1600])
def test_right_and_so_many_times_as_fast(times: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        for call in calls.values():
            call()
        return {"yours": 1e-3, "numpy v1": times * 1e-3}

    monkeypatch.setattr(fast_convolution, "seconds", seconds)
    pace = f"{times} times as fast as" if times > 0.1 else "1,600 times slower than"
    told = f"right, and {pace} numpy v1: 2.00 ms against {2 * times:.2f} ms"
    if times < fast_convolution.FASTER:
        text = said(FAST)
        assert text.startswith(told)
        assert text.endswith("; 1.1 times is asked for")
    else:
        FAST.check(with_mistake(FAST))
    assert FAST.finish
    text = FAST.finish(with_mistake(FAST), Path("my"))
    assert f"It is {told}" in text
    assert "bench race my/14_fast_convolution.py" in text


def test_wrong_numbers_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        raise AssertionError("timed")

    monkeypatch.setattr(fast_convolution, "seconds", seconds)

    def off(y: NDArray, *rest: Any) -> None:
        conv2d_forward_v1(y, *rest)
        y[0, 0, 0, 0] *= 1.001

    assert re.match(
        r"y, tasks 2, images 3, .*: output 0 differs .*ratio 1\.001", said(FAST, conv2d_forward=off)
    )

    def adds(y: NDArray, *rest: Any) -> None:
        before = y.copy()
        conv2d_forward_v1(y, *rest)
        y += before

    nothing = "conv2d_forward writes nothing into y"
    assert nothing in said(FAST, conv2d_forward=adds)
    assert nothing in said(FAST, conv2d_forward=lambda *args: None)

    def of_double_precision_alone(y: NDArray, *rest: Any) -> None:
        conv2d_forward_v1(y, *rest)
        if y.dtype == np.float32:
            y += 1e-3

    text = said(FAST, conv2d_forward=of_double_precision_alone)
    assert text.startswith("y of float32, tasks 8, images 1")


@pytest.mark.parametrize("case", [*fast_convolution.CASES, *fast_convolution.TIMED], ids=str)
def test_the_cases_are_the_kernels_own(case: fast_convolution.Case) -> None:
    """What the contract of the kernels asks for: another rung of the ladder gives the same."""
    right = fast_convolution.written(conv2d_forward_v1, case)()
    assert np.isfinite(right).all()
    other = fast_convolution.written(conv2d_forward_v2, case)()
    np.testing.assert_allclose(other, right, rtol=0, atol=1e-13 * abs(right).max())


def test_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    calls = {"yours": lambda: None, "numpy v1": lambda: None}
    times = fast_convolution.seconds(calls)
    assert times.keys() == calls.keys()
    assert all(t > 0 for t in times.values())
    many: list[str] = []
    calls = {name: lambda name=name: many.append(name) for name in calls}  # type: ignore[misc]
    monkeypatch.setattr(fast_convolution, "LONG", 0)
    assert fast_convolution.seconds(calls).keys() == calls.keys()
    assert sorted(many) == sorted(calls), "what takes long is called once"


# ------------------------------------------------------------------- 10 and 12: what they end with

ENDS = [(REPTILE, reptile, 300), (MAML, maml, 40)]


@pytest.mark.parametrize(("exercise", "module", "iterations"), ENDS)
def test_waves_are_learned(
    exercise: Exercise, module: ModuleType, iterations: int, my: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "ITERATIONS", iterations)
    monkeypatch.setattr(waves, "UNSEEN", 20)
    assert exercise.finish
    text = exercise.finish(with_mistake(exercise), my)
    assert "learn" in capsys.readouterr().out
    before, after = (
        [float(e) for e in line.split()[2:]]
        for line in re.findall(r"(?:before|after) training .*", text)
    )
    assert len(before) == len(after) == len(waves.MARKS)
    assert after[-1] < before[-1] / 3, text
    assert after[-1] < after[0] / 5, text
    pytest.importorskip("matplotlib")
    name = f"{exercise.name}.png"
    assert text.endswith(f"A picture of one of them: my/{name}")
    assert (my / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("exercise", "module", "_"), ENDS)
def test_they_are_the_learners_own_functions(
    exercise: Exercise, module: ModuleType, _: int, my: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ITERATIONS", 2)
    monkeypatch.setattr(waves, "UNSEEN", 2)
    monkeypatch.setattr(waves, "picture", lambda *args: "")
    used = [INNER_LOOP] if exercise is REPTILE else [ADAM, HVP]
    assert exercise.finish
    for other in used:
        path = my / f"{other.name}.py"
        right = path.read_text(encoding="utf-8")
        name = next(n for n in ("adam_step", "hvp", "adapt") if n in other.solution)
        path.write_text(
            re.sub(rf"(def {name}\(.*\):\n)", r"\1    open('called', 'w').close()\n", right),
            encoding="utf-8",
        )
        assert attempt(other, path).outcome == "right"
        Path("called").unlink()
        exercise.finish(with_mistake(exercise), my)
        assert Path("called").exists()
        path.write_text(right + "\n1 / 0\n", encoding="utf-8")
        with pytest.raises(Fault, match=f"your functions of {other.name}, which are not right yet"):
            exercise.finish(with_mistake(exercise), my)
        path.write_text(right, encoding="utf-8")


def test_no_picture(my: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theta = waves.first(np.random.default_rng(0))
    args = theta, theta, lambda phi, batches: None
    gone = my / "no" / "such.png"
    if find_spec("matplotlib"):
        assert waves.picture(*args, gone).startswith("The picture could not be saved in my/no/such")
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "matplotlib is not installed (pip install matplotlib)" in waves.picture(*args, gone)


def test_the_network_of_the_waves() -> None:
    """Its gradient, its parameters in a vector, and the steps that are measured."""
    rng = np.random.default_rng(0)
    phi, v = waves.first(rng), rng.standard_normal(sum(map(math.prod, waves.SHAPES)))
    assert np.array_equal(waves.flat(waves.parts(phi)), phi)
    x, y = waves.seen(rng.uniform(-5, 5, (7, 1))), rng.standard_normal((7, 1))
    loss, grad = waves.loss_and_grad(phi, x, y)
    assert np.isclose(loss, np.mean((waves.forward(phi, x) - y) ** 2), rtol=1e-14)
    stepped, _ = waves.loss_and_grad(phi + 1e-20j * v, x, y)
    assert np.isclose(stepped.imag / 1e-20, grad @ v, rtol=1e-12)
    taken: list[int] = []
    task = next(waves.unseen())
    path = list(waves.path(phi, task, lambda phi, batches: taken.extend([len(batches)])))
    assert np.cumsum(taken).tolist() == list(waves.MARKS)
    assert len(path) == len(waves.MARKS)
