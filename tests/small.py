"""Small models and tasks that several tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile import SGD, Adam, BatchNorm, Conv2D, Dense, Flatten, MaxPool, Model, ReLU, Tanh
from minireptile.engine import Walked, walked
from minireptile.optim import Optimizer
from minireptile.tasks.base import Task
from minireptile.tasks.images import FewShot, ImageClasses, from_arrays


def tiny_model(**options: Any) -> Model:
    """A strided convolution with batch norm on 6 x 6 images, 3-way, in double precision."""
    body = [Conv2D(3, 3, stride=2), BatchNorm(), ReLU(), Flatten(), Dense(3)]
    return Model(body, (6, 6, 1), **{"dtype": "float64", **options})


def tiny_stacks() -> dict[str, Model]:
    """Small models that meet every layer, each also as the first one, and both losses."""
    common: dict[str, Any] = {"dtype": "float64"}
    squared: dict[str, Any] = {"loss": "squared_error", **common}
    return {
        "strided": tiny_model(reduction="sum"),
        "pooled": Model(
            [Conv2D(2, (2, 3), bias=False), BatchNorm(), MaxPool(2), ReLU(), Flatten(), Dense(3)],
            (5, 4, 2),
            **common,
        ),
        "batchnorm first": Model([BatchNorm(), Tanh(), Flatten(), Dense(2)], (3, 2, 2), **squared),
        "pool first": Model([MaxPool(3, 2, "valid"), Flatten(), Dense(3)], (5, 5, 1), **common),
        "relu first": Model([ReLU(), Dense(4), Tanh(), Dense(1, False)], (3,), **squared),
        "tanh first": Model([Tanh(), Dense(3), BatchNorm()], (4,), reduction="sum", **common),
    }


def by_layers(model: Model) -> Walked:
    """The walk through the model's layers with its backend's kernels, whatever its engine is."""
    return walked(model.plan, model.backend)


def random_phi(model: Model, rng: np.random.Generator, *tasks: int) -> NDArray:
    """Standard normal parameters, so that no bias is 0 and no gamma is 1."""
    return rng.standard_normal((*tasks, model.size))


def random_batch(model: Model, rng: np.random.Generator, *lead: int) -> tuple[NDArray, NDArray]:
    """Inputs (*lead, ...) and the labels or targets that the model's loss takes."""
    x = rng.standard_normal((*lead, *model.input_shape))
    if model.loss == "squared_error":
        return x, rng.standard_normal((*lead, model.n_out))
    return x, rng.integers(0, model.n_out, lead)


def tiny_classes(count: int = 5, each: int = 6, size: int = 6, seed: int = 0) -> ImageClasses:
    """Noise around one random picture for each class."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0.2, 0.8, (count, 1, size, size))
    images = np.clip(centres + rng.normal(0, 0.1, (count, each, size, size)), 0, 1)
    return from_arrays(images.reshape(-1, size, size), np.repeat(np.arange(count), each))


def tiny_tasks(way: int = 3) -> FewShot:
    """Few-shot tasks for `tiny_model`."""
    return FewShot(tiny_classes(), way)


class Corners:
    """The one task of naming the unit vectors of R^n: example i of class c is (i + 1) e_c."""

    def __init__(self, way: int) -> None:
        self.n_out = way
        self.input_shape = (way,)

    def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
        def examples(count: int) -> tuple[NDArray, NDArray]:
            labels = np.repeat(np.arange(self.n_out), count)
            lengths = np.tile(np.arange(1, count + 1), self.n_out)
            return np.eye(self.n_out, dtype=np.float32)[labels] * lengths[:, None], labels

        return Task(*examples(shot), *examples(query))


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(0.1),
    "momentum": SGD(0.05, momentum=0.9),
    "adam": Adam(0.01),
    "adam without beta1": Adam(0.01, beta1=0.0),
}


def assert_same_state(one: dict[str, NDArray], two: dict[str, NDArray]) -> None:
    """Equal bit for bit, in the same names, shapes and types."""
    assert one.keys() == two.keys()
    for name, array in one.items():
        assert (array.dtype, array.shape) == (two[name].dtype, two[name].shape)
        np.testing.assert_array_equal(array, two[name])


def relative(got: NDArray, want: NDArray) -> float:
    """The largest error, in units of the largest entry."""
    assert got.shape == want.shape
    return float(np.max(abs(got - want), initial=0) / max(np.max(abs(want), initial=0), 1e-300))
