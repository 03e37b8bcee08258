"""Batch normalisation on a GPU: launchers for batchnorm.cu. Derivation: batchnorm.md.

Arguments as in batchnorm_numpy.py, with arrays on the device. The batchnorm_relu functions have the
ReLU behind it in the same kernel: y is then the ReLU's output, and dy that output's gradient.
"""

from typing import Any

from .launch_cupy import blocks, launch, room, stride
from .sums_cupy import COLUMNS, LANES, shares

# A version's threads in a block, and the channels that a block takes.
SHAPES = {"v1": ((32, 1, 1), 32), "v2": ((COLUMNS, LANES, 1), COLUMNS)}
SHAPES["v3"] = SHAPES["v2"]


def _forward(
    version: str, y: Any, mean: Any, rstd: Any, x: Any, gamma: Any, beta: Any, eps: float, relu: int
) -> None:
    T, C = gamma.shape
    M, (block, channels) = x[0].size // C, SHAPES[version]
    numbers = gamma, stride(gamma), beta, stride(beta), float(eps), M, C, relu
    slices, parts, name = _slices(version, T, C, M, x.dtype)
    grid = blocks(C, channels), slices, T
    if parts:
        launch("batchnorm", "batchnorm_forward_parts", x.dtype, grid, block, *parts, x, M, C)
    arguments = y, mean, rstd, *parts, x, *numbers
    launch("batchnorm", f"batchnorm_forward_{name}", x.dtype, grid, block, *arguments)


def _backward(
    version: str, dx: Any, dgamma: Any, dbeta: Any, dy: Any, y: Any, x: Any, mean: Any, rstd: Any,
    gamma: Any,
) -> None:  # fmt: skip
    T, C = mean.shape
    M, (block, channels) = x[0].size // C, SHAPES[version]
    written = dx, dgamma, stride(dgamma), dbeta, stride(dbeta)
    reads = dy, y, x, mean, rstd
    slices, parts, name = _slices(version, T, C, M, x.dtype)
    grid = blocks(C, channels), slices, T
    if parts:
        launch("batchnorm", "batchnorm_backward_parts", x.dtype, grid, block, *parts, *reads, M, C)
    arguments = *written, *parts, *reads, gamma, stride(gamma), M, C
    launch("batchnorm", f"batchnorm_backward_{name}", x.dtype, grid, block, *arguments)


def _slices(
    version: str, T: int, C: int, M: int, dtype: Any
) -> tuple[int, tuple[Any, ...], str]:  # fmt: skip
    """Into how many slices a version cuts M; room for their parts, if there are any; and the
    version that computes: of one slice, version 2."""
    if version != "v3":
        return 1, (), version
    n = shares(C, M)
    return (n, (room(2 * n * T * C, dtype),), "v3") if n > 1 else (1, (), "v2")


def batchnorm_forward_v1(
    y: Any, mean: Any, rstd: Any, x: Any, gamma: Any, beta: Any, eps: float
) -> None:
    """A thread for each channel (batchnorm.md, eq. 1 to 4)."""
    _forward("v1", y, mean, rstd, x, gamma, beta, eps, 0)


def batchnorm_backward_v1(
    dx: Any, dgamma: Any, dbeta: Any, dy: Any, x: Any, mean: Any, rstd: Any, gamma: Any
) -> None:
    """A thread for each channel (batchnorm.md, eq. 5, 6 and 10)."""
    _backward("v1", dx, dgamma, dbeta, dy, None, x, mean, rstd, gamma)


def batchnorm_forward_v2(
    y: Any, mean: Any, rstd: Any, x: Any, gamma: Any, beta: Any, eps: float
) -> None:
    """A block for every few channels (batchnorm.md, eq. 1 to 4)."""
    _forward("v2", y, mean, rstd, x, gamma, beta, eps, 0)


def batchnorm_backward_v2(
    dx: Any, dgamma: Any, dbeta: Any, dy: Any, x: Any, mean: Any, rstd: Any, gamma: Any
) -> None:
    """A block for every few channels (batchnorm.md, eq. 5, 6 and 10)."""
    _backward("v2", dx, dgamma, dbeta, dy, None, x, mean, rstd, gamma)


def batchnorm_forward_v3(
    y: Any, mean: Any, rstd: Any, x: Any, gamma: Any, beta: Any, eps: float
) -> None:
    """Many blocks for every few channels (batchnorm.md, eq. 1 to 4, 13 and 15)."""
    _forward("v3", y, mean, rstd, x, gamma, beta, eps, 0)


def batchnorm_backward_v3(
    dx: Any, dgamma: Any, dbeta: Any, dy: Any, x: Any, mean: Any, rstd: Any, gamma: Any
) -> None:
    """Many blocks for every few channels (batchnorm.md, eq. 5, 6 and 10)."""
    _backward("v3", dx, dgamma, dbeta, dy, None, x, mean, rstd, gamma)


def batchnorm_relu_forward(
    y: Any, mean: Any, rstd: Any, x: Any, gamma: Any, beta: Any, eps: float
) -> None:
    """`batchnorm_forward`, and the ReLU behind it (batchnorm.md, eq. 28)."""
    _forward("v3", y, mean, rstd, x, gamma, beta, eps, 1)


def batchnorm_relu_backward(
    dx: Any, dgamma: Any, dbeta: Any, dy: Any, y: Any, x: Any, mean: Any, rstd: Any, gamma: Any
) -> None:
    """`batchnorm_backward` behind a ReLU with the output y (batchnorm.md, eq. 29)."""
    _backward("v3", dx, dgamma, dbeta, dy, y, x, mean, rstd, gamma)


def batchnorm_forward_r(
    ry: Any, rmean: Any, rrstd: Any, rx: Any, rgamma: Any, rbeta: Any,
    x: Any, mean: Any, rstd: Any, gamma: Any,
) -> None:  # fmt: skip
    """The tangents of `batchnorm_forward` (batchnorm.md, eq. 16 to 20)."""
    T, C = mean.shape
    M, (block, channels) = x[0].size // C, SHAPES["v2"]
    rates = rgamma, stride(rgamma), rbeta, stride(rbeta)
    arguments = ry, rmean, rrstd, rx, *rates, x, mean, rstd, gamma, stride(gamma), M, C
    grid = (blocks(C, channels), 1, T)
    launch("batchnorm", "batchnorm_forward_r", x.dtype, grid, block, *arguments)


def batchnorm_backward_r(
    rdx: Any, rdgamma: Any, rdbeta: Any,
    rdy: Any, rx: Any, rmean: Any, rrstd: Any, rgamma: Any,
    dgamma: Any, dbeta: Any, dy: Any, x: Any, mean: Any, rstd: Any, gamma: Any,
) -> None:  # fmt: skip
    """The tangents of `batchnorm_backward` (batchnorm.md, eq. 21 to 24)."""
    T, C = mean.shape
    M, (block, channels) = x[0].size // C, SHAPES["v2"]
    written = rdx, rdgamma, stride(rdgamma), rdbeta, stride(rdbeta)
    tangents = rdy, rx, rmean, rrstd, rgamma, stride(rgamma)
    gradients = dgamma, stride(dgamma), dbeta, stride(dbeta), dy
    arguments = *written, *tangents, *gradients, x, mean, rstd, gamma, stride(gamma), M, C
    grid = (blocks(C, channels), 1, T)
    launch("batchnorm", "batchnorm_backward_r", x.dtype, grid, block, *arguments)


batchnorm_forward = batchnorm_forward_v3
batchnorm_backward = batchnorm_backward_v3
