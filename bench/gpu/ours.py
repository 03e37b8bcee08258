"""The meta-iteration by minireptile itself, for comparison on a GPU.

cupy, numba-cuda, numba   `adapt` on that backend; data and theta come from the host and go back
cupy, on the device       the same with all arrays on the GPU before and after, as the frameworks
                          have them

", TF32" behind a name: convolutions round their operands to TF32.
"""

from __future__ import annotations

from typing import Any

import minireptile as mr
from minireptile.reptile import adapt_tasks

from ..peers_case import Built, Case
from .case import TF32, policy, theta_after
from .clock import cupy, synchronize

RESIDENT = ", on the device"


def build(case: Case, variant: str, threads: int = 1) -> Built:
    """One of the variants above; `InputError` for another."""
    name = variant.removesuffix(TF32)
    model = model_of(case.model, name.removesuffix(RESIDENT), variant.endswith(TF32))
    if name.endswith(RESIDENT):
        return resident(case, model)
    return Built(lambda: theta_after(case, model), lambda theta: theta)


def model_of(model: mr.Model, backend: str, tf32: bool = False) -> mr.Model:
    """The model on a backend, perhaps in TF32."""
    options: dict[str, Any] = {"tf32": True} if tf32 else {}
    return mr.Model(
        model.layers, model.input_shape, model.loss, model.reduction, backend, model.dtype,
        **options,
    )  # fmt: skip


def resident(case: Case, model: mr.Model) -> Built:
    """Theta, mini-batches and the result as CuPy's arrays."""
    cp = cupy()
    theta, x, y = (cp.asarray(a) for a in (case.theta, case.x[0], case.y[0]))
    tasks, zero = x.shape[1], case.optimizer.init(case.theta)
    shared = {name: cp.asarray(array) for name, array in zero.items()}

    def run() -> Any:
        phi = cp.repeat(theta[None], tasks, axis=0)
        adapt_tasks(model, phi, x, y, case.optimizer, shared, policy(case))
        after = theta + case.epsilon * (phi.mean(0) - theta)
        synchronize()
        return after

    return Built(run, cp.asnumpy)
