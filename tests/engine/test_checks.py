"""The checks themselves: what they return, and what their sentences say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minireptile as mr
from minireptile import checks, doors
from minireptile.rng import Stream, generator
from tests.small import tiny_tasks

F4, F8 = np.dtype(np.float32), np.dtype(np.float64)


@pytest.mark.parametrize(
    ("check", "value", "kept"),
    [
        (checks.whole, np.int64(3), 3),
        (checks.whole, Stream.TEST, 1),
        (checks.whole, 2**31 - 1, 2**31 - 1),
        (checks.number, np.float32(0.5), 0.5),
        (checks.number, np.uint8(2), 2.0),
        (checks.number, -1, -1.0),
        (checks.flag, np.True_, True),
        (checks.counts, [np.int16(1), 2], (1, 2)),
        (checks.counts, range(1, 3), (1, 2)),
        (checks.counts, (), ()),
        (checks.count_or_pair, np.int8(3), 3),
        (checks.count_or_pair, [1, np.int8(3)], (1, 3)),
    ],
)
def test_what_is_kept_is_plain(check: Callable[..., Any], value: Any, kept: Any) -> None:
    found = check(value, "n")
    assert found == kept
    assert type(found) is type(kept)
    assert [type(n) for n in np.atleast_1d(found).tolist()] == [
        type(n) for n in np.atleast_1d(kept).tolist()
    ]
    json.dumps(found)


def test_records_of_numpys_numbers_are_those_of_pythons() -> None:
    """Equal, and the same in JSON and in print."""
    made = mr.Loops(np.int32(5), meta_batch=np.uint8(2), epsilon=np.float64(0.5), epsilon_final=1)
    plain = mr.Loops(5, meta_batch=2, epsilon=0.5, epsilon_final=1.0)
    assert (made, repr(made)) == (plain, repr(plain))
    assert json.dumps(asdict(made)) == json.dumps(asdict(plain))
    assert repr(mr.Conv2D(np.int64(2), [3, np.int64(2)])) == repr(mr.Conv2D(2, (3, 2)))  # type: ignore[arg-type]
    assert hash(mr.MaxPool([2, 2])) == hash(mr.MaxPool((2, 2)))  # type: ignore[arg-type]
    assert repr(mr.SGD(1)) == "SGD(lr=1.0, momentum=0.0, weight_decay_rate=1.0)"
    assert mr.Protocol(1, 1, marks=[0, 5], stream=1).marks == (0, 5)  # type: ignore[arg-type]
    assert mr.Protocol(1, 1, stream=1).stream is Stream.TEST  # type: ignore[arg-type]
    model = mr.Model([mr.Dense(2)], [np.int64(3)], dtype=float)  # type: ignore[arg-type]
    assert repr(model.input_shape) == "(3,)"
    numbers = [generator(s, Stream.TRAIN, np.int64(1)).random() for s in (7, np.uint64(7))]
    assert numbers[0] == numbers[1]


def test_an_outer_optimizer_comes_back_from_json() -> None:
    for outer in (mr.SGD(0.5), mr.Adam(0.1), None):
        loops = mr.Loops(1, outer=outer)
        assert mr.Loops(**json.loads(json.dumps(asdict(loops)))) == loops


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: mr.Loops(10.5), "Loops: iterations must be a whole number, not 10.5"),  # type: ignore[arg-type]
        (lambda: mr.Loops(True), "Loops: iterations must be a whole number, not True"),
        (lambda: mr.Loops(2**40), f"Loops: iterations must be at most 2**31 - 1, not {2**40}"),
        (lambda: mr.Loops(1, 0), "Loops: meta_batch must be at least 1, not 0"),
        (lambda: mr.Loops(1, seed=-1), "Loops: seed must be between 0 and 2**64 - 1, not -1"),
        (lambda: mr.SGD("0.1"), "SGD: lr must be a number, not '0.1'"),  # type: ignore[arg-type]
        (lambda: mr.SGD(np.nan), "SGD: lr must be positive, not nan"),
        (lambda: mr.Adam(beta1=np.float64(1)), "Adam: beta1 must lie in [0, 1), not 1.0"),
        (lambda: mr.Dense(2, bias=1), "Dense: bias must be True or False, not 1"),  # type: ignore[arg-type]
        (
            lambda: mr.Protocol(1, 1, marks=50),  # type: ignore[arg-type]
            "Protocol: marks must be a tuple of whole numbers, none negative, such as (1, 5, 50), "
            "not 50",
        ),
        (
            lambda: mr.Model([mr.Dense(1)], (-3,)),
            "Model: input_shape must be a tuple of whole numbers of at least 1, such as "
            "(28, 28, 1), not (-3,)",
        ),
        (
            lambda: mr.Model([mr.Dense(1), mr.Tanh], (3,)),  # type: ignore[list-item]
            "Model: layers[1] must be a layer, not the class Tanh: write Tanh(...)",
        ),
        (lambda: mr.Model([], (3,)), "Model: layers must hold at least one layer"),
        (
            lambda: mr.Model("dense", (3,)),  # type: ignore[arg-type]
            "Model: layers must be a list, such as [Flatten(), Dense(5)], not 'dense'",
        ),
        (lambda: mr.omniglot_cnn(2.5), "omniglot_cnn: way must be a whole number, not 2.5"),  # type: ignore[arg-type]
        (
            lambda: checks.counts(np.zeros((2, 3)), "n"),
            "n must be a tuple of whole numbers of at least 1, such as (28, 28, 1), "
            "not an array of float64 and shape (2, 3)",
        ),
        (
            lambda: checks.choice("x" * 99, "n", ("a", "b")),
            f"n must be one of a, b, not '{'x' * 56}...",
        ),
        (
            lambda: checks.array([[1], [1, 2]], "x"),
            "x must be an array of numbers, all rows of one length, not [[1], [1, 2]]",
        ),
        (lambda: checks.array(np.array(["a"]), "x"), "x must hold numbers, not <U1"),
        (lambda: checks.array(None, "x"), "x must hold numbers, not None"),
        (lambda: checks.array([1.0], "x", "i"), "x must hold integers, not float64"),
        (
            lambda: checks.array(np.ma.masked_array([1.0]), "x"),
            "x must not be a masked array: fill it first, with filled()",
        ),
    ],
)
def test_sentences(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(mr.InputError) as error:
        make()
    assert str(error.value) == sentence


def test_an_array_is_read_as_it_is_or_in_the_machines_order() -> None:
    a = np.arange(3.0)
    assert checks.array(a, "x") is a
    turned = checks.array(a.astype(">f8"), "x")
    assert turned.dtype.isnative
    np.testing.assert_array_equal(turned, a)


# ------------------------------------------------------------------------------------- doors


def test_parameters_examples_and_targets_come_back_as_an_engine_wants_them() -> None:
    phi = np.arange(14.0).reshape(7, 2).T
    found = doors.parameters(phi, 7)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, phi)
    assert doors.parameters(found, 7) is found
    assert doors.parameters(np.zeros(7, ">f4"), 7).dtype == F4
    assert doors.parameters(np.zeros(7, complex), 7, exotic=True).dtype == complex
    x = doors.examples([[[1], [2]], [[3], [4]]], (2,), (1,), F4)
    assert (x.dtype, x.shape) == (F4, (2, 2, 1))
    assert doors.examples(np.ones((2, 1), np.float16), (), (1,), F8).dtype == F8
    y = doors.targets([1, 0], (2,), 2, "softmax_cross_entropy", F4)
    assert y.dtype == np.int64
    assert doors.targets(np.ones((2, 3)), (2,), 3, "squared_error", F4).dtype == F4
    x, y = doors.mini_batches(np.ones((3, 2, 4, 1)), np.ones((3, 2, 4), int), (2,), (1,), 2,
                              "softmax_cross_entropy", F4)  # fmt: skip
    assert (x.shape, y.shape) == ((3, 2, 4, 1), (3, 2, 4))
    none = np.ones((0, 2, 4, 1)), np.ones((0, 2, 4), int)
    assert len(doors.mini_batches(*none, (2,), (1,), 2, "softmax_cross_entropy", F4)[0]) == 0


CE = "softmax_cross_entropy"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: doors.parameters(np.zeros(6), 7), "phi must be (T, 7) or (7,), got (6,)"),
        (
            lambda: doors.parameters(np.zeros((0, 7)), 7),
            "phi holds no task: its first axis is empty",
        ),
        (
            lambda: doors.parameters(np.zeros(7, int), 7),
            "phi must hold floating-point numbers, not int64",
        ),
        (
            lambda: doors.parameters(np.zeros(7, complex), 7),
            "phi must be float32 or float64, not complex128",
        ),
        (
            lambda: doors.parameters(np.zeros(7, np.complex64), 7, exotic=True),
            "phi must be float32 or float64, not complex64",
        ),
        (
            lambda: doors.examples(np.ones((3, 4, 1)), (2,), (1,), F4),
            "x must be (2, B, 1), got (3, 4, 1)",
        ),
        (lambda: doors.examples(np.ones((0, 1)), (), (1,), F4), "x must be (B, 1), got (0, 1)"),
        (lambda: doors.examples(1.0, (), (), F4), "x must be (B), got ()"),
        (lambda: doors.examples([[1j]], (), (1,), F4), "x must hold numbers, not complex128"),
        (
            lambda: doors.targets([0, 2], (2,), 2, CE, F4),
            "labels must lie in [0, 2), and these go from 0 to 2",
        ),
        (lambda: doors.targets([0, 1], (3,), 2, CE, F4), "y must be (3,) beside this x, got (2,)"),
        (lambda: doors.targets([0.0], (1,), 2, CE, F4), "labels must be integers, not float64"),
        (
            lambda: doors.mini_batches(
                np.ones((3, 4, 1)), np.ones((2, 4), int), (), (1,), 2, CE, F4
            ),
            "x has 3 mini-batches and y has 2",
        ),
        (
            lambda: doors.in_place([1.0], "phi"),
            "phi is changed in place, so it must be a NumPy array, not [1.0]",
        ),
        (
            lambda: doors.in_place(np.ones(2, complex), "phi"),
            "phi must be float32 or float64, not complex128",
        ),
        (
            lambda: doors.in_place(np.ones(2, ">f4"), "phi"),
            "phi must be float32 or float64 in this machine's byte order, not >f4",
        ),
        (
            lambda: doors.in_place(np.broadcast_to(1.0, 2), "phi"),
            "phi is changed in place, and this array is read-only: pass a copy",
        ),
        (
            lambda: doors.check_parts(None, tiny_tasks(), mr.SGD(0.1)),
            "model must be a Model(...), not None",
        ),
        (
            lambda: doors.check_optimizer(mr.SGD),
            "optimizer must be SGD(...) or Adam(...), not the class SGD",
        ),
    ],
)
def test_sentences_of_doors(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(mr.InputError) as error:
        make()
    assert str(error.value) == sentence


def test_what_is_changed_in_place_is_the_array_itself() -> None:
    for dtype in (np.float32, np.float64):
        a = np.ones((2, 3), dtype)[:, ::2]
        assert doors.in_place(a, "phi") is a
    for exotic in (np.complex128, np.longdouble):
        assert doors.in_place(np.ones(2, exotic), "phi", exotic=True).dtype == exotic


ADAM = mr.Adam(0.1, 0.5)
PHI = np.ones((3, 7), np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("v"), " lacks 'v': begin with optimizer.init(phi)"),
        (lambda s: s.update(w=s["v"]), " has 'w', which this optimizer does not keep"),
        (
            lambda s: s.update(v=s["v"][:2]),
            ": 'v' has shape (2, 7) where (3, 7) is needed: one row a task",
        ),
        (
            lambda s: s.update(v=s["v"][0]),
            ": 'v' has shape (7,) where (3, 7) is needed: one row a task",
        ),
        (lambda s: s.update(t=s["t"][:1]), ": 't' has shape (1,) where (3,) is needed"),
        (
            lambda s: s.update(v=s["v"].astype(float)),
            ": 'v' is of type float64 where float32 is needed",
        ),
        (
            lambda s: s.update(t=s["t"].astype(float)),
            ": 't' is of type float64 where int64 is needed",
        ),
        (
            lambda s: s.update(v=np.asfortranarray(s["v"])),
            ": 'v' must be contiguous: pass numpy.ascontiguousarray of it",
        ),
        (
            lambda s: s["m"].setflags(write=False),
            ": 'm' is changed in place, and this array is read-only: pass a copy",
        ),
        (lambda s: s.update(t=3), ": 't' must be a NumPy array, not 3"),
    ],
)
def test_a_state_of_another_kind(change: Callable[[dict], Any], words: str) -> None:
    state: dict[str, Any] = ADAM.init(PHI)
    doors.check_state(ADAM, state, PHI)
    change(state)
    with pytest.raises(mr.InputError) as error:
        doors.check_state(ADAM, state, PHI)
    assert str(error.value) == "the optimizer's state" + words


@pytest.mark.parametrize("optimizer", [mr.SGD(0.1), mr.SGD(0.1, 0.5), mr.Adam(), ADAM], ids=repr)
@pytest.mark.parametrize("phi", [PHI, PHI[0], PHI.astype(float), PHI[:, :0]], ids=np.shape)
def test_what_init_gives_is_a_state(optimizer: Any, phi: NDArray) -> None:
    doors.check_state(optimizer, optimizer.init(phi), phi)


def test_a_read_only_state_may_be_read() -> None:
    state = ADAM.init(PHI)
    state["v"].flags.writeable = False
    doors.check_state(ADAM, state, PHI, writeable=False)


LOOPS = mr.Loops(5, outer=mr.SGD(0.1, 0.5))
THETA = PHI[0]
STATE = {**ADAM.init(THETA), "outer.velocity": np.zeros_like(THETA)}
START = mr.Snapshot(5, THETA, STATE, np.empty((0, 0)))
ANY: Any = START


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("START", "start must be a Snapshot, as the loops yield them, not 'START'"),
        (mr.Snapshot, "start must be a Snapshot, as the loops yield them, not the class Snapshot"),
        (replace(START, iteration=-1), "start: iteration must be at least 0, not -1"),
        (replace(ANY, iteration=2.0), "start: iteration must be a whole number, not 2.0"),
        (
            replace(START, iteration=6),
            "start has 6 iterations done, and the loops end after 5: raise iterations",
        ),
        (
            replace(START, theta=PHI),
            "start: theta must be an array of shape (7,), as this model has it, "
            "not an array of float32 and shape (3, 7)",
        ),
        (
            replace(START, theta=THETA.astype(np.float16)),
            "start: theta must be float32 or float64, not float16",
        ),
        (
            replace(START, state=ADAM.init(THETA)),
            "start: the optimizer's state lacks 'outer.velocity': begin with optimizer.init(phi)",
        ),
        (
            replace(START, state={**STATE, "v": PHI}),
            "start: the optimizer's state: 'v' has shape (3, 7) where (7,) is needed",
        ),
        (
            replace(ANY, state=None),
            "start: the optimizer's state must be a dictionary of arrays, as optimizer.init(phi) "
            "gives, not None",
        ),
    ],
)
def test_a_snapshot_of_another_run(start: Any, words: str) -> None:
    doors.check_snapshot(START, 7, ADAM, LOOPS)
    with pytest.raises(mr.InputError) as error:
        doors.check_snapshot(start, 7, ADAM, LOOPS)
    assert str(error.value) == words


def test_the_arguments_of_a_run() -> None:
    from minireptile.delegate import begin, check_run

    model, tasks, adam = mr.Model([mr.Dense(1)], (3,)), tiny_tasks(), mr.Adam()
    loops = mr.Loops(2)
    check_run(model, tasks, adam, loops)
    check_run(model, tasks, adam, loops, begin(model, adam, loops))
    wrong: list[tuple[tuple[Any, ...], str]] = [
        ((model, tasks, adam, {"iterations": 2}), "^loops must be Loops"),
        ((model, tasks, "adam", loops), r"^optimizer must be SGD.* or Adam.*, not 'adam'$"),
        ((model, [1], adam, loops), r"^tasks must draw tasks, as FewShot.*, not \[1\]$"),
        ((mr.Model, tasks, adam, loops), "^model must be a Model.*, not the class Model$"),
        ((model, tasks, adam, loops, {}), r"^start must be a Snapshot.*, not \{\}$"),
    ]
    for arguments, words in wrong:
        with pytest.raises(mr.InputError, match=words):
            check_run(*arguments)
