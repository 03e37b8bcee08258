"""How a plan is computed: layer by layer, in one compiled call, as a graph on a GPU.

`engine_for` chooses; nothing else decides who computes.
"""

import warnings

from ..backend import device_of, kernels
from ..plan import Plan, fuse
from .base import Engine
from .walked import Walked

__all__ = ["Engine", "Walked", "engine_for", "walked"]


def engine_for(plan: Plan, backend: str, tf32: bool = False) -> Engine:
    """The fastest engine of a backend that knows every layer of the plan; or else the walk, which
    is said once, with the layers that are the reason. `InputError` or `MissingPackage` if the
    backend cannot be used here."""
    device, fused = device_of(backend), fuse(plan)
    if backend == "numpy":
        return walked(plan, backend)
    if device:
        from .graph import Graph, knows
    else:
        from .compiled import Compiled, knows
    strange = [step.name for step in fused.steps if not knows(step.layer)]
    if strange:
        warnings.warn(
            f"{', '.join(strange)}: the {backend} backend does not know such a layer, so the "
            "model is walked through layer by layer",
            stacklevel=4,
        )
        return walked(plan, backend)
    return Graph(fused, device, device.kernels(tf32)) if device else Compiled(fused)


def walked(plan: Plan, backend: str) -> Walked:
    """The walk with a backend's kernels, for arrays of the host."""
    return Walked(fuse(plan), kernels(backend))
