"""Whether a meta-batch fits into this machine's memory, and what to lower where it does not."""

import os
from math import prod

import numpy as np

from ..algorithms import ALGORITHMS
from ..errors import InputError
from ..model import Model
from ..optim import Optimizer
from .settings import Settings

GIB = 2**30


def check(s: Settings, model: Model, optimizer: Optimizer) -> None:
    """`InputError` if a meta-batch does not fit into the memory of this machine, or of its GPU."""
    k, T, B = s.inner_steps, s.meta_batch, s.inner_batch
    path = ALGORITHMS[s.algorithm].path
    moments = sum(array.ndim for array in optimizer.init(np.empty(1)).values())
    vectors = 2 + moments + path * (k - 1)  # phi, its gradient, and what they leave
    network, examples = vectors * model.size, 2 * k * B * prod(model.input_shape)
    task, memory = (network + examples) * model.dtype.itemsize, available()
    if task > memory:
        large, lower = (
            (f"{model.size:,} parameters", "--filters or --way")
            if network > examples
            else (f"{k} mini-batches of {B} examples", "--inner-batch or --inner-steps")
        )
        raise InputError(
            f"{large} of a single task need about {task / GIB:,.1f} GiB and this machine has "
            f"{memory / GIB:,.1f}: lower {lower}"
        )
    if T * task > memory:
        raise InputError(
            f"a meta-batch of {T} tasks needs about {T * task / GIB:,.1f} GiB and this machine has "
            f"{memory / GIB:,.1f}: lower --meta-batch to {memory // task:.0f} or less"
        )
    model.engine.check_memory(k, T, B, model.dtype, second=path > 0)


def available() -> float:
    """Bytes of memory of this machine, where the system says."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")
