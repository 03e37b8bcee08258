"""Who computes lots of tasks beside this process: a map, as `lots.in_lots` takes it.

Processes of this machine by the standard library, other machines by Dask or MPI. Each map computes
lots again where a worker is lost, or says in a sentence why it cannot.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import InputError
from ..settings import Settings
from .base import Pool, launched

HOW = "a number of processes, dask://HOST:PORT, or mpi"


@contextmanager
def workers(spec: str | None = None, scheduler: Path | None = None) -> Iterator[Pool | None]:
    """A map over the workers that are named, which ends with the context; None if none are.

    Under MPI, every rank but the first stays in here until the program ends, and ends with it.
    """
    _, ranks = launched()
    if ranks > 1 and spec != "mpi":
        raise InputError(
            f"mpiexec has started {ranks} of this process, each of which would do all of it: add "
            "--workers mpi, in place of other workers, or start one"
        )
    if spec is None and scheduler is None:
        yield None
        return
    pool = _named(spec, scheduler)
    try:
        yield pool
    finally:
        pool.close()


def _named(spec: str | None, scheduler: Path | None) -> Pool:
    text = spec or ""
    if scheduler is not None or text.startswith("dask://"):
        from .dask import Cluster

        if scheduler is not None and spec is not None:
            raise InputError("--workers and --scheduler both name workers: choose one")
        return Cluster(text.replace("dask://", "tcp://"), scheduler)
    if text == "mpi":
        from .mpi import Ranks

        return Ranks()
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--workers must be {HOW}, not {text!r}")
    from .processes import Processes

    return Processes(int(text))


def check(s: Settings, pool: Pool | None, training: bool = True) -> str:
    """`InputError` if workers cannot compute this run; "", or what to tell of those that are too
    many."""
    if pool is None:
        return ""
    if s.backend == "numba-cuda":
        raise InputError(
            "workers compute with numpy, numba, or cupy on a GPU each, and not with numba-cuda: "
            "choose --backend cupy, or leave out --workers"
        )
    if s.backend == "cupy" and max(getattr(pool, "threads", {}).values(), default=1) > 1:
        raise InputError(
            "a worker of Dask with several threads has one GPU, which computes one thing at a "
            "time: start dask worker with --nthreads 1, and CUDA_VISIBLE_DEVICES for its card"
        )
    if not training:
        return ""
    if s.state == "carry" and s.algorithm != "joint":
        raise InputError(
            "--state carry, which the presets have, hands the optimizer's state from one task to "
            "the next, so that one process does it all: train with --state mean, or leave out "
            "--workers"
        )
    tasks = s.meta_batch * (s.inner_steps if s.algorithm == "joint" else 1)
    if pool.count <= tasks:
        return ""
    return f"an iteration has {tasks} tasks: of {pool.count} workers, {tasks} are of use in it"
