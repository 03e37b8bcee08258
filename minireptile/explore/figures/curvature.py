"""What a first-order method leaves out: the curvature of the loss, along one inner step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...maml import meta_grad
from ...optim import SGD
from ..answer import Figure, call, figure
from ..values import listed, point, real, truth
from .two_weights import CODE, MODEL, PLACE, examples

LENGTHS = np.linspace(0, 1, 101)  # of the step, as inner rates


@call(theta=PLACE, tasks=listed(point(-5.0, 5.0), 1, 1), rate=real(0, 1), curved=truth)
def curvature(theta: list[float], tasks: list[Any], rate: float, curved: bool) -> dict[str, Any]:
    """The loss, its tangent and its parabola along theta - a g, for a in LENGTHS, (3, 101), and at
    a = rate, (3,); where the step leads, and the gradients there of FOMAML and MAML, with the angle
    between them. Without `curved`, the Hessian counts as zero."""
    x, y = examples(tasks)
    at = np.array(theta)
    loss, g = MODEL.loss_and_grad(at, x[0], y[0])
    hg = MODEL.hvp(at, x[0], y[0], g) if curved else np.zeros_like(g)

    def along(a: Any) -> np.ndarray:
        places = at - np.multiply.outer(a, g)
        off = MODEL.forward(places, np.broadcast_to(x, (len(a), 1, 1)))[:, 0, 0] - y[0, 0, 0]
        tangent = loss - a * (g @ g)
        return np.array([off**2, tangent, tangent + a**2 / 2 * (g @ hg)])

    phi = at - rate * g
    fomaml = MODEL.loss_and_grad(phi, x[0], y[0])[1]
    maml = fomaml
    if curved:
        maml = meta_grad(MODEL, at[None].copy(), x[None], y[None], x, y, SGD(rate), {})[1][0]
    cross, dot = fomaml[0] * maml[1] - fomaml[1] * maml[0], fomaml @ maml
    return {
        "lengths": LENGTHS, "cut": along(LENGTHS), "at": along(np.array([rate]))[:, 0],
        "bend": np.array(g @ hg / max(g @ g, 1e-300)), "phi": phi, "fomaml": fomaml, "maml": maml,
        "angle": np.degrees(np.abs(np.arctan2(cross, dot))),
    }  # fmt: skip


figure(
    Figure(
        "curvature",
        ("plane_loss", "curvature"),
        {"theta": [0.4, 1.2], "tasks": [[1.5, 1.5]], "rate": 0.15, "curved": True},
        CODE
        + """
from minireptile.maml import meta_grad

rate, curved = {rate}, {curved}
g = model.loss_and_grad(theta, x[0], y[0])[1]
phi = theta - rate * g                                          # the inner step
fomaml = model.loss_and_grad(phi, x[0], y[0])[1]                # the gradient where it ends
maml = fomaml - rate * curved * model.hvp(theta, x[0], y[0], fomaml)     # (I - alpha H) of it
if curved:                                                      # as maml() computes it
    theirs = meta_grad(model, theta[None].copy(), x[None], y[None], x, y, mr.SGD(rate), {{}})
    assert np.allclose(theirs[1][0], maml)
""",
        {"phi": "phi", "fomaml": "fomaml", "maml": "maml"},
    )
)
