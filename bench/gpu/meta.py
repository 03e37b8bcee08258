"""A meta-iteration on a GPU: minireptile, PyTorch and JAX, each in a process of its own.

Each gets the same theta and mini-batches, has them on the GPU before the clock starts (but for the
rows that say otherwise), waits for its result at the end of every call, and is compared with the
NumPy reference before it is timed, in double precision too where that can be had. The processes
are timed in turns.
"""

import os
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory

import minireptile as mr

from .. import peers, runs
from ..child import sentence
from ..machine import usable
from ..measure import in_turns
from ..peers_case import TF32
from ..peers_process import Job
from ..results import Row, timed
from ..runs import FOREVER, images, many
from ..settings import OMNIGLOT, QUICK
from ..tables import Columns
from .part import Context

COLUMNS: Columns = {**peers.COLUMNS, "per_second": runs.COLUMNS["per_second"]}
THREADS = 8  # of what runs on the processor

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
    f"{OMNIGLOT}, carry": (
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
        Job(case, framework, variant, threads, double=_exact(variant), gpu=True)
        for framework, variant in VARIANTS[case]
    ]


def _exact(variant: str) -> bool:
    return not variant.endswith(TF32) and "max-autotune" not in variant


def run(context: Context) -> Iterator[Row]:
    """Rows of whole outer iterations, then of every case."""
    names = [str(QUICK)] if context.quick else [str(OMNIGLOT), f"{OMNIGLOT}, carry"]
    threads = min(THREADS, os.cpu_count() or 1)
    yield from outer_iterations(context)
    for i, name in enumerate(names):
        seconds = context.left() / (len(names) - i)
        with TemporaryDirectory(ignore_cleanup_errors=True) as cache:
            yield from peers.measure(name, jobs_of(name, threads), context.rounds, cache, seconds)


# ------------------------------------------------------------------------------ whole iterations


def outer_iterations(context: Context) -> Iterator[Row]:
    """`mr.reptile` itself: sampling, the inner loops and the outer update, on random images."""
    setting = QUICK if context.quick else OMNIGLOT
    classes = 20 if context.quick else 1000
    tasks = images(classes, 20, (setting.size, setting.size), bool)
    backends = [name for name in usable(gpu=True) if name != "numpy"] or ["numpy"]
    for state in ("mean", "carry"):
        loops = mr.Loops(
            FOREVER, meta_batch=setting.tasks, epsilon=0.1, inner_steps=setting.steps,
            inner_batch=setting.batch, train_shots=10, state=state,
        )  # fmt: skip
        calls: dict[str, Callable[[], object]] = {}
        count = 5 if context.quick else 20
        for backend in backends:
            try:
                calls[backend] = many(setting, tasks, backend, loops, count)
            except Exception as error:
                yield {
                    "case": f"run {setting}, {state}", "variant": backend, "failed": True,
                    "note": sentence(error),
                }  # fmt: skip
        timings = in_turns(calls, min(context.rounds, 5), least=0.05)
        for backend, timing in timings.items():
            row = timed(f"run {setting}, {state}", backend, timing)
            for key in ("seconds", "low", "high"):
                row[key] /= count
            yield {**row, "per_second": 1 / row["seconds"]}
