"""A race on a GPU: functions for CuPy's arrays, or a CUDA source in the place of the project's.

A source NAME.cu has kernels named as in kernels/*.cu, and the launchers of kernels/*_cupy.py launch
them: conv2d_forward_v1 with a thread for each output, _v2 with a block for each tile, and so on.
The highest version that the source has is raced; what it lacks is the project's.

Timed are recorded graphs, as in gpu/kernels.py: they hold launches alone, so that nothing is kept
from before by a program that does not run.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from minireptile.devices.base import through
from minireptile.errors import InputError
from minireptile.kernels import launch_cupy
from minireptile.kernels.operations import OPERATIONS

from . import race_file
from .calls import Call, Kernel, alone
from .gpu.card import ceilings, cupy, synchronize
from .gpu.kernels import measure
from .race_check import check_kept, small
from .race_file import CUDA, Racer, watched
from .race_turns import IMPOSSIBLE, MARGIN, shared
from .results import Row


def load(name: str, path: Path, tell: Callable[[str], object]) -> Racer:
    """A file's kernels, for arrays of the host and of the GPU. `InputError` as race_file.load's."""
    racer = source(name, path, tell) if path.suffix == CUDA else race_file.load(name, path, tell)
    device = _device()
    copying = {operation: through(device, kernel) for operation, kernel in racer.kernels.items()}
    return replace(racer, kernels=copying, on_gpu=racer.kernels)


def source(name: str, path: Path, tell: Callable[[str], object]) -> Racer:
    """The kernels of a CUDA source. `InputError` if it does not compile, or none is the
    project's."""
    stem, found = str(path.with_suffix("")), {}
    calls = {call.operation: call for call in small(OPERATIONS, networks=4)}
    with watched(path, "while it is compiled", tell):
        for operation, call in calls.items():
            for launcher in _launchers(operation):
                names = {kernel for kernel in launched(launcher, call) if defined(stem, kernel)}
                if names:
                    found[operation] = _in_place(launcher, stem, names)
                    break
    if not found:
        raise InputError(
            f"{path.name} has no kernel of a name that is launched here: name it as in "
            "minireptile/kernels/*.cu, such as conv2d_forward_v1"
        )
    return Racer(name, path, found, tell)


def _launchers(operation: str) -> list[Kernel]:
    """Of an operation, the highest version first."""
    module = import_module(f"minireptile.kernels.{OPERATIONS[operation].module}_cupy")
    rungs = [int(m[1]) for n in dir(module) if (m := re.fullmatch(rf"{operation}_v(\d+)", n))]
    names = [f"{operation}_v{rung}" for rung in sorted(rungs, reverse=True)] or [operation]
    return [getattr(module, name) for name in names]


def launched(launcher: Kernel, call: Call) -> set[str]:
    """The names of the kernels that a launcher launches."""
    names: set[str] = set()

    class Noting:
        empty = staticmethod(launch_cupy.engine.empty)

        def launch(self, name: str, kernel: str, *others: Any) -> None:
            names.add(kernel)

    _with_engine(Noting(), launcher, tuple(call.arguments.values()))
    return names


def defined(stem: str, kernel: str) -> bool:
    """Whether STEM.cu has a kernel of that name, once it is compiled."""
    try:
        launch_cupy._function(stem, kernel, np.dtype(np.float32))
    except cupy().cuda.driver.CUDADriverError:
        return False
    return True


def _in_place(launcher: Kernel, stem: str, names: set[str]) -> Kernel:
    """The launcher, with STEM.cu's kernels of these names."""

    class Replacing:
        def __init__(self, engine: launch_cupy.Engine) -> None:
            self.engine, self.empty = engine, engine.empty

        def launch(self, name: str, kernel: str, *others: Any) -> None:
            self.engine.launch(stem if kernel in names else name, kernel, *others)

    return lambda *arguments: _with_engine(Replacing(launch_cupy.engine), launcher, arguments)


def _with_engine(engine: launch_cupy.Engine, launcher: Kernel, arguments: tuple) -> None:
    before, launch_cupy.engine = launch_cupy.engine, engine
    try:
        launcher(*arguments)
    finally:
        launch_cupy.engine = before


def timed_cases(
    racers: list[Racer], cases: Iterable[tuple[Call, Row]], rounds: int, quick: bool,
    wait: Callable[[], object] = synchronize,
) -> list[Row]:  # fmt: skip
    """The rows of a race on the GPU: its limits, then those of each case."""
    device, limit = _device(), ceilings(quick)
    runtime = cupy().cuda.runtime
    cache = int(runtime.getDeviceProperties(runtime.getDevice())["l2CacheSize"])
    rate = 1e-9 * limit.rate
    rows: list[Row] = [
        {"case": "limits of the machine", "variant": device.describe(), "threads": "a GPU's",
         "peak_gflops": rate, "blas_gflops": rate, "gbs_memory": 1e-9 * limit.bandwidth}
    ]  # fmt: skip
    for call, place in ((alone(call), place) for call, place in cases):
        own = {racer.name: racer.on_gpu[call.operation] for racer in racers}
        with racers[0].doing(f"{call.operation} {call.shapes}, taking turns"):
            found = list(measure(call, place, {"cupy": device}, limit, cache, rounds, wait, own))
        rows += rows_of(call, found, own)
        for racer in racers:
            check_kept(racer, call)
    return rows


def rows_of(call: Call, found: list[Row], own: Iterable[str]) -> list[Row]:
    """The rows of a case, the fastest first. `InputError` if a file's kernel has none."""
    for row in found:
        if row.get("failed") and row["variant"] in own:
            raise InputError(f"{row['variant']} cannot be timed: {row['note']}")
    timed = sorted((row for row in found if row.get("seconds")), key=lambda row: row["seconds"])
    rungs = [row for row in timed if row["variant"] not in own]
    most = max([1.0, *(row["share"] or 0.0 for row in rungs)])
    rows = []
    for row in timed:
        yours = row["variant"] in own
        beyond = yours and row["share"] > MARGIN * shared(call) * most
        ratio = row["seconds"] / min(rung["seconds"] for rung in rungs)
        about = {"operation": call.operation, "yours": yours, "note": IMPOSSIBLE * beyond}
        rows.append({**row, **about, "ratio": ratio})
    return rows


def _device() -> Any:
    return import_module("minireptile.devices.cupy").device()
