"""The claims of the paper and of its popularisations, measured: ``minireptile reproduce NAME``.

Each module here has run(quick, backend) -> Outcome, and says at its top what is claimed; those on
characters take two arguments more: where Omniglot lies, and a map over workers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..lots import Map
    from .outcome import Outcome

EXPERIMENTS = {
    "sine": "before and after adaptation, for all five algorithms",
    "k1": "one inner step of Reptile is joint training",
    "taylor": "the coefficients of the gradient and of the inner product, by regression",
    "inner-products": "gradients of one task's mini-batches align as Reptile goes on",
    "variance": "Reptile's update has a lower variance than MAML's, and it converges faster",
    "manifolds": "Reptile ends near all the tasks' sets of solutions",
    "cost": "time and memory against MAML, as k grows",
    "gradient-combinations": "which sums of the inner gradients learn",
    "overlap": "a tail that shares its examples with the inner steps",
    "meta-batch": "what more tasks an iteration bring, on equal tasks and in equal iterations",
}


ON_CHARACTERS = ("gradient-combinations", "overlap", "meta-batch")


def run(
    name: str, quick: bool, backend: str = "numpy", data: str = "", workers: Map | None = None
) -> Outcome:
    """Make an experiment with a backend's kernels, on the characters of `data`, the folder of
    Omniglot, or else on drawn ones, with `workers` who compute lots of tasks; `InputError` if
    there is none of that name."""
    if name not in EXPERIMENTS:
        raise InputError(f"there is no experiment {name!r}: choose one of {', '.join(EXPERIMENTS)}")
    experiment = import_module(f".{name.replace('-', '_')}", __name__)
    return experiment.run(quick, backend, *(data, workers) * (name in ON_CHARACTERS))
