"""Tasks and mini-batches: what each depends on, and that support and query never mix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile import InputError, Loops
from minireptile.rng import Stream, generator
from minireptile.tasks.base import Task, Tasks, minibatches, sample
from minireptile.tasks.images import (
    FewShot,
    ImageClasses,
    from_arrays,
    take_classes,
    with_rotations,
)
from minireptile.tasks.sine import Sine
from minireptile.testing.strategies import seeds
from tests.small import tiny_classes, tiny_tasks

RNG = np.random.default_rng(0)
BOTH: list[Tasks] = [tiny_tasks(), Sine()]
every_tasks = pytest.mark.parametrize("tasks", BOTH, ids=["images", "sine"])


# --------------------------------------------------------------------------- mini-batches


@given(
    n=st.integers(1, 12), steps=st.integers(1, 6), batch=st.integers(1, 9), seed=seeds
)  # fmt: skip
def test_cycling_covers_everything_before_it_repeats(
    n: int, steps: int, batch: int, seed: int
) -> None:
    """Dealt out one after another, every run of n examples is a permutation of all of them, so
    that mini-batches straddle two passes and no example is dropped between them."""
    order = minibatches(np.random.default_rng(seed), n, steps, batch, replacement=False)
    assert (order.shape, order.dtype.kind) == ((steps, batch), "i")
    flat = order.ravel()
    for first in range(0, len(flat), n):
        run = flat[first : first + n].tolist()
        assert len(set(run)) == len(run)
        assert set(run) <= set(range(n))


def test_cycling_shuffles_anew_in_each_pass() -> None:
    passes = minibatches(np.random.default_rng(0), 30, 4, 30, replacement=False)
    assert len({tuple(order) for order in passes.tolist()}) == 4
    assert (passes != np.arange(30)).any(axis=1).all()


@given(n=st.integers(1, 12), steps=st.integers(1, 6), seed=seeds, data=st.data())
def test_replacement_never_repeats_inside_a_batch(
    n: int, steps: int, seed: int, data: st.DataObject
) -> None:
    batch = data.draw(st.integers(1, n))
    order = minibatches(np.random.default_rng(seed), n, steps, batch, replacement=True)
    assert order.shape == (steps, batch)
    for row in order.tolist():
        assert len(set(row)) == batch
        assert set(row) <= set(range(n))


def test_replacement_draws_every_batch_from_all_examples() -> None:
    """2 of 4 examples, many times: each example is in half of the batches (5 standard errors),
    and unlike with cycling two neighbours may share one."""
    order = minibatches(np.random.default_rng(1), 4, 2000, 2, replacement=True)
    counts = np.bincount(order.ravel(), minlength=4)
    assert np.max(abs(counts - 1000)) < 5 * np.sqrt(2000) / 2
    assert any(set(a) & set(b) for a, b in zip(order[::2], order[1::2], strict=True))
    with pytest.raises(InputError, match="mini-batches of 5 drawn with replacement need 5 exam"):
        minibatches(np.random.default_rng(1), 4, 1, 5, replacement=True)


@pytest.mark.parametrize("replacement", [False, True])
def test_no_steps_need_no_mini_batches(replacement: bool) -> None:
    """An evaluation at mark 0 alone takes no inner step."""
    order = minibatches(np.random.default_rng(0), 5, 0, 3, replacement)
    assert order.shape == (0, 3)


# ------------------------------------------------------------------------------- randomness


def draw_sample(tasks: Tasks, seed: int = 3, iteration: int = 5, **changes: Any) -> Any:
    sizes = {"meta_batch": 3, "steps": 2, "batch": 4, "shot": 4}
    return sample(tasks, seed, iteration, **{**sizes, **changes})


@every_tasks
def test_shapes_of_a_sample(tasks: Tasks) -> None:
    x, y = draw_sample(tasks)
    assert x.shape == (2, 3, 4, *tasks.input_shape)
    assert x.dtype == np.float32
    targets = (1,) if isinstance(tasks, Sine) else ()
    assert y.shape == (2, 3, 4, *targets)
    assert y.dtype == (np.float32 if targets else np.int64)


@every_tasks
@pytest.mark.parametrize("replacement", [False, True])
@given(seed=seeds, iteration=st.integers(0, 10**6), fewer=st.integers(1, 4))
def test_a_task_depends_on_its_place_alone(
    tasks: Tasks, replacement: bool, seed: int, iteration: int, fewer: int
) -> None:
    """Task t is the same whatever the meta-batch, whatever was drawn before; and it is what its
    own generator, for (seed, stream, iteration, t), gives."""
    np.random.default_rng(seed).random(fewer)
    x, y = draw_sample(tasks, seed, iteration, meta_batch=5, replacement=replacement)
    x_few, y_few = draw_sample(tasks, seed, iteration, meta_batch=fewer, replacement=replacement)
    np.testing.assert_array_equal(x[:, :fewer], x_few)
    np.testing.assert_array_equal(y[:, :fewer], y_few)
    for t in range(5):
        rng = generator(seed, Stream.TRAIN, iteration, t)
        task = tasks.draw(rng, 4, 0)
        order = minibatches(rng, len(task.support_x), 2, 4, replacement)
        np.testing.assert_array_equal(x[:, t], task.support_x[order])
        np.testing.assert_array_equal(y[:, t], task.support_y[order])


@every_tasks
def test_every_coordinate_changes_the_tasks(tasks: Tasks) -> None:
    x, _ = draw_sample(tasks)
    for change in ({"seed": 4}, {"iteration": 6}, {"stream": Stream.TEST}):
        assert (draw_sample(tasks, **change)[0] != x).any(), change
    assert (x[:, 0] != x[:, 1]).any()
    np.testing.assert_array_equal(draw_sample(tasks)[0], x)


def test_loops_pass_their_numbers_on() -> None:
    loops = Loops(
        9, meta_batch=2, inner_steps=4, inner_batch=3, train_shots=2, replacement=True, seed=8
    )
    x, y = loops.sample(BOTH[0], 7)
    expected = sample(
        BOTH[0], 8, 7, meta_batch=2, steps=4, batch=3, shot=2, replacement=True
    )  # fmt: skip
    np.testing.assert_array_equal(x, expected[0])
    np.testing.assert_array_equal(y, expected[1])


def test_generators_never_meet() -> None:
    """Every (seed, stream, iteration, task) is a sequence of its own, and an equal one repeats."""
    places = [
        (seed, stream, iteration, task)
        for seed in (0, 1, 2**63 - 1)
        for stream in Stream
        for iteration in (0, 1)
        for task in (0, 1)
    ]
    firsts = {tuple(generator(*place).integers(0, 2**62, 4).tolist()) for place in places}
    assert len(firsts) == len(places)
    for place in places[:3]:
        np.testing.assert_array_equal(generator(*place).random(5), generator(*place).random(5))


@pytest.mark.parametrize("seed", [2**63, 2**64 - 2])
def test_large_seeds_differ(seed: int) -> None:
    """All 64 bits count, and a large seed is no warning."""
    one, two = (generator(s, Stream.TRAIN).integers(0, 2**62, 4) for s in (seed, seed + 1))
    assert (one != two).any()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_have_64_bits(seed: int) -> None:
    with pytest.raises(InputError, match=f"between 0 and 2\\*\\*64 - 1, not {seed}"):
        generator(seed, Stream.TRAIN)


# ---------------------------------------------------------------------------- few-shot tasks


def numbered(counts: list[int]) -> ImageClasses:
    """1 x 2 images whose pixels are (class, index in the class)."""
    pixels = [(c, i) for c, count in enumerate(counts) for i in range(count)]
    images = np.array(pixels, np.uint8)[:, None, :, None]
    starts = np.concatenate([[0], np.cumsum(counts)])
    return ImageClasses(images, starts, tuple(f"class {c}" for c in range(len(counts))), 1.0)


def identities(x: NDArray) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in x[:, 0, :, 0]]


@given(
    counts=st.lists(st.integers(4, 9), min_size=3, max_size=8),
    shot=st.integers(1, 3),
    query=st.integers(0, 1),
    seed=seeds,
    data=st.data(),
)
def test_support_and_query_are_apart_balanced_and_labelled_by_class(
    counts: list[int], shot: int, query: int, seed: int, data: st.DataObject
) -> None:
    way = data.draw(st.integers(2, len(counts)))
    task = FewShot(numbered(counts), way).draw(np.random.default_rng(seed), shot, query)
    support, held_out = identities(task.support_x), identities(task.query_x)
    assert len(set(support + held_out)) == way * (shot + query) == len(support + held_out)
    for labels, each in ((task.support_y, shot), (task.query_y, query)):
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(np.bincount(labels, minlength=way), [each] * way)
    label_of: dict[int, set[int]] = {}
    every_label = [*task.support_y.tolist(), *task.query_y.tolist()]
    for (c, _), label in zip(support + held_out, every_label, strict=True):
        label_of.setdefault(c, set()).add(label)
    assert sorted(map(tuple, label_of.values())) == [(label,) for label in range(way)]


def test_every_class_and_image_is_drawn_in_any_role() -> None:
    tasks, rng = FewShot(numbered([3, 3, 3]), 2), np.random.default_rng(0)
    support, query, first = set(), set(), set()
    for _ in range(200):
        task = tasks.draw(rng, 1, 1)
        support |= set(identities(task.support_x))
        query |= set(identities(task.query_x))
        first.add(identities(task.support_x)[0][0])
    assert len(support) == len(query) == 9
    assert first == {0, 1, 2}


def test_pixels_are_scaled_to_float32() -> None:
    data = from_arrays(np.array([[[0, 51]], [[102, 255]]], np.uint8).repeat(2, 0), [0, 0, 1, 1])
    task = FewShot(data, 2).draw(np.random.default_rng(0), 2, 0)
    assert task.support_x.dtype == np.float32
    np.testing.assert_allclose(np.unique(task.support_x), [0, 0.2, 0.4, 1], rtol=1e-7)
    assert task.query_x.shape == (0, 1, 2, 1)


def test_drawing_leaves_the_data_alone() -> None:
    data = numbered([4, 4])
    data.images.setflags(write=False)
    task = FewShot(data, 2).draw(np.random.default_rng(0), 2, 2)
    assert not np.shares_memory(task.support_x, data.images)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FewShot(numbered([3, 3]), 1), "way must be at least 2, not 1"),
        (lambda: FewShot(numbered([3, 3]), 3), "3-way tasks need 3 classes, and this split has 2"),
        (
            lambda: FewShot(numbered([3, 2]), 2).draw(np.random.default_rng(0), 2, 1),
            "^class 'class 1' has 2 images, and the shots asked for take 3 from each class: "
            "lower the shots or remove the class$",
        ),
        (lambda: FewShot(numbered([3, 2]), 2).check_shots(3), "class 'class 1' has 2 images"),
    ],
)
def test_tasks_that_cannot_be(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_check_shots_is_silent_where_there_are_enough() -> None:
    FewShot(numbered([3, 2]), 2).check_shots(2)


# ------------------------------------------------------------------------ images by class


def test_from_arrays_groups_by_label() -> None:
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1)
    data = from_arrays(images, [7, -2, 7, 30, -2], names=["low", "mid", "high"])
    np.testing.assert_array_equal(data.images.ravel(), [1, 4, 0, 2, 3])
    np.testing.assert_array_equal(data.starts, [0, 2, 4, 5])
    np.testing.assert_array_equal(data.counts, [2, 2, 1])
    assert (data.names, len(data), data.scale) == (("low", "mid", "high"), 3, 1 / 255)
    assert from_arrays(images, np.array([7, -2, 7, 30, -2])).names == ("-2", "7", "30")


def test_from_arrays_takes_bytes_booleans_and_floats() -> None:
    grey = np.array([[[0, 128]], [[255, 1]]], np.uint8)
    for images, pixels, scale in (
        (grey, grey, 1 / 255),
        (grey / 255, grey, 1 / 255),
        ((grey / 255).astype(np.float32), grey, 1 / 255),
        (grey > 100, grey > 100, 1.0),
    ):
        data = from_arrays(images, [0, 1])
        assert (data.images.dtype, data.scale) == (np.uint8, scale)
        np.testing.assert_array_equal(data.images[..., 0], pixels)
    assert from_arrays(np.zeros((2, 4, 5, 3)), [0, 1]).images.shape == (2, 4, 5, 3)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((2, 3)), [0, 1], r"must have shape \(N, H, W\) or \(N, H, W, C\), not \(2, 3\)"),
        (np.zeros((0, 3, 3)), [], "images must have shape"),
        (np.zeros((2, 3, 3)), [0], "labels must be 2 integers, one for each image"),
        (np.zeros((2, 3, 3)), [0.0, 1.0], "not float64"),
        (np.zeros((2, 3, 3), np.int32), [0, 1], "must be uint8, bool or float, not int32"),
        (np.full((2, 3, 3), np.nan), [0, 1], "NaN or infinity"),
        (np.full((2, 3, 3), 1.5), [0, 1], "between 0 and 1, and these go from 1.5 to 1.5"),
        (np.full((2, 3, 3), -1.0), [0, 1], "these go from -1 to -1"),
    ],
)
def test_from_arrays_refuses(images: NDArray, labels: list, words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_arrays(images, labels)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("steps", [0, 2])
def test_no_mini_batches_are_whole_numbers_too(steps: int, replacement: bool) -> None:
    order = minibatches(RNG, 3, steps, 2, replacement)
    assert (order.shape, order.dtype) == ((steps, 2), np.int64)


def named(names: Any) -> ImageClasses:
    return from_arrays(np.zeros((2, 3, 3)), [0, 1], names=names)


WRONG: dict[str, Callable[[], Any]] = {
    "1 names for 2 classes: give one for each": lambda: named(["one"]),
    "names must be a list with a name for each class, not 'ab'": lambda: named("ab"),
    "names must be a list with a name for each class, not 2": lambda: named(2),
    "names must be a list with a name for each class, not an array of <U1 and shape (1, 2)":
        lambda: named(np.array([["a", "b"]])),
    "FewShot: data must be image classes, as from_arrays(images, labels) makes them, not 3":
        lambda: FewShot(3, 2),  # type: ignore[arg-type]
    "FewShot: way must be at least 2, not 1": lambda: FewShot(tiny_classes(3), 1),
    "4-way tasks need 4 classes, and this split has 3: lower --way or add classes":
        lambda: FewShot(tiny_classes(3), 4),
    "FewShot.draw: shot must be at least 0, not -1": lambda: BOTH[0].draw(RNG, -1, 1),
    "FewShot.draw: query must be at least 0, not -1": lambda: BOTH[0].draw(RNG, 1, -1),
    "FewShot.draw: rng must be a numpy.random.Generator, as numpy.random.default_rng(0) is, not 0":
        lambda: BOTH[0].draw(0, 1, 1),  # type: ignore[arg-type]
    "Sine.draw: shot must be at least 0, not -1": lambda: Sine().draw(RNG, -1),
    "Sine.draw: query must be at least 0, not -1": lambda: Sine().draw(RNG, 1, -1),
    "Sine.draw: rng must be a numpy.random.Generator, as numpy.random.default_rng(0) is, not None":
        lambda: Sine().draw(None, 1),  # type: ignore[arg-type]
    "mini-batches of 3 drawn with replacement need 3 examples, and the task has 2: "
    "lower --inner-batch or raise the shots": lambda: minibatches(RNG, 2, 1, 3, True),
    "take_classes: data must be image classes, as from_arrays(images, labels) makes them, not 3":
        lambda: take_classes(3, [0]),  # type: ignore[arg-type]
    "take_classes: classes must hold numbers, not 'a'": lambda: take_classes(tiny_classes(3), "a"),  # type: ignore[arg-type]
    "no classes are left to take: a split must have some":
        lambda: take_classes(tiny_classes(3), []),
    **{f"take_classes: classes must be a list of whole numbers from 0 to 2, not {classes}":
       partial(take_classes, tiny_classes(3), classes)  # type: ignore[arg-type]
       for classes in ([3], [-1, 0], [0.0], 0)},
    "images of (2, 3) pixels cannot be turned by 90 degrees: make them square or leave the "
    "rotations out": lambda: with_rotations(from_arrays(np.zeros((1, 2, 3)), [0])),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_what_tasks_are_not_made_of(words: str) -> None:
    with pytest.raises(InputError) as error:
        WRONG[words]()
    assert str(error.value) == words


def test_take_classes_keeps_the_given_order() -> None:
    data = take_classes(numbered([2, 3, 1, 2]), [3, 1])
    assert data.names == ("class 3", "class 1")
    assert identities(data.images) == [(3, 0), (3, 1), (1, 0), (1, 1), (1, 2)]
    np.testing.assert_array_equal(data.starts, [0, 2, 5])


def test_rotations_are_new_classes_turned_anticlockwise() -> None:
    base = tiny_classes(2, each=3, size=2)
    data = with_rotations(base)
    assert data.names == tuple(f"{c}/rot{r}" for r in ("000", "090", "180", "270") for c in "01")
    np.testing.assert_array_equal(data.starts, range(0, 25, 3))
    (a, b), (c, d) = base.images[4, ..., 0]  # the second image of class 1
    turned = [data.images[3 * (2 * r + 1) + 1, ..., 0] for r in range(4)]
    expected = [[[a, b], [c, d]], [[b, d], [a, c]], [[d, c], [b, a]], [[c, a], [d, b]]]
    np.testing.assert_array_equal(turned, expected)
    assert data.scale == base.scale


# -------------------------------------------------------------------------------------- sine


@given(seed=seeds, shot=st.integers(1, 50))
def test_sine_tasks_lie_on_one_wave(seed: int, shot: int) -> None:
    task = Sine().draw(np.random.default_rng(seed), shot, 1)
    grid = np.linspace(-5, 5, 50)
    np.testing.assert_allclose(task.query_x[:, 0], grid, rtol=1e-6)
    assert task.support_x.shape == task.support_y.shape == (shot, 1)
    on_grid = dict(zip(task.query_x.ravel().tolist(), task.query_y.ravel().tolist(), strict=True))
    pairs = dict(zip(task.support_x.ravel().tolist(), task.support_y.ravel().tolist(), strict=True))
    assert len(pairs) == shot
    assert pairs.items() <= on_grid.items()
    # a sin(x + b) = p sin x + q cos x, with amplitude sqrt(p^2 + q^2) in [0.1, 5]
    basis = np.stack([np.sin(grid), np.cos(grid)], axis=1)
    solution = np.linalg.lstsq(basis, task.query_y[:, 0].astype(np.float64), rcond=None)[0]
    np.testing.assert_allclose(basis @ solution, task.query_y[:, 0], rtol=0, atol=1e-5)
    assert 0.1 - 1e-5 <= np.hypot(*solution) <= 5 + 1e-5


def test_sine_amplitudes_and_phases_fill_their_ranges() -> None:
    def parameters(task: Task) -> tuple[float, float]:
        x, y = task.query_x[:, 0].astype(np.float64), task.query_y[:, 0]
        p, q = np.linalg.lstsq(np.stack([np.sin(x), np.cos(x)], axis=1), y, rcond=None)[0]
        return float(np.hypot(p, q)), float(np.arctan2(q, p) % (2 * np.pi))

    rng = np.random.default_rng(0)
    drawn = np.array([parameters(Sine().draw(rng, 1, 1)) for _ in range(400)])
    for values, (low, high) in zip(drawn.T, ((0.1, 5.0), (0, 2 * np.pi)), strict=True):
        standard_error = (high - low) / np.sqrt(12 * 400)
        assert abs(values.mean() - (low + high) / 2) < 4 * standard_error
        assert values.min() < low + 0.05 * (high - low)
        assert values.max() > high - 0.05 * (high - low)


def test_sine_without_query_and_with_too_many_shots() -> None:
    task = Sine().draw(np.random.default_rng(0), 5, 0)
    assert task.query_x.shape == task.query_y.shape == (0, 1)
    for shot in (0, 51):
        with pytest.raises(InputError, match="a sine task has 50 points: shots must be 1 to 50"):
            Sine().draw(np.random.default_rng(0), shot)
