"""The large Numba programs, each compiled by one process: python -m tests.compile

Many test files need them. Without this, the processes of `pytest -n 2` meet them at the same time
and compile them twice; afterwards, all find them in the cache.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from minireptile import SGD, Model, adapt, sine_mlp
from minireptile.backend import why_not


def inner_loop(model: Model) -> None:
    x = np.zeros((1, 1, 2, 1))
    adapt(model, model.init(0)[None], x, x, SGD(0.1))


def product(model: Model) -> None:
    phi, x = model.init(0), np.zeros((2, 1))
    model.hvp(phi, x, x, phi)


# A product takes longer than an inner loop: two of each are shared evenly.
PROGRAMS = [(product, "float64"), (product, "float32"), (inner_loop, "float64"),
            (inner_loop, "float32")]  # fmt: skip


def compile_all() -> None:
    """In two processes, started afresh as a test's are."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for done in [pool.submit(compiled, i) for i in range(len(PROGRAMS))]:
            done.result()


def compiled(i: int) -> None:
    program, dtype = PROGRAMS[i]
    program(sine_mlp(2, dtype=dtype, backend="numba"))


if __name__ == "__main__":
    reason = why_not("numba")
    print(f"nothing to compile: {reason}" if reason else "compiling the Numba programs", flush=True)
    if not reason:
        compile_all()
    sys.exit(0)
