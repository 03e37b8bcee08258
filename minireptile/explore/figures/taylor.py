"""What an update is made of: AvgGrad, AvgGradInner, and what they leave out (kernels/taylor.md).

A task has k mini-batches of one example. Expectations are over all k! orders of them, exactly: each
order is a task of one batched inner loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...reproduce.taylor import coefficients, updates
from ..answer import Figure, call, figure
from ..values import count, one_of, real
from .two_weights import MODEL, PLACE, places, square

DRAWN = [[0.5, 1.0], [1.4, 1.9], [-0.8, -1.7], [2.4, 1.4], [-1.8, -1.9]]  # one task's, with noise
MOST = len(DRAWN)
ALPHAS = np.geomspace(1e-4, 1, 33)
SIZE = 48
NEAR = (0.1, 1.5), (1.5, 2.9)  # w1 and w2: the arrows are short

K = count(1, MOST)
EXPAND = one_of(*coefficients(1))


@call(k=K)
def taylor_plane(k: int) -> dict[str, Any]:
    """The mean loss over the plane, whose gradient is AvgGrad, and the mean inner product of the
    gradients of two mini-batches, whose gradient is twice AvgGradInner; (SIZE, SIZE) each."""
    at, (x, y) = places(SIZE, *NEAR), drawn(k)
    found = [
        MODEL.loss_and_grad(at, *(np.tile(a[i], (len(at), 1, 1)) for a in (x, y))) for i in range(k)
    ]
    loss, g = (np.array(part) for part in zip(*found, strict=True))
    return {"loss": square(loss.mean(0)), "inner": square(inner_product(g))}


@call(theta=PLACE, k=K, rate=real(1e-3, 1), expand=EXPAND)
def taylor(theta: list[float], k: int, rate: float, expand: str) -> dict[str, Any]:
    """The update -alpha u (2,) and its parts, (3, 2): of AvgGrad, of AvgGradInner, and the rest;
    and the length of the rest of u for each of ALPHAS."""
    x, y = drawn(k)
    orders = np.array([*permutations(range(k))])
    at = np.array(theta)
    copies = np.repeat(at[None], k, axis=0)
    _, g = MODEL.loss_and_grad(copies, x, y)
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j]
    products = [MODEL.hvp(at, x[i], y[i], g[j]) for i, j in pairs] or [np.zeros(2)]
    grad, inner = g.mean(0), np.mean(products, axis=0)
    c = coefficients(k)[expand]
    alphas = np.append(ALPHAS, rate)
    # one row for each alpha and order; mini-batch i of a row is the i-th of its order
    rows = np.repeat(alphas, len(orders))[:, None]
    dealt = np.tile(orders, (len(alphas), 1))
    found = updates(
        lambda phi, i: MODEL.loss_and_grad(phi, x[dealt[:, i]], y[dealt[:, i]])[1],
        lambda phi, i, v: MODEL.hvp(phi, x[dealt[:, i]], y[dealt[:, i]], v),
        np.repeat(at[None], len(rows), axis=0), list(range(k)), rows,
    )[expand]  # fmt: skip
    u = found.reshape(len(alphas), len(orders), 2).mean(1)
    parts = c[0] * grad, c[1] * rate * inner
    rest = np.linalg.norm(u - c[0] * grad - c[1] * alphas[:, None] * inner, axis=-1)
    return {
        "update": -rate * u[-1],
        "parts": -rate * np.array([*parts, u[-1] - sum(parts)]),
        "avg_grad": grad,
        "avg_grad_inner": inner,
        "coefficients": np.array(c),
        "alphas": ALPHAS,
        "rests": rest[:-1],
        "rest": rest[-1:],
        "slope": slope(ALPHAS[:9], rest[:9]),
    }


def drawn(k: int) -> tuple[NDArray, NDArray]:
    """x and y (k, 1, 1) of the task's first k mini-batches."""
    given = np.array(DRAWN[:k])
    return given[:, :1, None], given[:, 1:, None]


def inner_product(g: NDArray) -> NDArray:
    """E[g_i . g_j] over i != j, (n,), of gradients (k, n, 2): all pairs without the squares."""
    k = len(g)
    of_all, squares = (g.sum(0) ** 2).sum(-1), (g**2).sum((0, -1))
    return (of_all - squares) / max(k * (k - 1), 1)


def slope(alphas: NDArray, rests: NDArray) -> NDArray:
    """The power of alpha with which the rest falls, (1,); NaN where there is none."""
    logs = np.log(alphas) - np.log(alphas).mean()
    return np.array([logs @ np.log(rests) / (logs @ logs) if rests.all() else np.nan])


def code(state: Mapping[str, Any]) -> str:
    """The lines behind the figure."""
    given = dict(state, drawn=DRAWN[: state["k"]])
    return LINES.format_map({name: repr(value) for name, value in given.items()})


LINES = """
from itertools import permutations
import numpy as np
import minireptile as mr
from minireptile.reproduce.taylor import coefficients, updates

model = mr.Model([mr.Dense(1, bias=False), mr.Tanh(), mr.Dense(1, bias=False)], (1,),
                 "squared_error", dtype="float64")              # y = w2 tanh(w1 x)
theta, k, alpha = np.array({theta}), {k}, {rate}
x, y = np.array({drawn}).T.reshape(2, k, 1, 1)                  # k mini-batches of one task

def g(phi, i): return model.loss_and_grad(phi, x[i], y[i])[1]
def hv(phi, i, v): return model.hvp(phi, x[i], y[i], v)

orders = [list(order) for order in permutations(range(k))]
u = np.mean([updates(g, hv, theta, order, alpha)[{expand}] for order in orders], axis=0)
products = [hv(theta, i, g(theta, j)) for i, j in permutations(range(k), 2)]
avg_grad = np.mean([g(theta, i) for i in range(k)], axis=0)
avg_grad_inner = sum(products, np.zeros(2)) / max(len(products), 1)
a, b = coefficients(k)[{expand}]
update = -alpha * u
parts = -alpha * np.array([
    a * avg_grad, b * alpha * avg_grad_inner, u - a * avg_grad - b * alpha * avg_grad_inner,
])
"""

figure(
    Figure(
        "taylor",
        ("taylor_plane", "taylor"),
        {"theta": [0.6, 2.4], "k": 5, "rate": 0.15, "expand": "Reptile"},
        code,
        {name: name for name in ("update", "parts", "avg_grad", "avg_grad_inner")},
        {"land": "loss"},
    )
)
