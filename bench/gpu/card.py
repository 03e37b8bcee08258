"""The card: what it is, and what it can do at best, measured as it is found.

Bandwidth is a large copy from its memory to its memory, bytes read and bytes written; the matrix
rates are those of its maker's library, in single precision and with operands rounded to TF32.
Nothing about the card is changed.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

import minireptile as mr
from minireptile.reptile import adapt_tasks

from ..measure import Timing, in_turns
from ..peers_case import Built, Case
from ..results import Row, timed
from ..tables import TIME, Columns
from .part import Context

LEAST = 0.005  # seconds that a turn lasts at least
COLUMNS: Columns = {
    **TIME,
    "gbs": ("GB/s", "1e9 bytes read and written in a second"),
    "tflops": ("TFLOP/s", "1e12 floating-point operations in a second"),
}

CASE = "the card"
SIZES = {False: (2**32, 8192), True: (2**28, 4096)}  # bytes, beyond any cache; side of a matrix
QUERY = (
    "name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem",
    "clocks.max.mem", "temperature.gpu", "power.draw", "power.limit", "utilization.gpu",
)  # fmt: skip


@dataclass(frozen=True)
class Ceilings:
    """What bounds a kernel: bytes a second, and operations a second with and without TF32."""

    bandwidth: float
    rate: float
    tf32: float

    def seconds(self, flops: float, moved: float, tensor_cores: bool = False) -> float:
        """The least time for so many operations and so many bytes."""
        return max(flops / (self.tf32 if tensor_cores else self.rate), moved / self.bandwidth)


def cupy() -> Any:
    """CuPy, imported when it is first used."""
    return import_module("cupy")


def synchronize() -> None:
    """Wait until the GPU has done all it was given."""
    cupy().cuda.runtime.deviceSynchronize()


def gpu_turns(
    calls: dict[str, Callable[[], object]], rounds: int, least: float = LEAST,
    wait: Callable[[], object] = synchronize,
) -> dict[str, Timing]:  # fmt: skip
    """Time calls that queue work on a GPU: a launch returns before the work is done."""
    return in_turns(calls, rounds, least, wait)


def run(context: Context) -> Iterator[Row]:
    """Rows of what it is, and of each ceiling."""
    yield as_told("as found", described())
    for name, timing, numbers in measured(context.quick, context.rounds):
        yield timed(CASE, name, timing, **numbers)
    yield as_told("after that", smi())


def as_told(when: str, told: dict[str, Any]) -> Row:
    """A row of what the card says of itself, with all of it in the note."""
    parts = (f"{key.removeprefix('smi_')} {_short(value)}" for key, value in told.items())
    return {"case": CASE, "variant": when, **told, "note": ", ".join(parts)}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def described() -> dict[str, Any]:
    """Its name, its size, and the versions of what drives it."""
    runtime = cupy().cuda.runtime
    properties = runtime.getDeviceProperties(runtime.getDevice())
    name = properties["name"]
    return {
        "name": name.decode() if isinstance(name, bytes) else name,
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"],
        "memory_gb": 1e-9 * properties["totalGlobalMem"],
        "l2_mb": 1e-6 * properties["l2CacheSize"],
        "cuda_driver": runtime.driverGetVersion(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "cupy": cupy().__version__,
        **smi(),
    }


def smi() -> dict[str, str]:
    """What nvidia-smi says of the first card; {} without it."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return {}
    return read_smi(done.stdout) if done.returncode == 0 else {}


def read_smi(text: str) -> dict[str, str]:
    """The line that answers QUERY, by name."""
    values = [value.strip() for value in text.strip().split(",")]
    if len(values) != len(QUERY):
        return {}
    return {f"smi_{key}": value for key, value in zip(QUERY, values, strict=True)}


def ceilings(quick: bool = True) -> Ceilings:
    """Measure them; a second or two."""
    numbers = {name: found for name, _, found in measured(quick, rounds=3)}
    return Ceilings(
        1e9 * numbers["copy"]["gbs"],
        1e12 * numbers["matrix product"]["tflops"],
        1e12 * numbers["matrix product, TF32"]["tflops"],
    )


def measured(quick: bool, rounds: int) -> Iterator[tuple[str, Timing, dict[str, float]]]:
    """Each ceiling: its name, the timing of a call, and the rate."""
    cp = cupy()
    size, n = SIZES[quick]
    source = cp.arange(size // 4, dtype=cp.float32)
    target = cp.empty_like(source)
    timing = gpu_turns({"copy": partial(cp.copyto, target, source)}, rounds)["copy"]
    yield "copy", timing, {"gbs": 2e-9 * size / timing.median}
    del source, target
    a, b = cp.asarray(np.random.default_rng(0).random((2, n, n), np.float32) - np.float32(0.5))
    out = cp.empty_like(a)
    for name, kind in {"matrix product": "DEFAULT", "matrix product, TF32": "TF32"}.items():
        with compute_type(kind):
            call = partial(cp.matmul, a, b, out=out)
            timing = gpu_turns({name: call}, rounds, least=0.02)[name]
        yield name, timing, {"tflops": 2e-12 * n**3 / timing.median}
    cp.get_default_memory_pool().free_all_blocks()


class compute_type:
    """CuPy's matrix products in single precision in this way, "DEFAULT" or "TF32"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __enter__(self) -> None:
        linalg = import_module("cupy._core._routines_linalg")
        self.before = linalg.get_compute_type(np.float32)
        linalg.set_compute_type(np.float32, getattr(linalg, f"COMPUTE_TYPE_{self.kind}"))

    def __exit__(self, *error: object) -> None:
        linalg = import_module("cupy._core._routines_linalg")
        linalg.set_compute_type(np.float32, self.before)


def resident(case: Case, model: mr.Model) -> Built:
    """A meta-iteration with theta, mini-batches and the result as CuPy's arrays."""
    cp = cupy()
    theta, x, y = (cp.asarray(a) for a in (case.theta, case.x[0], case.y[0]))
    zero, policy = case.optimizer.init(case.theta), "carry" if case.carry else "mean"
    shared = {name: cp.asarray(array) for name, array in zero.items()}

    def run() -> Any:
        phi = cp.repeat(theta[None], x.shape[1], axis=0)
        adapt_tasks(model, phi, x, y, case.optimizer, shared, policy)
        after = theta + case.epsilon * (phi.mean(0) - theta)
        synchronize()
        return after

    return Built(run, cp.asnumpy)
