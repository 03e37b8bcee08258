"""Claim: with one inner step, Reptile is stochastic gradient descent on the joint loss.

theta + epsilon (theta - alpha g - theta) = theta - epsilon alpha g, so that Reptile with k = 1 and
joint training with the rate epsilon alpha take the same steps, to rounding, on the same
mini-batches (kernels/reptile.md, eq. 9). Source: Nichol, Achiam & Schulman, 2018, section 5.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ..joint import joint
from ..loops import Loops
from ..networks import sine_mlp
from ..optim import SGD
from ..reptile import reptile
from ..tasks.sine import Sine
from .outcome import Finding, Outcome, exactly

ALPHA, EPSILON = 0.02, 0.5
ROUNDING = 1e-11  # relative, after thousands of steps in double precision


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Train both ways on the same mini-batches, and Reptile with k = 2 beside them."""
    iterations = 200 if quick else 5000
    model, tasks = sine_mlp(16 if quick else 64, dtype="float64", backend=backend), Sine()
    loops = Loops(
        iterations, meta_batch=5, epsilon=EPSILON, epsilon_final=EPSILON, inner_steps=1,
        inner_batch=10, train_shots=50, state="fresh",
    )  # fmt: skip
    two = replace(loops, inner_steps=2)
    one_step = reptile(model, tasks, SGD(ALPHA), loops)
    descent = joint(model, tasks, SGD(EPSILON * ALPHA), loops)
    two_steps = reptile(model, tasks, SGD(ALPHA), two)
    two_joint = joint(model, tasks, SGD(EPSILON * ALPHA), two)
    differences: dict[str, list[float]] = {"k = 1": [], "k = 2": []}
    for a, b, c, d in zip(one_step, descent, two_steps, two_joint, strict=True):
        for name, (left, right) in {"k = 1": (a, b), "k = 2": (c, d)}.items():
            apart = np.linalg.norm(left.theta - right.theta) / np.linalg.norm(right.theta)
            differences[name].append(float(apart))
    its = np.unique(np.geomspace(1, iterations, 200).astype(int))  # as many as a picture shows
    shown = {name: [apart[it - 1] for it in its] for name, apart in differences.items()}
    data = {
        "alpha": ALPHA, "epsilon": EPSILON, "iterations": its, **shown,
        "worst": max(differences["k = 1"]),
    }  # fmt: skip

    def draw(ax: Any) -> None:
        for name, apart in shown.items():
            ax.loglog(its, np.maximum(apart, 1e-18), label=name)
        ax.set(xlabel="iteration", ylabel="relative distance to joint training")
        ax.legend()

    return Outcome(
        "With one inner step, Reptile is joint SGD, exactly.",
        findings(data),
        f"After {iterations:,} iterations theta differs by {data['worst']:.1e} of its norm at "
        f"most, and by {shown['k = 2'][-1]:.1e} with two inner steps.",
        data, draw,
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """Nothing but rounding for k = 1; and that more than rounding is seen where there is more."""
    return [
        exactly("with two inner steps, the distance to joint training", data["k = 2"][-1], ROUNDING,
                needed=True),
        exactly("the greatest distance to joint training", data["worst"], ROUNDING, above=False),
    ]  # fmt: skip
