"""A race of somebody's kernels: what is wrong with them is found and said."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from bench import race_check, race_turns
from bench.calls import Call, alone
from bench.measure import Mismatch
from bench.race_check import Unfair, check_kept, check_one, check_small, small
from bench.race_file import Racer
from minireptile.backend import kernels, versions
from minireptile.errors import InputError
from minireptile.kernels.operations import OPERATIONS
from minireptile.layers.base import pair

from .racing import CONVOLUTION, DENSE, RELU, job, nothing, small_call


def test_small_cases_are_of_every_operation_and_kind() -> None:
    found = list(small(OPERATIONS, race_check.SMALL))
    assert {call.operation for call in found} == {*OPERATIONS}
    arrays = [a for call in found for a in call.arguments.values() if isinstance(a, np.ndarray)]
    assert {a.dtype for a in arrays} >= {np.dtype("f4"), np.dtype("f8")}
    assert {a.shape[0] for a in arrays} >= {1, 2}
    convolutions = [call.arguments for call in found if call.operation == "conv2d_backward"]
    assert any(a["stride"][0] != a["stride"][1] for a in convolutions)
    assert {a["pad"] for a in convolutions} >= {(0, 0), (1, 1)}
    assert all(a["dx"] is not None for a in convolutions)
    sizes = [a["x"].size / a["mean"].size for a in (c.arguments for c in found) if "mean" in a]
    assert min(sizes) >= race_check.LEAST
    assert not all(a["w"].flags.c_contiguous for a in convolutions)


def test_the_networks_are_of_every_size_and_kind() -> None:
    """Images of 3 to 9 pixels, two optimizers with momentum and without, labels and numbers."""
    rng = np.random.default_rng(3)
    models = [race_check._network(rng, "float32", labels=False)[0] for _ in range(60)]
    assert {n for m in models for n in m.input_shape[:2]} == {*range(3, 10)}
    assert {m.input_shape[2] for m in models} == {*race_check.CHANNELS}
    layers = [layer for m in models for layer in m.layers[:4]]
    convolutions = [layer for layer in layers if isinstance(layer, mr.Conv2D)]
    assert {n for c in convolutions for n in pair(c.kernel_size)} == {1, 2, 3}
    assert {n for c in convolutions for n in pair(c.stride)} == {1, 2, 3}
    assert {c.padding for c in convolutions} == {"same", "valid"}
    pools = [layer for layer in layers if isinstance(layer, mr.MaxPool)]
    assert {n for p in pools for n in pair(p.size)} == {1, 2, 3}
    assert {n for p in pools for n in pair(p.stride)} == {1, 2}
    found = list(small({"relu_forward"}, 40))
    assert {c.arguments["x"].shape[1] for c in found} == {*race_check.IMAGES}
    steps = list(small({"sgd_step", "adam_step"}, 12))
    assert [(c.operation, race_check._dtype(c)) for c in steps[:4]] == [
        ("sgd_step", "f4"), ("sgd_step", "f8"), ("adam_step", "f4"), ("adam_step", "f8"),
    ]  # fmt: skip
    for name, number in (("momentum", "sgd_step"), ("beta1", "adam_step")):
        found_here = {c.arguments[name] for c in steps if c.operation == number}
        assert found_here == {0.0, 0.9}


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_the_projects_own_kernels_pass(operation: str, tiny: list[str]) -> None:
    for name, kernel in versions(operation, "numpy").items():
        check_small(Racer(name, Path("own.py"), {operation: kernel}, nothing), {operation})


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_cases_do_not_cancel(operation: str) -> None:
    """A right kernel that rounds otherwise is right: here, in double precision; first versions."""

    def in_double(*arguments: Any) -> None:
        real = [isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in arguments]
        wide = [a.astype(np.float64) if r else a for a, r in zip(arguments, real, strict=True)]
        versions(operation, "numpy")["v1"](*wide)
        for a, b, r in zip(arguments, wide, real, strict=True):
            if r:
                a[...] = b

    check_small(Racer("double", Path("own.py"), {operation: in_double}, nothing), {operation})


TIED = {
    "batchnorm_backward": {"x", "mean", "rstd"},
    "batchnorm_relu_backward": {"y", "x", "mean", "rstd"},
    "batchnorm_forward_r": {"rx", "x", "mean", "rstd"},
    "batchnorm_backward_r": {"rx", "x", "mean", "rstd", "rmean", "rrstd"},
    "tanh_backward": {"y"}, "tanh_backward_r": {"y"},
}  # fmt: skip


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_what_is_an_answer_to_something_else_is_not_free(operation: str) -> None:
    call = alone(small_call(operation))
    free = {id(array) for array in race_check._free(call)}
    inputs = race_check._inputs(call)
    floats = {name for name, array in inputs.items() if array.dtype.kind == "f"}
    assert {name for name in floats if id(inputs[name]) not in free} == TIED.get(operation, set())


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_other_numbers_are_others_and_still_go_together(operation: str) -> None:
    """Every float input that may be drawn is; a kernel that keeps its answer is found."""
    call, right = alone(small_call(operation)), getattr(kernels("numpy"), operation)
    before = {k: a.copy() for k, a in call.arguments.items() if isinstance(a, np.ndarray)}
    race_check.change_all(call, np.random.default_rng(0))
    changed = {k for k, a in before.items() if not np.array_equal(a, call.arguments[k])}
    exchanged, drawn = {"mean", "winner"}, {"dy", "dgamma", "dbeta"}
    assert changed >= (exchanged | drawn) & {*race_check._inputs(call)}
    assert changed
    assert not changed & {*OPERATIONS[operation].written, *OPERATIONS[operation].updated}
    if "mean" in changed:
        x, axes = call.arguments["x"], tuple(range(1, call.arguments["x"].ndim - 1))
        np.testing.assert_allclose(call.arguments["mean"], x.mean(axes), rtol=1e-4, atol=1e-6)
    kept: dict[str, Any] = {}

    def keeps(*arguments: Any) -> None:
        right(*arguments)
        for i, name in enumerate(call.arguments):
            outputs = *OPERATIONS[operation].written, *OPERATIONS[operation].updated
            if name in outputs and arguments[i] is not None:
                arguments[i][...] = kept.setdefault(name, arguments[i].copy())

    racer = Racer("yours", Path("mine.py"), {operation: keeps}, nothing)
    check_one(racer, call)
    with pytest.raises(Unfair, match="answers are kept"):
        check_kept(racer, call)


def test_other_numbers_are_the_same_ones_in_every_race() -> None:
    """What is wrong once is wrong again."""
    seen: list[list[bytes]] = [[], []]
    for found in seen:
        call = alone(small_call("relu_forward"))

        def kernel(y: Any, x: Any, found: list[bytes] = found) -> None:
            found.append(x.tobytes())
            np.maximum(x, 0, out=y)

        check_kept(Racer("yours", Path("mine.py"), {"relu_forward": kernel}, nothing), call)
    assert seen[0] == seen[1]
    assert len({*seen[0]}) == 2 + race_check.SINGLE


def test_what_a_kernel_gets_is_told(yours: Any) -> None:
    """Once it fails, too, where it was right at first."""
    call = alone(small_call("batchnorm_forward"))
    assert race_check.given(call) == (
        "x (3, 3, 8, 7, 3), gamma (3, 3), beta (3, 3), eps 0.001; float32"
    )
    text = RELU.replace("np.maximum(x, 0, out=y)", "np.maximum(x, 0, out=y) if x.max() < 9 else no")
    call = alone(small_call("relu_forward"))
    call.arguments["x"][...] = 5
    with pytest.raises(InputError, match=r"^mine.py, relu_forward \(x .*float32\): NameError"):
        check_kept(yours(text), call)


def test_a_good_kernel_is_timed_among_the_rungs(write: Any, tiny: list[str]) -> None:
    limits, *rows = race_turns.race(job(write(CONVOLUTION)), nothing)
    assert limits["peak_gflops"] == 100
    assert len({row["case"] for row in rows}) == 4
    assert tiny == 4 * ["numpy v1", "numpy v2", "numpy v3", "yours"]
    first = rows[:4]
    assert [row["variant"] for row in first] == tiny[:4]  # the fastest first
    assert [row["yours"] for row in first] == [False, False, False, True]
    assert first[3]["seconds"] == 0.05
    assert first[3]["ratio"] == pytest.approx(0.05 / 0.02)
    assert first[3]["gflops"] == pytest.approx(1e-9 * first[3]["flops"] / 0.05)


def test_two_files_race_what_both_have(write: Any, tiny: list[str]) -> None:
    mine, other = write(RELU + CONVOLUTION), write(DENSE + RELU, "other.py")
    rows = race_turns.race(job(mine, other), nothing)
    assert {row["operation"] for row in rows[1:]} == {"relu_forward"}
    assert tiny[-2:] == ["theirs", "yours"]
    with pytest.raises(InputError, match=r"no operation is in both files: mine.py has"):
        race_turns.race(job(mine, write(DENSE, "third.py")), nothing)


def test_an_error_of_a_thousandth_is_found_before_anything_is_timed(
    write: Any, tiny: list[str]
) -> None:
    text = CONVOLUTION.replace("out=y)\n", "out=y)\n        y *= 1.001\n")
    with pytest.raises(
        Mismatch, match=r"mine.py\), y of conv2d_forward .* the worst at \[\d, .*x .*; float32$"
    ):
        race_turns.race(job(write(text)), nothing)
    assert not tiny


KEEPS = """
    kept = {{}}

    def relu_forward(y, x):
        key = {key}
        if key not in kept:
            np.maximum(x, 0, out=y)
            kept[key] = y.copy()
        y[...] = kept[key]
"""


@pytest.mark.parametrize(
    "key",
    ["x.ctypes.data, x.shape", "x.tobytes()[:64], x.shape, x.dtype.char",
     "id(x), x.shape", "x.shape, float(x.flat[0]), x.dtype.char, float(x.flat[-1])"],
)  # fmt: skip
def test_answers_kept_from_before_are_found(key: str, write: Any, tiny: list[str]) -> None:
    text = dedent(RELU) + dedent(KEEPS.format(key=key))
    with pytest.raises((Unfair, Mismatch), match=r"yours \(mine.py\), y of relu_forward"):
        race_turns.race(job(write(text)), nothing)
    assert not tiny


def test_a_kernel_that_is_idle_once_it_is_timed_is_found(write: Any, tiny: list[str]) -> None:
    """Outputs hold NaN where numbers are checked, and an answer while turns are taken."""
    idle = "    def relu_forward(y, x):\n        if not np.isnan(y).any():\n            return"
    with pytest.raises(Unfair, match=r"right before the turns, .*: 1 of .* entries differ"):
        race_turns.race(job(write(RELU.replace("    def relu_forward(y, x):", idle))), nothing)
    assert "yours" in tiny


def test_a_wrong_number_is_not_taken_for_one_that_is_kept(yours: Any) -> None:
    """Of large numbers only; and a part that is kept is."""
    call = alone(small_call("dense_forward"))
    weak = yours("""
        import numpy as np

        def dense_forward(y, x, w, b):
            y[...] = np.clip(x, -9, 9) @ w + b[:, None]
    """)
    for array in race_check._inputs(call).values():
        array[...] = np.clip(array, -1, 1)
    check_one(weak, call)
    with pytest.raises(Mismatch, match=r"y of dense_forward"):
        check_kept(weak, call)
    weights = yours("""
        kept = {}

        def dense_forward(y, x, w, b):
            y[...] = x @ kept.setdefault(w.ctypes.data, w.copy()) + b[:, None]
    """)
    call = alone(call)
    check_one(weights, call)
    with pytest.raises(Unfair, match="answers are kept"):
        check_kept(weights, call)


def test_a_file_that_keeps_answers_once_it_is_timed_is_found(write: Any, tiny: list[str]) -> None:
    """Also where the other file wrote last."""
    late = dedent(KEEPS.format(key="x.ctypes.data if late else object()")).replace(
        "key =", "late.extend([1] * (not np.isnan(y).any()))\n    key ="
    )
    other = write(dedent(RELU) + "late = []\n" + late, "other.py")
    with pytest.raises(Unfair, match=r"theirs \(other.py\), y of relu_forward"):
        race_turns.race(job(write(RELU), other), nothing)
    assert "theirs" in tiny


def test_no_call_of_a_turn_has_the_inputs_of_another() -> None:
    call, seen = alone(small_call("conv2d_forward")), set()
    variants = [
        race_check.changing(call, lambda *a, i=i: seen.add((a[2].tobytes(), a[3].tobytes())), n)
        for n in [race_check.numbers()]
        for i in range(2)
    ]
    for _ in range(5):
        for run in variants:
            run()
    assert len({x for x, _ in seen}) == len({w for _, w in seen}) == 10


def test_numbers_of_turns_are_of_one_size_and_neighbours_far_apart() -> None:
    call, seen = alone(small_call("relu_forward")), []
    call.arguments["x"][...] = 0
    run = race_check.changing(call, lambda y, x: seen.append(float(x.max())), race_check.numbers())
    for _ in range(50):
        run()
    assert len({*seen}) == 50
    assert 1 <= min(seen) < max(seen) < 2
    assert np.abs(np.diff(seen)).min() > 0.3


@pytest.mark.parametrize(
    ("line", "said"),
    [("x += 1", "nothing was timed: yours .* changes its input x: relu_forward"),
     ("y.base[...] = 1", "writes beside its outputs")],
)  # fmt: skip
def test_nothing_but_the_outputs_is_written(line: str, said: str, yours: Any) -> None:
    whole = np.zeros((2, 9), np.float32)
    arguments = {"y": whole[:, 2:7], "x": np.ones((2, 5), np.float32)}
    call = Call("relu_forward", arguments)
    check_one(yours(RELU), call)
    text = RELU.replace("np.maximum(x, 0, out=y)", f"{line}; np.maximum(x, 0, out=y)")
    with pytest.raises(Unfair, match=said):
        check_one(yours(text), call)


def test_work_that_goes_on_after_the_call_is_found(yours: Any) -> None:
    text = """
        import threading, time
        import numpy as np

        def again(y, x):
            while not np.isnan(y).all():
                time.sleep(0.001)
            np.maximum(x, 0, out=y)

        def relu_forward(y, x):
            np.maximum(x, 0, out=y)
            threading.Thread(target=again, args=(y, x)).start()
    """
    with pytest.raises(Unfair, match=r"goes on writing y after it has returned"):
        check_one(yours(text), alone(small_call("relu_forward")), late=1.0)


def test_any_output_may_be_none(yours: Any, tiny: list[str]) -> None:
    check_small(yours(DENSE), {"dense_backward"})
    refuses = DENSE.replace("if db is not None:", "if True:")
    with pytest.raises(InputError, match=r"None for db, which nobody wants: TypeError.*line 8"):
        check_small(yours(refuses), {"dense_backward"})
    leaves = DENSE.replace("if db is not None:", "if db is not None and dw is not None:")
    with pytest.raises(Mismatch, match=r"None for dw, .*db of dense_backward.* nan where") as error:
        check_small(yours(leaves), {"dense_backward"})
    assert str(error.value).endswith("; an output holds nan before the call")
    unbiased = dedent(CONVOLUTION).replace("if b is not None", "if True")
    with pytest.raises(InputError, match=r"with None for b, which"):
        check_small(yours(unbiased), {"conv2d_forward"})
