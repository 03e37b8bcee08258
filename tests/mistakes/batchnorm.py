"""Batch normalisation over M = 6 rows of 6 channels: a sum over the wrong axis still fits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minireptile.testing import check_gradients

from .record import Check, Mistake

M, EPS = 6, 1e-2
rng = np.random.default_rng(3)
x0 = rng.standard_normal((M, M)) + 1
gamma0, beta0 = rng.standard_normal((2, M))

Grads = tuple[NDArray, ...]


def normalise(x: NDArray) -> tuple[NDArray, NDArray]:
    """xhat (M, C) and rstd (C,)."""
    centred = x - x.mean(0)
    rstd = ((centred * centred).mean(0) + EPS) ** -0.5
    return centred * rstd, rstd


def forward(x: NDArray, gamma: NDArray, beta: NDArray) -> NDArray:
    return gamma * normalise(x)[0] + beta


def backward(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    xhat, rstd = normalise(x)
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - dbeta / len(x) - xhat * dgamma / len(x)), dgamma, dbeta


def check(backward: Callable[..., Grads]) -> Check:
    return lambda: check_gradients((forward, backward), x0, gamma0, beta0, name="batchnorm")


def variance_term_left_out(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    xhat, rstd = normalise(x)
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - dbeta / M), dgamma, dbeta


def mean_term_left_out(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    xhat, rstd = normalise(x)
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - xhat * dgamma / M), dgamma, dbeta


def statistics_constant(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    xhat, rstd = normalise(x)
    return gamma * rstd * dy, (dy * xhat).sum(0), dy.sum(0)


def eps_outside(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    rstd = 1 / (x.std(0) + EPS)
    xhat = (x - x.mean(0)) * rstd
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - dbeta / M - xhat * dgamma / M), dgamma, dbeta


def variance_unbiased(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    rstd = (x.var(0, ddof=1) + EPS) ** -0.5
    xhat = (x - x.mean(0)) * rstd
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - dbeta / M - xhat * dgamma / M), dgamma, dbeta


def xhat_without_eps(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    xhat, rstd = (x - x.mean(0)) / x.std(0), normalise(x)[1]
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - dbeta / M - xhat * dgamma / M), dgamma, dbeta


def gamma_forgotten(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    xhat, rstd = normalise(x)
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return rstd * (dy - dbeta / M - xhat * dgamma / M), dgamma, dbeta


def means_forgotten(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    xhat, rstd = normalise(x)
    dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
    return gamma * rstd * (dy - dbeta - xhat * dgamma), dgamma, dbeta


def wrong_axis(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
    xhat, rstd = normalise(x)
    dgamma, dbeta = (dy * xhat).sum(1), dy.sum(1)  # over the channels: layer normalisation
    return gamma * rstd * (dy - dbeta / M - xhat * dgamma / M), dgamma, dbeta


# On images (B, H, W, C), where the statistics are over B, H and W.


def image_forward(x: NDArray) -> NDArray:
    return normalise(x.reshape(-1, x.shape[-1]))[0].reshape(x.shape)


def image_backward(dy: NDArray, x: NDArray) -> NDArray:
    xhat, rstd = normalise(x.reshape(-1, x.shape[-1]))
    xhat = xhat.reshape(x.shape)
    axes = 0, 1, 2
    return rstd * (dy - dy.mean(axes) - xhat * (dy * xhat).mean(axes))


def image_over_batch_only(dy: NDArray, x: NDArray) -> NDArray:
    xhat, rstd = normalise(x.reshape(-1, x.shape[-1]))
    xhat = xhat.reshape(x.shape)
    return rstd * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))


def check_image(backward: Callable[..., NDArray]) -> Check:
    x = x0.reshape(3, 2, 2, 3)
    return lambda: check_gradients((image_forward, backward), x, name="batchnorm of images")


# As an object that keeps what it needs.


class BatchNorm:
    """Batch normalisation with parameters gamma and beta."""

    def __init__(self) -> None:
        self.gamma, self.beta = gamma0.copy(), beta0.copy()

    def forward(self, x: NDArray) -> NDArray:
        self.xhat, self.rstd = normalise(x)
        return self.gamma * self.xhat + self.beta

    def backward(self, dy: NDArray) -> NDArray:
        self.dgamma, self.dbeta = (dy * self.xhat).sum(0), dy.sum(0)
        mean = self.dbeta / M + self.xhat * self.dgamma / M
        return self.gamma * self.rstd * (dy - mean)


class RstdForgotten(BatchNorm):
    """dgamma from the centred input, not from xhat."""

    def backward(self, dy: NDArray) -> NDArray:
        dx = super().backward(dy)
        self.dgamma = (dy * self.xhat / self.rstd).sum(0)
        return dx


class RunningStatistics(BatchNorm):
    """Goes back through the moving average of rstd."""

    moving = np.ones(M)

    def backward(self, dy: NDArray) -> NDArray:
        batch, self.rstd = self.rstd, self.moving
        dx = super().backward(dy)
        self.rstd = batch
        return dx


def backward_of(kind: type[BatchNorm]) -> Callable[..., Grads]:
    """The object's backward pass as a function."""

    def backward(dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray) -> Grads:
        layer = kind()
        layer.gamma, layer.beta = gamma, beta
        layer.forward(x)
        return layer.backward(dy), layer.dgamma, layer.dbeta

    return backward


def check_object(kind: type[BatchNorm]) -> Check:
    return lambda: check_gradients(kind(), x0, params=("gamma", "beta"), name="batchnorm")


MISTAKES = (
    Mistake(
        "batchnorm: variance term left out of dx",
        "the error is proportional to the centred input, with another factor in each channel",
        check(variance_term_left_out),
        r"proportional to the input centred over axis 0.*variance",
        check(backward),
        wrong={"backward": variance_term_left_out},
    ),
    Mistake(
        "batchnorm: mean term left out of dx",
        "the error is the same for all rows of a channel; dx no longer sums to 0 over the batch",
        check(mean_term_left_out),
        r"the same along axis 0.*mean",
        check(backward),
        wrong={"backward": mean_term_left_out},
    ),
    Mistake(
        "batchnorm: mean and variance taken as constants",
        "dx = gamma rstd dy: right only for the moving averages of evaluation",
        check(statistics_constant),
        r"dx: is wrong",
        check(backward),
        wrong={"backward": statistics_constant},
    ),
    Mistake(
        "batchnorm: eps inside the root forward, outside backward",
        "off by a few per cent: a loose tolerance lets it pass, the complex step does not",
        check(eps_outside),
        r"dgamma: is wrong",
        check(backward),
        wrong={"backward": eps_outside},
    ),
    Mistake(
        "batchnorm: variance over M - 1 in the backward pass only",
        "off by about 1/(2M): in large batches a loose tolerance lets it pass",
        check(variance_unbiased),
        r"dgamma: is wrong",
        check(backward),
        wrong={"backward": variance_unbiased},
    ),
    Mistake(
        "batchnorm: xhat recomputed without eps",
        "a small error that grows where the variance is small; NaN where it is 0",
        check(xhat_without_eps),
        r"dgamma: is wrong",
        check(backward),
        wrong={"backward": xhat_without_eps},
    ),
    Mistake(
        "batchnorm: gamma forgotten in dx",
        "invisible at the start, when gamma is 1; a constant ratio in each channel",
        check(gamma_forgotten),
        r"factor gamma is missing",
        check(backward),
        wrong={"backward": gamma_forgotten},
    ),
    Mistake(
        "batchnorm: 1/M forgotten in both terms of dx",
        "dx is far too large and does not sum to 0 over the batch",
        check(means_forgotten),
        r"dx: is wrong",
        check(backward),
        wrong={"backward": means_forgotten},
    ),
    Mistake(
        "batchnorm: sums over the channels instead of the rows",
        "with M = C the shapes are right, and all three gradients wrong",
        check(wrong_axis),
        r"dbeta: is wrong",
        check(backward),
        wrong={"backward": wrong_axis},
    ),
    Mistake(
        "batchnorm: means over the images only, not over rows and columns",
        "right for 1 x 1 images; the shapes broadcast",
        check_image(image_over_batch_only),
        r"dx: is wrong",
        check_image(image_backward),
        wrong={"image_backward": image_over_batch_only},
    ),
    Mistake(
        "batchnorm: dgamma from the centred input, without rstd",
        "dgamma is off by the channel's standard deviation; right for data of variance 1",
        check_object(RstdForgotten),
        r"dgamma: is wrong",
        check_object(BatchNorm),
        wrong={"backward": backward_of(RstdForgotten)},
    ),
    Mistake(
        "batchnorm: back through the moving averages",
        "nearly right once the averages have settled; far off at the start of training",
        check_object(RunningStatistics),
        r"ratio depends on axis 1 alone",
        check_object(BatchNorm),
        wrong={"backward": backward_of(RunningStatistics)},
    ),
)
