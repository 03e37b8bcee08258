"""The paper's networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .checks import whole
from .layers import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool, ReLU, Tanh
from .model import Model


def omniglot_cnn(
    way: int = 5, filters: int = 64, input_shape: tuple[int, ...] = (28, 28, 1), **model: Any
) -> Model:
    """Four times [3 x 3 convolution with stride 2, batch norm, ReLU], then a dense layer.

    28 -> 14 -> 7 -> 4 -> 2, so 256 features; 113,221 parameters for 5-way tasks. The convolutions'
    biases are inert under batch norm but the paper's code has them, and Adam moves them.
    Source: supervised_reptile/models.py:20-25.

    Parameters
    ----------
    way : int
        Classes of a task: outputs.
    filters : int
        Output channels of each convolution.
    input_shape : tuple of int
        Rows, columns and channels of an image.
    **model
        Passed on to `Model`: loss, reduction, backend, dtype, tf32.

    Returns
    -------
    Model
        With cross-entropy.

    Raises
    ------
    InputError
        If a number is out of range or of another kind.
    """
    way, filters = whole(way, "omniglot_cnn: way"), whole(filters, "omniglot_cnn: filters")
    block: list[Layer] = [Conv2D(filters, 3, stride=2), BatchNorm(), ReLU()]
    return Model([*block * 4, Flatten(), Dense(way)], input_shape, **model)


def miniimagenet_cnn(
    way: int = 5, filters: int = 32, input_shape: tuple[int, ...] = (84, 84, 3), **model: Any
) -> Model:
    """Four times [3 x 3 convolution, batch norm, 2 x 2 max-pool, ReLU], then a dense layer.

    84 -> 42 -> 21 -> 11 -> 6, so 1,152 features; "same" padding everywhere.
    Source: supervised_reptile/models.py:40-44.

    Parameters
    ----------
    way : int
        Classes of a task: outputs.
    filters : int
        Output channels of each convolution.
    input_shape : tuple of int
        Rows, columns and channels of an image.
    **model
        Passed on to `Model`: loss, reduction, backend, dtype, tf32.

    Returns
    -------
    Model
        With cross-entropy.

    Raises
    ------
    InputError
        If a number is out of range or of another kind.
    """
    way, filters = whole(way, "miniimagenet_cnn: way"), whole(filters, "miniimagenet_cnn: filters")
    block: list[Layer] = [Conv2D(filters, 3), BatchNorm(), MaxPool(2), ReLU()]
    return Model([*block * 4, Flatten(), Dense(way)], input_shape, **model)


def sine_mlp(hidden: int = 64, **model: Any) -> Model:
    """Two hidden layers with tanh, and squared error: the network of the paper's sine experiment.

    It starts as PyTorch starts it, as the code behind that experiment did: with zero biases every
    function it could begin from would be odd. Source: Nichol, Achiam & Schulman, 2018, section 4.

    Parameters
    ----------
    hidden : int
        Units of each hidden layer: 1-64-64-1.
    **model
        Passed on to `Model`: reduction, backend, dtype.

    Returns
    -------
    Model
        From x (B, 1) to outputs (B, 1).

    Raises
    ------
    InputError
        If a number is out of range or of another kind.
    """
    hidden = whole(hidden, "sine_mlp: hidden")

    def dense(units: int) -> Dense:
        return Dense(units, init="fan_in_uniform", bias_init="fan_in_uniform")

    layers = [dense(hidden), Tanh(), dense(hidden), Tanh(), dense(1)]
    return Model(layers, (1,), "squared_error", **model)


NETWORKS: dict[str, Callable[..., Model]] = {
    "omniglot": omniglot_cnn, "miniimagenet": miniimagenet_cnn, "sine": sine_mlp,
}  # fmt: skip
