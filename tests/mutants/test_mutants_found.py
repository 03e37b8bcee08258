"""What a mutation run found untested (make mutants): each of these kills a mutant or several."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Adam, InputError, Loops, adapt, fomaml, imaml, joint, reptile
from minireptile.backend import kernels
from minireptile.delegate import begin
from minireptile.engine import Walked
from minireptile.evaluate import mean_ci95
from minireptile.kernels.conv2d_numpy import _blocks
from minireptile.rng import Stream, generator
from minireptile.tasks.base import Tasks
from tests.small import OPTIMIZERS, random_batch, random_phi, tiny_model, tiny_tasks

K = kernels("numpy")
LOOPS = Loops(1, meta_batch=3, inner_steps=2, inner_batch=4, train_shots=3)


# ----------------------------------------------------------------------------------- kernels


def test_among_equal_infinities_the_first_wins_too() -> None:
    """The first inside the image, also where the first tap lies on the padding."""
    x = np.full((1, 1, 2, 4, 1), -np.inf)
    y, winner = np.full((1, 1, 1, 2, 1), np.nan), np.full((1, 1, 1, 2, 1), -7, np.int32)
    dx = np.full_like(x, np.nan)
    K.maxpool_forward(y, winner, x, (2, 2), (2, 2), (0, 0))
    K.maxpool_backward(dx, np.full_like(y, 3), winner, (2, 2), (2, 2), (0, 0))
    np.testing.assert_array_equal(y, np.full_like(y, -np.inf))
    np.testing.assert_array_equal(dx[0, 0, :, :, 0], [[3, 0, 3, 0], [0, 0, 0, 0]])
    K.maxpool_forward(y, winner, x, (3, 3), (3, 3), (1, 1))
    K.maxpool_backward(dx, np.full_like(y, 3), winner, (3, 3), (3, 3), (1, 1))
    np.testing.assert_array_equal(dx[0, 0, :, :, 0], [[3, 0, 3, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 1, 3)], ids=["examples", "tasks"])
def test_each_example_is_shifted_by_its_own_largest_logit(shape: tuple[int, int, int]) -> None:
    """By that of its neighbour, 2000 above, every exponential would underflow to 0."""
    row = np.array([0.0, 1.0, -2.0])
    z = np.stack([row, row - 2000]).reshape(shape)
    loss, dz = np.full(shape[0], np.nan), np.full_like(z, np.nan)
    K.softmax_cross_entropy(loss, dz, z, np.full(shape[:2], 2), 1.0)
    softmax = np.exp(row) / np.exp(row).sum()
    assert loss.sum() == pytest.approx(-2 * np.log(softmax[2]), rel=1e-14)
    expected = np.stack([softmax - [0, 0, 1]] * 2).reshape(shape)
    np.testing.assert_allclose(dz, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("room", [(1, 1), (1, 2), (1, 5), (2, 5), (3, 5)])
def test_blocks_meet_every_image_of_every_task_once(room: tuple[int, int]) -> None:
    """Twice would give the same numbers, in twice the time."""
    met = np.zeros((3, 5), int)
    for tasks, images, cols in _blocks(np.empty((*room, 7)), 3, 5):
        met[tasks, images] += 1
        assert cols.shape == (*met[tasks, images].shape, 7)
    np.testing.assert_array_equal(met, np.ones_like(met))


# ------------------------------------------------------------------------------ randomness


@pytest.mark.parametrize(("iteration", "task"), [(0, 0), (3, 5), (2**63 + 1, 2**64 - 1)])
def test_a_stream_is_philox_from_its_place_on(iteration: int, task: int) -> None:
    """The counter's words are (block, task, iteration, 0), over many blocks of four numbers."""
    place = ((iteration << 64) + task << 64).to_bytes(32, "little")
    key = (2**64 - 2).to_bytes(8, "little") + int(Stream.GLYPHS).to_bytes(8, "little")
    counter, words = np.frombuffer(place, "<u8"), np.frombuffer(key, "<u8")
    expected = np.random.Generator(np.random.Philox(key=words, counter=counter))
    got = generator(2**64 - 2, Stream.GLYPHS, iteration, task)
    np.testing.assert_array_equal(got.random(99), expected.random(99))


def test_a_stream_begins_at_its_first_iteration_and_task() -> None:
    got, expected = generator(7, Stream.INIT), generator(7, Stream.INIT, 0, 0)
    np.testing.assert_array_equal(got.random(9), expected.random(9))


@pytest.mark.parametrize(
    ("name", "most", "bound"),
    [("seed", 2**64 - 1, "2**64 - 1"), ("stream", 6, "6"),
     ("iteration", 2**64 - 1, "2**64 - 1"), ("task", 2**64 - 1, "2**64 - 1")],
)  # fmt: skip
def test_each_part_of_a_streams_place_has_its_bounds(name: str, most: int, bound: str) -> None:
    def draw(number: Any) -> None:
        generator(**{"seed": 1, "stream": Stream.TEST, name: number})

    draw(0)
    draw(most)
    for wrong in (-1, most + 1):
        with pytest.raises(InputError) as error:
            draw(wrong)
        assert str(error.value) == f"the {name} must be between 0 and {bound}, not {wrong}"


def test_two_tasks_have_an_interval_and_one_has_none() -> None:
    """1.96 s / sqrt(2), where s = 2 / sqrt(2) of the numbers 1 and 3."""
    assert mean_ci95(np.array([5.0])) == (5.0, None)
    assert mean_ci95(np.array([1.0, 3.0])) == (2.0, pytest.approx(1.96, rel=1e-14))


# ---------------------------------------------------------------------------------- defaults


def test_the_defaults_of_adam_are_its_authors() -> None:
    """Kingma & Ba, 2015, Algorithm 1."""
    assert Adam() == Adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay_rate=1.0)


def test_numbers_that_a_program_leaves_out_do_not_change_under_it() -> None:
    assert SGD(0.1) == SGD(0.1, momentum=0.0, weight_decay_rate=1.0)
    assert Loops(7) == Loops(
        iterations=7, meta_batch=5, epsilon=1.0, epsilon_final=0.0,
        inner_steps=5, inner_batch=10, train_shots=10, replacement=False, state="mean", seed=0,
    )  # fmt: skip


# ------------------------------------------------------------------------------------- loops


def test_a_run_begins_before_its_first_iteration() -> None:
    model = tiny_model()
    run = begin(model, OPTIMIZERS["momentum"], LOOPS)
    assert (run.iteration, run.loss.shape) == (0, (0, 0))
    np.testing.assert_array_equal(run.theta, model.init(LOOPS.seed))
    np.testing.assert_array_equal(run.state["velocity"], np.zeros(model.size))


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_carried_tasks_give_their_losses_side_by_side(tasks: int) -> None:
    loops = replace(LOOPS, meta_batch=tasks, state="carry")
    (run,) = reptile(tiny_model(), tiny_tasks(), SGD(0.1), loops)
    assert run.loss.shape == (2, tasks)


def test_a_compiled_inner_loop_is_given_all_that_adapt_is() -> None:
    """Whatever compiles it; unless it does not know the optimizer."""

    model, rng = tiny_model(), np.random.default_rng(0)
    walked, phi = tiny_model(), random_phi(model, rng)
    x, y = random_batch(model, rng, 2, 4)
    sgd, seen = SGD(0.1), []

    class Declines(Walked):
        def adapt(self, *arguments: Any) -> Any:
            seen.append(arguments)
            return NotImplemented

    model.engine = Declines(model.plan, model.kernels)
    losses = adapt(model, phi.copy(), x, y, sgd, {})
    np.testing.assert_array_equal(losses, adapt(walked, phi.copy(), x, y, sgd, {}))
    (got,) = seen
    for one, two in zip(got[:3], (phi[None], x[:, None], y[:, None]), strict=True):
        assert one.shape == two.shape
    assert got[3:] == (sgd, {})


@pytest.mark.parametrize("counts", [(2, 3), (3, 2)])
def test_inputs_without_targets_are_no_step(counts: tuple[int, int]) -> None:
    model, rng = tiny_model(), np.random.default_rng(0)
    (x, _), (_, y) = (random_batch(model, rng, k, 4) for k in counts)
    with pytest.raises(ValueError, match=r"x has \d mini-batches and y has \d"):
        adapt(model, random_phi(model, rng), x, y, SGD(0.1))


@pytest.mark.parametrize("replacement", [False, True])
def test_numbers_of_images_stand_for_the_same_mini_batches(replacement: bool) -> None:
    """Which a GPU reads from the images that it has."""
    tasks, loops = tiny_tasks(), replace(LOOPS, seed=5, replacement=replacement)
    (x, y), (numbers, labels) = loops.sample(tasks, 3), loops.sample_indices(tasks, 3)
    np.testing.assert_array_equal(tasks.data.images[numbers] * np.float32(tasks.data.scale), x)
    np.testing.assert_array_equal(labels, y)


class Recorded(Loops):
    """Loops that remember the shapes of what they sampled."""

    shapes: tuple[tuple[int, ...], ...] = ()

    def sample(
        self, tasks: Tasks, iteration: int, which: range | None = None
    ) -> tuple[NDArray, NDArray]:
        x, y = super().sample(tasks, iteration, which)
        Recorded.shapes += (y.shape,)
        return x, y


def test_joint_draws_no_mini_batch_that_it_does_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """One from each of k T tasks."""
    monkeypatch.setattr(Recorded, "shapes", ())
    list(joint(tiny_model(), tiny_tasks(), SGD(0.1), Recorded(**vars(LOOPS))))
    assert Recorded.shapes == ((1, 6, 4),)


@pytest.mark.parametrize(
    ("algorithm", "steps"), [(reptile, 2), (joint, 1), (fomaml, 2), (imaml, 1)]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_taken_by_the_kernels_of_the_model(algorithm: Any, steps: int, name: str) -> None:
    """Not by NumPy's, whatever the model's backend."""
    taken = []

    def counted(kernel: str) -> Any:
        def step(*arguments: Any) -> None:
            taken.append(kernel)
            getattr(K, kernel)(*arguments)

        return step

    model = tiny_model()
    model.kernels = SimpleNamespace(
        **{**vars(K), **{kernel: counted(kernel) for kernel in ("sgd_step", "adam_step")}}
    )
    list(algorithm(model, tiny_tasks(), OPTIMIZERS[name], replace(LOOPS, prox=10.0)))
    assert taken == ["adam_step" if name.startswith("adam") else "sgd_step"] * steps
