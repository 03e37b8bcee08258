"""What can be wrong about a backward pass besides its formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.testing import check_gradients

from .record import Check, Mistake

rng = np.random.default_rng(10)
x0 = rng.standard_normal((3, 4))
w0 = rng.standard_normal((4, 2))
b0 = rng.standard_normal(2)


def forward(x: NDArray, w: NDArray, b: NDArray) -> NDArray:
    return x @ w + b


def backward(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    return dy @ w.T, x.T @ dy, dy.sum(0)


def check(backward: Callable[..., Any]) -> Check:
    return lambda: check_gradients((forward, backward), x0, w0, b0, name="dense")


def keeps_dims(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    return dy @ w.T, x.T @ dy, dy.sum(0, keepdims=True)


def single_precision(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    dx = np.empty(x.shape, np.float32)
    np.matmul(dy, w.T, out=dx, casting="same_kind")
    return dx, x.T @ dy, dy.sum(0)


def returns_nothing(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    _ = dy @ w.T, x.T @ dy, dy.sum(0)


def one_too_few(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    return dy @ w.T, x.T @ dy


def uninitialised(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    dx = np.full(x.shape, np.nan)  # what np.empty may hold
    dx[:-1] = (dy @ w.T)[:-1]
    return dx, x.T @ dy, dy.sum(0)


def normalises_its_input(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    grads = backward(dy, x, w, b)
    x -= x.mean(0)
    return grads


def scales_dy(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    grads = backward(dy, x, w, b)
    dy /= len(x)
    return grads


def ones_upstream(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    return backward(np.ones_like(dy), x, w, b)


def adds_noise(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Any:
    dx, dw, db = backward(dy, x, w, b)
    return dx, dw + 1e-3 * rng.standard_normal(w.shape), db


# log(1 + exp x), which NumPy can compute for any x; its derivative by the book cannot.

large = np.array([-800.0, -1.0, 2.0, 800.0])


def softplus(x: NDArray) -> NDArray:
    return np.logaddexp(0, x)


def softplus_backward(dy: NDArray, x: NDArray) -> NDArray:
    return dy * (1 + np.tanh(x / 2)) / 2


def softplus_overflow(dy: NDArray, x: NDArray) -> NDArray:
    with np.errstate(all="ignore"):  # as it is outside of tests: a warning that scrolls by
        e = np.exp(x)
        return dy * e / (1 + e)


def check_softplus(backward: Callable[[NDArray, NDArray], NDArray]) -> Check:
    return lambda: check_gradients((softplus, backward), large)


class Dropout:
    """Dropout with a mask that stays, so that its gradient can be checked."""

    def __init__(self) -> None:
        self.mask = self.draw()

    def draw(self) -> NDArray:
        return 2.0 * (rng.random(x0.shape) < 0.5)

    def forward(self, x: NDArray) -> NDArray:
        return x * self.mask

    def backward(self, dy: NDArray) -> NDArray:
        return dy * self.mask


class MaskDrawnAgain(Dropout):
    """Another mask on the way back than on the way up."""

    def backward(self, dy: NDArray) -> NDArray:
        return dy * self.draw()


class MaskNeverFixed(Dropout):
    """A new mask in every forward pass, as in training."""

    def forward(self, x: NDArray) -> NDArray:
        self.mask = self.draw()
        return super().forward(x)


def check_dropout(kind: type[Dropout]) -> Check:
    return lambda: check_gradients(kind(), x0, name="dropout")


class Scale:
    """y = gamma x, with a gradient for gamma."""

    def __init__(self) -> None:
        self.gamma, self.dgamma = np.ones(x0.shape[1]), np.zeros(x0.shape[1])

    def forward(self, x: NDArray) -> NDArray:
        self.x = x
        return self.gamma * x

    def backward(self, dy: NDArray) -> NDArray:
        self.dgamma = (dy * self.x).sum(0)
        return dy * self.gamma


class GradientAddsUp(Scale):
    """zero_grad() belongs to somebody else."""

    def backward(self, dy: NDArray) -> NDArray:
        self.dgamma = self.dgamma + (dy * self.x).sum(0)
        return dy * self.gamma


class FirstInputKept(Scale):
    """Keeps the input of the first forward pass."""

    def forward(self, x: NDArray) -> NDArray:
        if not hasattr(self, "x"):
            self.x = np.ones_like(x)
        return self.gamma * x


def check_scale(kind: type[Scale]) -> Check:
    return lambda: check_gradients(kind(), x0, params=("gamma",), name="scale")


MISTAKES = (
    Mistake(
        "interface: db with keepdims",
        "(1, 2) instead of (2,): broadcasts in the update, and b becomes (1, 2)",
        check(keeps_dims),
        r"db: has shape \(1, \d\), expected \(\d,\)",
        check(backward),
        wrong={"backward": keeps_dims},
    ),
    Mistake(
        "interface: float32 gradient for float64 input",
        "right to 7 digits: a tolerance of 1e-6 lets it pass, and all above loses its precision",
        check(single_precision),
        r"dx: is float32 for float64",
        check(backward),
        wrong={"backward": single_precision},
    ),
    Mistake(
        "interface: return forgotten",
        "the gradient is None",
        check(returns_nothing),
        r"None",
        check(backward),
        wrong={"backward": returns_nothing},
    ),
    Mistake(
        "interface: one gradient too few",
        "two gradients for three inputs: zip() drops the last parameter without a word",
        check(one_too_few),
        r"(2|two) gradients",
        check(backward),
        wrong={"backward": one_too_few},
    ),
    Mistake(
        "interface: the last row never written",
        "whatever np.empty held: often zeros, some day NaN",
        check(uninitialised),
        r"dx: .*NaN.*first at \(\d, 0\)",
        check(backward),
        wrong={"backward": uninitialised},
    ),
    Mistake(
        "interface: changes its input x",
        "its own result is right; the next to use x gets another one",
        check(normalises_its_input),
        r"backward changes its input x",
        check(backward),
        wrong={"backward": normalises_its_input},
    ),
    Mistake(
        "interface: changes dy",
        "its own result is right; a second branch that gets the same dy does not",
        check(scales_dy),
        r"backward changes its input the upstream gradient",
        check(backward),
        wrong={"backward": scales_dy},
    ),
    Mistake(
        "interface: ones instead of dy",
        "right under sum(), the usual test; wrong inside any network",
        check(ones_upstream),
        r"does not change with the upstream gradient",
        check(backward),
        wrong={"backward": ones_upstream},
    ),
    Mistake(
        "interface: noise added to a gradient",
        "two calls with the same input give two results",
        check(adds_noise),
        r"backward is random",
        check(backward),
        wrong={"backward": adds_noise},
    ),
    Mistake(
        "interface: exp(x) / (1 + exp(x)) for large x",
        "inf / inf is NaN from x = 710 on (89 in float32), while the function is finite",
        check_softplus(softplus_overflow),
        r"dx: .*NaN.*first at \(3,\)",
        check_softplus(softplus_backward),
    ),
    Mistake(
        "dropout: mask drawn again on the way back",
        "two backward calls give two results; on average it even learns",
        check_dropout(MaskDrawnAgain),
        r"backward is random",
        check_dropout(Dropout),
    ),
    Mistake(
        "dropout: mask not fixed for the check",
        "the function itself is random: there is no derivative to compare with",
        check_dropout(MaskNeverFixed),
        r"forward is random",
        check_dropout(Dropout),
    ),
    Mistake(
        "interface: a parameter's gradient adds up",
        "the first call is right, the second one gives the sum of both",
        check_scale(GradientAddsUp),
        r"dgamma: a second call adds to what the first left",
        check_scale(Scale),
    ),
    Mistake(
        "interface: backward uses an input that is not the last one",
        "dx is right, the parameter's gradient belongs to another mini-batch",
        check_scale(FirstInputKept),
        r"dgamma: is wrong",
        check_scale(Scale),
    ),
)
