"""What a call costs and when its numbers are right: operations, bytes and rounding, once more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import exp, log, sqrt, tanh
from typing import Any

import numpy as np
import pytest

import bench.kernels
import minireptile as mr
from bench import calls
from bench.calls import Call
from bench.measure import Mismatch, close, close_phi, rounding
from minireptile.backend import kernels
from minireptile.kernels.operations import OPERATIONS

ALL_OPERATIONS = sorted(OPERATIONS)

# ------------------------------------------------------- operations, counted one number at a time


class Counted(float):
    """A number that counts what is computed with it."""

    made = 0

    @classmethod
    def of(cls, value: float) -> Counted:
        cls.made += 1
        return cls(value)

    def __add__(self, other: float) -> Counted:
        return self.of(float(self) + float(other))

    def __sub__(self, other: float) -> Counted:
        return self.of(float(self) - float(other))

    def __mul__(self, other: float) -> Counted:
        return self.of(float(self) * float(other))

    def __truediv__(self, other: float) -> Counted:
        return self.of(float(self) / float(other))

    def __gt__(self, other: float) -> bool:
        Counted.made += 1
        return float(self) > float(other)


def function(f: Callable[[float], float]) -> Callable[[Counted], Counted]:
    return lambda x: Counted.of(f(float(x)))


def numbers(n: int) -> list[Counted]:
    return [Counted(0.1 + i % 7) for i in range(n)]


def added(terms: list[Counted]) -> Counted:
    """A sum: an addition for each term."""
    total = Counted(0)
    for term in terms:
        total = total + term
    return total


def batchnorm_forward(n: int) -> None:
    x, gamma, beta, eps = numbers(n), Counted(2), Counted(3), Counted(1)
    mean = added(x) / n
    centred = [a - mean for a in x]
    rstd = Counted(1) / function(sqrt)(added([c * c for c in centred]) / n + eps)
    scale = gamma * rstd
    [scale * c + beta for c in centred]


def batchnorm_backward(n: int) -> None:
    x, dy, gamma, mean, rstd = numbers(n), numbers(n), Counted(2), Counted(3), Counted(4)
    xhat = [(a - mean) * rstd for a in x]
    dbeta, dgamma = added(dy), added([d * h for d, h in zip(dy, xhat, strict=True)])
    scale, a, b = gamma * rstd, dbeta / n, dgamma / n
    [scale * (d - a - h * b) for d, h in zip(dy, xhat, strict=True)]


def tanh_backward(n: int) -> None:
    [d * (Counted(1) - y * y) for d, y in zip(numbers(n), numbers(n), strict=True)]


def tanh_backward_r(n: int) -> None:
    """Rdx = (1 - y^2) Rdy - 2 y dy Ry."""
    for y, dy, ry, rdy in zip(*(numbers(n) for _ in range(4)), strict=True):
        (Counted(1) - y * y) * rdy - Counted(2) * y * dy * ry


def softmax_cross_entropy(n: int) -> None:
    """For one example with n classes; its loss is one number."""
    logits, largest, batch = numbers(n), Counted(0), Counted(3)
    for z in logits:
        largest = z if z > largest else largest
    powers = [function(exp)(z - largest) for z in logits]
    total = added(powers)
    [p / total * batch for p in powers]
    function(log)(total)


def squared_error(n: int) -> None:
    apart = [a - b for a, b in zip(numbers(n), numbers(n), strict=True)]
    added([a * a for a in apart])
    [Counted(0.5) * a for a in apart]


def adam_step(n: int, first: bool) -> None:
    """v = b2 v + (1 - b2) g g; phi = phi - rate m / (sqrt(v) + eps), m = b1 m + (1 - b1) g."""
    for phi, g, m, v in zip(*(numbers(n) for _ in range(4)), strict=True):
        m_after = Counted(0.9) * m + Counted(0.1) * g if first else g
        v_after = Counted(0.9) * v + Counted(0.1) * g * g
        phi - Counted(0.1) * m_after / (function(sqrt)(v_after) + Counted(0.1))


def sgd_step(n: int, momentum: bool) -> None:
    for phi, g, v in zip(*(numbers(n) for _ in range(3)), strict=True):
        phi - Counted(0.1) * (Counted(0.9) * v + g if momentum else g)


def convolution(n: int) -> None:
    """n filters on one window of 2 x 3 with 4 channels."""
    for _ in range(n):
        added([x * w for x, w in zip(numbers(24), numbers(24), strict=True)])


def one_more(formula: Callable[[int], None]) -> int:
    """Operations that an entry more costs."""
    counts = []
    for n in (7, 8):
        Counted.made = 0
        formula(n)
        counts.append(Counted.made)
    return counts[1] - counts[0]


def array(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


X, SMALL = array(2, 3, 5, 7), array(2, 3, 2, 7)  # 210 and 84 entries
FILTERS = array(2, 2, 3, 4, 7)
VECTORS = {"phi": array(2, 11), "grad": array(2, 11)}


@pytest.mark.parametrize(
    ("operation", "arguments", "entries", "formula"),
    [
        ("batchnorm_forward", {"y": X, "x": X}, 210, batchnorm_forward),
        ("batchnorm_backward", {"dx": X, "dy": X, "x": X}, 210, batchnorm_backward),
        ("tanh_forward", {"y": X, "x": X}, 210, lambda n: [function(tanh)(x) for x in numbers(n)]),
        ("tanh_backward", {"dx": X, "y": X}, 210, tanh_backward),
        ("tanh_backward_r", {"rdx": X, "y": X}, 210, tanh_backward_r),
        ("relu_forward", {"y": X, "x": X}, 210, lambda n: [x > 0 for x in numbers(n)]),
        ("relu_backward", {"dx": X, "x": X}, 210, lambda n: [x > 0 for x in numbers(n)]),
        ("softmax_cross_entropy", {"logits": X, "dlogits": X}, 210, softmax_cross_entropy),
        ("squared_error", {"out": X, "dout": X, "loss": SMALL}, 210, squared_error),
        ("sgd_step", {**VECTORS, "velocity": None}, 22, lambda n: sgd_step(n, False)),
        ("sgd_step", {**VECTORS, "velocity": X}, 22, lambda n: sgd_step(n, True)),
        ("adam_step", {**VECTORS, "m": None, "v": X}, 22, lambda n: adam_step(n, False)),
        ("adam_step", {**VECTORS, "m": X, "v": X}, 22, lambda n: adam_step(n, True)),
        # 2 outputs of a window for each of the 210 / 7 places.
        ("conv2d_forward", {"y": X, "w": FILTERS}, 210, convolution),
        ("dense_forward", {"y": X, "w": array(2, 24, 7)}, 210, convolution),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operations_are_those_of_the_formula(
    operation: str, arguments: Any, entries: int, formula: Callable[[int], None]
) -> None:
    assert OPERATIONS[operation].flops(arguments) == entries * one_more(formula)


@pytest.mark.parametrize(
    ("operation", "arguments", "wanted"),
    [
        # dw alone, and dx as well: 2 x 84 entries of dy x the 2 x 3 x 4 entries of a filter.
        ("conv2d_backward", {"dx": None, "dw": X, "dy": SMALL, "w": FILTERS}, 2 * 84 * 24),
        ("conv2d_backward", {"dx": X, "dw": X, "dy": SMALL, "w": FILTERS}, 4 * 84 * 24),
        ("dense_backward", {"dx": None, "dw": X, "dy": SMALL, "w": array(2, 5, 7)}, 2 * 84 * 5),
        ("dense_backward", {"dx": X, "dw": X, "dy": SMALL, "w": array(2, 5, 7)}, 4 * 84 * 5),
        ("maxpool_forward", {"y": SMALL, "x": X, "size": (2, 3)}, 84 * 6),
        ("maxpool_backward", {"dx": X, "dy": SMALL}, 84),
        ("maxpool_forward_r", {"ry": SMALL, "rx": X}, 84),
        ("batchnorm_forward_r", {"ry": X, "x": X}, 210 * 10),
        ("batchnorm_backward_r", {"rdx": X, "x": X}, 210 * 24),
        ("softmax_cross_entropy_r", {"logits": X}, 210 * 10),
        ("squared_error_r", {"rout": X}, 210),
        # A comparison more than without the ReLU; and what nobody wants is not counted.
        ("batchnorm_relu_forward", {"y": X, "x": X}, 210 * 7),
        ("batchnorm_relu_backward", {"dx": X, "x": X}, 210 * 10),
        ("batchnorm_backward", {"dx": None, "x": X}, 210 * 5),
        ("conv2d_backward", {"dx": X, "dw": None, "dy": SMALL, "w": FILTERS}, 2 * 84 * 24),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operations_of_the_others(operation: str, arguments: Any, wanted: int) -> None:
    assert OPERATIONS[operation].flops(arguments) == wanted


# --------------------------------------------------------------------------- what is moved, written


@pytest.fixture(scope="module")
def cases() -> dict[str, Call]:
    """A call of every operation, with arrays of its own: smaller ones than the suite's."""
    layers = [
        mr.BatchNorm(), mr.Conv2D(3, 3, stride=2), mr.BatchNorm(), mr.ReLU(), mr.Tanh(),
        mr.MaxPool(2), mr.ReLU(), mr.Flatten(), mr.Dense(5),
    ]  # fmt: skip
    found: dict[str, Call] = {}
    own = (
        (mr.Model(layers, (9, 8, 2)), mr.Adam(0.1), 2, 5),
        (mr.Model([mr.Dense(3), mr.Tanh(), mr.Dense(2)], (4,), loss="squared_error"),
         mr.SGD(0.1, momentum=0.9), 2, 5),
    )  # fmt: skip
    more = bench.kernels.others(own, {"size": 6, "channels": 2})
    for model, optimizer in (*more, *(case[:2] for case in own)):
        for call in calls.calls_of(model, optimizer, 2, 5):
            found[call.operation] = call
    assert sorted(found) == ALL_OPERATIONS
    return found


def fresh(call: Call) -> dict[str, Any]:
    return {
        name: a.copy() if isinstance(a, np.ndarray) else a for name, a in call.arguments.items()
    }


@pytest.mark.parametrize("operation", ALL_OPERATIONS)
def test_what_a_kernel_writes_and_updates_is_listed(operation: str, cases: dict) -> None:
    """What changes is written; what then is NaN because it was NaN before is updated."""
    call, kernel = cases[operation], getattr(kernels("numpy"), operation)
    cost = OPERATIONS[operation]
    arguments = fresh(call)
    arrays = {k: a for k, a in arguments.items() if isinstance(a, np.ndarray)}
    for name in cost.written:
        if arguments[name] is not None:
            arguments[name][...] = -77
    before = {k: a.copy() for k, a in arrays.items()}
    kernel(*arguments.values())
    changed = {k for k in arrays if k != "cols" and not np.array_equal(arrays[k], before[k])}
    there = {k for k in (*cost.written, *cost.updated) if arguments[k] is not None}
    assert changed == there
    for name in there:
        if arrays[name].dtype.kind == "f":
            again = fresh(call)
            again[name][...] = np.nan
            kernel(*again.values())
            assert bool(np.isnan(again[name]).any()) == (name in cost.updated), name


@pytest.mark.parametrize("operation", ALL_OPERATIONS)
def test_bytes_are_read_once_and_written_once(operation: str, cases: dict) -> None:
    call, cost = cases[operation], OPERATIONS[operation]
    read = written = 0
    for name, a in call.arguments.items():
        if not isinstance(a, np.ndarray) or name == "cols":
            continue
        size = a.size * a.itemsize
        read += 0 if name in cost.written else size
        written += size if name in (*cost.written, *cost.updated) else 0
    assert OPERATIONS[operation].traffic(call.arguments) == read + written


# ------------------------------------------------------------------------------- how much is wrong


def test_rounding_follows_from_the_type_and_the_terms() -> None:
    assert rounding(np.float64) == pytest.approx(10 * 2.0**-52)
    assert rounding(np.float32, 10_000) == pytest.approx(10 * 2.0**-23 * 100)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [100, 100_000])
def test_sums_in_any_order_differ_by_less_than_the_rounding(dtype: type, n: int) -> None:
    """One term after another, the worst way, forwards and backwards, against Python's exact sum."""
    from math import fsum

    terms: np.ndarray = np.random.default_rng(0).random(n).astype(dtype)
    wanted = fsum(terms.tolist())
    for order in (terms, terms[::-1]):
        assert abs(float(np.cumsum(order)[-1]) - wanted) < rounding(dtype, n) * wanted


def test_phi_is_compared_by_task_and_by_length() -> None:
    theta = np.array([3.0, 4.0, 0.0], np.float32)  # of length 5
    wanted = theta + np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], np.float32)
    allowed = rounding(np.float32, 9) * 5
    for by, bad in ((0.9, False), (1.1, True)):
        phi = wanted.astype(float)
        phi[1] += by * allowed * np.array([0.6, 0.0, 0.8])
        if not bad:
            close_phi("one", phi, wanted, theta, 9)
            continue
        with pytest.raises(Mismatch, match=r"one, error of phi: 1 of 2 .* worst at \[1\]"):
            close_phi("one", phi, wanted, theta, 9)
        close_phi("one", phi, wanted, theta, 12)  # more steps, more rounding
    with pytest.raises(Mismatch):
        close_phi("lost", np.full_like(wanted, np.nan), wanted, theta, 9)


@pytest.mark.parametrize(("rtol", "atol", "allowed"), [(0.01, 0.0, 0.04), (0.0, 0.3, 0.3),
                                                       (0.01, 0.3, 0.34)])  # fmt: skip
def test_close_allows_so_much_and_no_more(rtol: float, atol: float, allowed: float) -> None:
    """Of the wanted number, not of what was got."""
    for sign in (-1, 1):
        close("just", 4 + sign * 0.999 * allowed, 4.0, rtol, atol)
        with pytest.raises(Mismatch):
            close("beyond", 4 + sign * 1.001 * allowed, 4.0, rtol, atol)


@pytest.mark.parametrize(
    ("operation", "terms"),
    [
        ("conv2d_forward", 2 * 9 * 2),  # 3 x 3 x 2 products
        ("dense_forward", 2 * 3),
        ("batchnorm_forward", 5 * 5 * 4),  # the mean over 5 images of 5 x 4
        ("tanh_forward", 1),
        ("squared_error", 2 * 5),
        ("sgd_step", 4),
    ],
)
def test_the_longest_sum_of_a_call(operation: str, terms: int, cases: dict) -> None:
    assert calls.terms(cases[operation]) == terms


def test_the_longest_sum_of_a_gradient_is_over_the_batch(cases: dict) -> None:
    """dw and db: over all the places of all images, 5 x 5 x 4; or dx, over 3 x 3 x 3."""
    assert 100 <= calls.terms(cases["conv2d_backward"]) <= 5 * 9 * 8 * 2


@pytest.mark.parametrize("operation", ALL_OPERATIONS)
def test_a_kernel_may_be_off_by_rounding_and_no_more(operation: str, cases: dict) -> None:
    """The largest entry of each output, which may be off by twice the tolerance."""
    call = replace(cases[operation], arguments=fresh(cases[operation]))
    right, cost = getattr(kernels("numpy"), operation), OPERATIONS[operation]
    names = list(call.arguments)
    for output in (*cost.written, *cost.updated):
        if call.arguments[output] is None or call.arguments[output].dtype.kind != "f":
            continue
        at = names.index(output)

        def off(*arguments: Any, by: float, at: int = at) -> None:
            right(*arguments)
            worst = np.unravel_index(np.abs(arguments[at]).argmax(), arguments[at].shape)
            arguments[at][worst] *= 1 + by

        allowed = 2 * 10 * 2.0**-23 * sqrt(calls.terms(call))
        calls.check(call, {"just": partial(off, by=0.9 * allowed)}, right)
        with pytest.raises(Mismatch, match=f"beyond, {output} of {operation}"):
            calls.check(call, {"beyond": partial(off, by=1.1 * allowed)}, right)


def test_whole_numbers_must_be_right(cases: dict) -> None:
    call = replace(cases["maxpool_forward"], arguments=fresh(cases["maxpool_forward"]))
    right = kernels("numpy").maxpool_forward

    def off(y: Any, winner: Any, *rest: Any) -> None:
        right(y, winner, *rest)
        winner.reshape(-1)[0] += 1

    with pytest.raises(Mismatch, match="off, winner of maxpool_forward"):
        calls.check(call, {"off": off}, right)


# -------------------------------------------------------------------------------- the calls' counts


def test_calls_have_the_tasks_and_the_batch_they_were_asked_for() -> None:
    found = {c.operation: c for c in calls.calls_of(mr.omniglot_cnn(5, 4, (8, 8, 1)), mr.SGD(0.1),
                                                    2, 3)}  # fmt: skip
    assert found["dense_forward"].arguments["x"].shape[:2] == (2, 3)
    assert found["sgd_step"].arguments["phi"].shape[0] == 2
    assert found["sgd_step"].times == 1


def test_every_call_of_an_inner_step_is_counted() -> None:
    """Of the Omniglot network's four blocks and its dense layer, with two that are one in fewer
    steps; a Hessian-vector product adds tangents alone."""
    found = calls.calls_of(mr.omniglot_cnn(5, 4), mr.SGD(0.1), 2, 3)
    times: dict[str, int] = {}
    for call in found:
        times[call.operation] = times.get(call.operation, 0) + call.times
    assert {k: n for k, n in times.items() if not k.endswith("_r")} == {
        "conv2d_forward": 4, "conv2d_backward": 4, "batchnorm_forward": 4, "batchnorm_backward": 4,
        "relu_forward": 4, "relu_backward": 4, "dense_forward": 1, "dense_backward": 1,
        "softmax_cross_entropy": 1, "sgd_step": 1,
        "batchnorm_relu_forward": 4, "batchnorm_relu_backward": 4,
    }  # fmt: skip
    assert times["batchnorm_forward_r"] == times["batchnorm_backward_r"] == 4


def test_the_sweep_changes_one_size_at_a_time() -> None:
    base = {"tasks": 5, "images": 10, "channels": 64, "size": 14}
    assert base == bench.kernels.BASE
    for axis, value in (("tasks", 3), ("images", 7), ("channels", 8), ("size", 6)):
        at = {"tasks": 2, "images": 4, "channels": 5, "size": 9, axis: value}
        model = bench.kernels._block(at)
        call = next(c for c in calls.calls_of(model, mr.SGD(0.1), at["tasks"], at["images"])
                    if c.operation == "conv2d_backward")  # fmt: skip
        side, c = at["size"], at["channels"]
        half = -(-side // 2)
        assert call.arguments["x"].shape == (at["tasks"], at["images"], side, side, c)
        assert call.arguments["dy"].shape == (at["tasks"], at["images"], half, half, c)
        assert call.arguments["dx"] is not None
