"""Backward passes with one wrong line each: mistakes that people really make (tests/mistakes).

A listing is text. It is compiled as it is shown, once as it stands and once with the wrong line in
place of the right one; nothing that a reader types is ever run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...testing import GradientError, Report, check_gradients

SEED = 2  # of the inputs


@dataclass(frozen=True)
class Puzzle:
    """A forward pass, its right backward pass, and what one line of that is replaced by.

    Attributes
    ----------
    name : str
        What is differentiated.
    forward, backward : str
        Python, of a function each.
    right, wrong : str
        A line of the backward pass, without its indent, and what stands there instead.
    why : str
        What the wrong line does, in a sentence.
    shapes : tuple of shapes
        Of the inputs, which are random; an int is a number of labels, one for each row.
    """

    name: str
    forward: str
    backward: str
    right: str
    wrong: str
    why: str
    shapes: tuple[tuple[int, ...] | int, ...]

    @cached_property
    def listing(self) -> list[str]:
        """The lines of the wrong backward pass."""
        return self.backward.strip().replace(self.right, self.wrong).splitlines()

    @cached_property
    def line(self) -> int:
        """Where in the listing the wrong line stands, from 0."""
        return [line.strip() for line in self.listing].index(self.wrong)

    @cached_property
    def inputs(self) -> list[NDArray]:
        """What the check differentiates at."""
        rng = np.random.default_rng(SEED)
        return [
            rng.standard_normal(shape) if isinstance(shape, tuple) else np.arange(4) % shape
            for shape in self.shapes
        ]

    def verdict(self, wrong: bool) -> Report:
        """What the kit says of the listing, or of the right backward pass."""
        scope: dict[str, Any] = {"np": np}
        backward = "\n".join(self.listing) if wrong else self.backward
        exec(compile(f"{self.forward}\n{backward}\n", self.name, "exec"), scope)
        functions: tuple[Callable[..., Any], ...] = (scope["forward"], scope["backward"])
        try:
            return check_gradients(functions, *self.inputs, name=self.name)
        except GradientError as error:
            return error.report


PUZZLES = (
    Puzzle(
        "dense",
        """
def forward(x, w, b):
    return x @ w + b
""",
        """
def backward(dy, x, w, b):
    dx = dy @ w.T
    dw = x.T @ dy
    db = dy.sum(0)
    return dx, dw, db
""",
        "db = dy.sum(0)",
        "db = dy.mean(0)",
        "Every row of the mini-batch has the same bias, so that its gradients add up; if the loss "
        "is a mean, dy holds the 1/B already.",
        ((4, 3), (3, 5), (5,)),
    ),
    Puzzle(
        "hidden layer",
        """
def forward(x, w, u):
    h = x @ w
    return np.where(h.real > 0, h, 0) @ u
""",
        """
def backward(dy, x, w, u):
    h = x @ w
    dh = dy @ u.T
    dh[h <= 0] = 0
    dx = dh @ w.T
    dw = x.T @ dh
    du = np.where(h > 0, h, 0).T @ dy
    return dx, dw, du
""",
        "dh[h <= 0] = 0",
        "dh[dh <= 0] = 0",
        "A ReLU lets the gradient through where its input was positive. Where the gradient itself "
        "is positive does not matter.",
        ((4, 3), (3, 5), (5, 2)),
    ),
    Puzzle(
        "softmax cross-entropy",
        """
def forward(z, labels):
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    right = p[np.arange(len(p)), labels]
    return -np.log(right).mean()
""",
        """
def backward(dy, z, labels):
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    onehot = np.eye(p.shape[1])[labels]
    dz = dy * (p - onehot) / len(p)
    return dz, None
""",
        "dz = dy * (p - onehot) / len(p)",
        "dz = dy * (p - onehot) / p.size",
        "The loss is a mean over the examples, not over all the entries of z.",
        ((4, 3), 3),
    ),
    Puzzle(
        "batch norm",
        """
def forward(x, gamma, beta):
    c = x - x.mean(0)
    rstd = ((c * c).mean(0) + 1e-5) ** -0.5
    return gamma * c * rstd + beta
""",
        """
def backward(dy, x, gamma, beta):
    c = x - x.mean(0)
    rstd = ((c * c).mean(0) + 1e-5) ** -0.5
    xhat = c * rstd
    dgamma = (dy * xhat).sum(0)
    dbeta = dy.sum(0)
    dx = dy - dy.mean(0) - xhat * (dy * xhat).mean(0)
    return gamma * rstd * dx, dgamma, dbeta
""",
        "dx = dy - dy.mean(0) - xhat * (dy * xhat).mean(0)",
        "dx = dy - dy.mean(0) - xhat * dy.mean(0)",
        "The path through the variance carries the mean of dy times xhat.",
        ((6, 3), (3,), (3,)),
    ),
    Puzzle(
        "convolution",
        """
def forward(x, w, b):                     # x (B, H, W, C), w (3, 3, C, N)
    n = x.shape[1] - 2
    return b + sum(x[:, i:i + n, j:j + n] @ w[i, j]
                   for i in range(3) for j in range(3))
""",
        """
def backward(dy, x, w, b):
    n = x.shape[1] - 2
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(3):
        for j in range(3):
            seen = x[:, i:i + n, j:j + n]
            dw[i, j] = np.einsum("bhwc,bhwn->cn", seen, dy)
            dx[:, i:i + n, j:j + n] += dy @ w[i, j].T
    return dx, dw, dy.sum((0, 1, 2))
""",
        "dx[:, i:i + n, j:j + n] += dy @ w[i, j].T",
        "dx[:, i:i + n, j:j + n] += dy @ w[2 - i, 2 - j].T",
        "A gradient comes back by the tap that the pixel was read by. Seen as a convolution, the "
        "backward pass flips the filter; here the places in dx have done so already.",
        ((1, 4, 4, 1), (3, 3, 1, 2), (2,)),
    ),
    Puzzle(
        "shortcut",
        """
def forward(x, w):
    return np.tanh(x @ w) + x
""",
        """
def backward(dy, x, w):
    h = np.tanh(x @ w)
    dh = dy * (1 - h * h)
    dw = x.T @ dh
    dx = dh @ w.T + dy
    return dx, dw
""",
        "dx = dh @ w.T + dy",
        "dx = dh @ w.T",
        "x is used twice, by the layer and by the way around it: its gradient has two terms.",
        ((4, 3), (3, 3)),
    ),
    Puzzle(
        "tanh",
        """
def forward(x, w):
    return np.tanh(x @ w)
""",
        """
def backward(dy, x, w):
    y = np.tanh(x @ w)
    dz = dy * (1 - y * y)
    dx = dz @ w.T
    dw = x.T @ dz
    return dx, dw
""",
        "dw = x.T @ dz",
        "dw = dz.T @ x",
        "This is the transpose of what it should be. Where a layer has as many inputs as outputs, "
        "its shape does not give it away.",
        ((4, 3), (3, 3)),
    ),
    Puzzle(
        "layer norm",
        """
def forward(x, gamma):
    c = x - x.mean(1, keepdims=True)
    var = (c * c).mean(1, keepdims=True)
    return gamma * c * (var + 1e-5) ** -0.5
""",
        """
def backward(dy, x, gamma):
    c = x - x.mean(1, keepdims=True)
    var = (c * c).mean(1, keepdims=True)
    rstd = (var + 1e-5) ** -0.5
    xhat = c * rstd
    dgamma = (dy * xhat).sum(0)
    d = dy * gamma
    mean = d.mean(1, keepdims=True)
    along = (d * xhat).mean(1, keepdims=True)
    return rstd * (d - mean - xhat * along), dgamma
""",
        "mean = d.mean(1, keepdims=True)",
        "mean = dy.mean(1, keepdims=True)",
        "The scale comes between dy and the normalised x, so that all three terms hold it; where "
        "gamma is 1, as at the start, nothing shows.",
        ((4, 3), (3,)),
    ),
    Puzzle(
        "ReLU",
        """
def forward(x):
    return np.where(x.real > 0, x, 0)
""",
        """
def backward(dy, x):
    dx = dy.copy()
    dead = x <= 0
    dx[dead] = 0
    return dx
""",
        "dx = dy.copy()",
        "dx = dy",
        "The numbers are right, and dy is not what it was: whoever else needs it, such as a "
        "shortcut, gets the zeros too.",
        ((4, 3),),
    ),
    Puzzle(
        "max pooling",
        """
def forward(x):                           # pairs of columns: (B, 2 n) to (B, n)
    a, b = x[:, 0::2], x[:, 1::2]
    return np.where(a.real >= b.real, a, b)
""",
        """
def backward(dy, x):
    a, b = x[:, 0::2], x[:, 1::2]
    first = a >= b
    dx = np.zeros_like(x)
    dx[:, 0::2] = np.where(first, dy, 0)
    dx[:, 1::2] = np.where(first, 0, dy)
    return dx
""",
        "dx[:, 1::2] = np.where(first, 0, dy)",
        "dx[:, 0::2] = np.where(first, 0, dy)",
        "It overwrites the line above, and the second of each pair never gets its gradient.",
        ((4, 6),),
    ),
)
