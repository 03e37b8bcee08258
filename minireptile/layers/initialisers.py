"""Initial weights, drawn from an explicit generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Initialiser = Callable[[np.random.Generator, Shape, int, int], NDArray]


def zeros(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray:
    """All zeros."""
    return np.zeros(shape)


def ones(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray:
    """All ones."""
    return np.ones(shape)


def glorot_uniform(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray:
    """U[-a, a] with a = sqrt(6 / (fan_in + fan_out)): TensorFlow's default, so the paper's.

    Source: Glorot & Bengio, AISTATS 2010, eq. 16.
    """
    a = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-a, a, shape)


def he_normal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray:
    """N(0, 2 / fan_in), for layers before a ReLU. Source: He et al., ICCV 2015, eq. 10."""
    return rng.normal(0, np.sqrt(2 / fan_in), shape)


def fan_in_uniform(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray:
    """U[-a, a] with a = 1 / sqrt(fan_in), for weights and biases alike: PyTorch's default for
    dense layers, so that of the code behind the paper's sine experiment.
    """
    a = 1 / np.sqrt(fan_in)
    return rng.uniform(-a, a, shape)


INITIALISERS: dict[str, Initialiser] = {
    "glorot_uniform": glorot_uniform,
    "he_normal": he_normal,
    "fan_in_uniform": fan_in_uniform,
    "zeros": zeros,
    "ones": ones,
}
