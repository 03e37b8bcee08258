"""The meta-iterations that are timed on a GPU, and who computes them in which ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.optim import State
from minireptile.reptile import adapt_tasks

from ..peers_case import Case, case_of
from ..peers_process import Job, Peer
from ..settings import OMNIGLOT, Setting

TF32 = ", TF32"
CARRY = ", carry"
QUICK = Setting(tasks=2, steps=2, batch=5, filters=16)


@dataclass(frozen=True)
class Carried(Case):
    """A case in which the tasks follow one another and hand on the optimizer's state."""


def carried(case: Case) -> Carried:
    """The same meta-iteration with the state carried."""
    return Carried(case.model, case.optimizer, case.theta, case.x, case.y, case.epsilon)


def policy(case: Case) -> str:
    """How the optimizer's state goes from task to task. From a state of zeros, "mean" and "fresh"
    give the same theta."""
    return "carry" if isinstance(case, Carried) else "mean"


def theta_after(case: Case, model: mr.Model) -> NDArray:
    """Theta (P,) after the case's one meta-iteration on a model, from and to the host."""
    (x,), (y,) = case.x, case.y
    phi = np.repeat(case.theta[None], x.shape[1], axis=0)
    shared: State = case.optimizer.init(case.theta)
    adapt_tasks(model, phi, x, y, case.optimizer, shared, policy(case))
    return case.theta + case.epsilon * (phi.mean(0) - case.theta)


CASES: dict[str, Callable[[], Case]] = {
    str(OMNIGLOT): lambda: case_of(OMNIGLOT),
    f"{OMNIGLOT}{CARRY}": lambda: carried(case_of(OMNIGLOT)),
    str(QUICK): lambda: case_of(QUICK),
}

PEERS = {
    "minireptile": Peer("minireptile", "bench.gpu.ours"),
    "PyTorch": Peer("torch", "bench.gpu.torch"),
    "JAX": Peer("jax", "bench.gpu.jax"),
}

# In the order in which they are built: who takes minutes to compile comes last.
VARIANTS: dict[str, tuple[tuple[str, str], ...]] = {
    str(OMNIGLOT): (
        ("minireptile", "cupy"),
        ("minireptile", "cupy, on the device"),
        ("minireptile", "cupy, on the device, TF32"),
        ("PyTorch", "eager"),
        ("PyTorch", "vmap"),
        ("PyTorch", "CUDA graph"),
        ("PyTorch", "CUDA graph, vmap"),
        ("PyTorch", "CUDA graph, vmap, TF32"),
        ("JAX", "jit vmap"),
        ("JAX", "jit vmap, TF32"),
        ("minireptile", "numba-cuda"),
        ("minireptile", "numba"),
        ("PyTorch", "max-autotune, CUDA graph"),
        ("PyTorch", "max-autotune, CUDA graph, TF32"),
    ),
    f"{OMNIGLOT}{CARRY}": (
        ("minireptile", "cupy"),
        ("minireptile", "cupy, on the device"),
        ("minireptile", "cupy, on the device, TF32"),
        ("PyTorch", "eager"),
        ("PyTorch", "CUDA graph"),
        ("PyTorch", "CUDA graph, TF32"),
        ("JAX", "jit scan over tasks"),
        ("minireptile", "numba"),
    ),
    str(QUICK): (
        ("minireptile", "cupy"),
        ("minireptile", "cupy, on the device"),
        ("PyTorch", "eager"),
        ("PyTorch", "CUDA graph, vmap"),
        ("JAX", "jit vmap"),
    ),
}


def jobs_of(case: str, threads: int) -> list[Job]:
    """The processes of a case. In double precision too, where that does not take minutes to
    compile: single precision leaves Adam's first steps to chance (peers_case.tolerance)."""
    return [
        Job(case, framework, variant, threads, double=_exact(variant))
        for framework, variant in VARIANTS[case]
    ]


def _exact(variant: str) -> bool:
    return not variant.endswith(TF32) and "max-autotune" not in variant
