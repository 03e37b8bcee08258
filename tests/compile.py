"""The stages of the compiled calls, each compiled by one process: python -m tests.compile

Many test files need them. Without this, the processes of `pytest -n 2` meet them at the same time
and compile them twice; afterwards, all find them in the cache.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from minireptile import (
    SGD,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    Loops,
    MaxPool,
    Model,
    ReLU,
    Tanh,
    adapt,
    reptile,
)
from minireptile.backend import why_not
from minireptile.tasks.images import FewShot, from_arrays
from minireptile.tasks.sine import Sine


def every_call(model: Model, x: np.ndarray, y: np.ndarray) -> None:
    """Once all that a model can be asked for, of a mini-batch."""
    phi = model.init(0)
    for optimizer in (SGD(0.1, 0.5), Adam(0.1)):
        thetas = phi[None].copy()
        adapt(model, thetas, x[None, None], y[None, None], optimizer, optimizer.init(thetas))
    model.forward(phi, x)
    model.loss_and_grad(phi, x, y)
    model.hvp(phi, x, y, phi)


def outer_loops(images: Model, curve: Model) -> None:
    """An outer iteration on tasks of both kinds that are drawn in the call."""
    characters = from_arrays(np.zeros((4, 4, 4), np.uint8), [0, 0, 1, 1])
    loops = Loops(1, inner_batch=2, train_shots=2)
    for model, tasks in ((images, FewShot(characters, 2)), (curve, Sine())):
        next(reptile(model, tasks, SGD(0.1, 0.5), loops))


def compiled(dtype: str) -> None:
    """Two networks have every kind of layer and both losses between them."""
    images = [Conv2D(2, 3), BatchNorm(), MaxPool(2), ReLU(), Flatten(), Dense(2)]
    curve = [Dense(2), Tanh(), Dense(1)]
    x = np.ones((2, 4, 4, 1), dtype)
    numba: dict[str, Any] = {"backend": "numba", "dtype": dtype}
    of_images = Model(images, (4, 4, 1), **numba)
    every_call(of_images, x, np.zeros(2, int))
    x = np.ones((2, 1), dtype)
    of_curves = Model(curve, (1,), loss="squared_error", **numba)
    every_call(of_curves, x, x)
    outer_loops(of_images, of_curves)


def compile_all() -> None:
    """In two processes, started afresh as a test's are."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for done in [pool.submit(compiled, dtype) for dtype in ("float64", "float32")]:
            done.result()


if __name__ == "__main__":
    reason = why_not("numba")
    print(f"nothing to compile: {reason}" if reason else "compiling the Numba programs", flush=True)
    if not reason:
        compile_all()
    sys.exit(0)
