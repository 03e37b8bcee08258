"""Every operation and version on a GPU, at the shapes of training, against what bounds it.

The rows of one case are timed in turns, after each version has given the numbers of NumPy's. A
call is repeated in a captured graph, so that what is timed is the GPU and not Python, over so many
sets of arrays that they do not stay in the second-level cache together: `seconds`. `cached` is the
time over one set, as in training, where a layer finds what the one before it left. `share` is the
least possible time, by the bandwidth and the arithmetic rate measured in the same process, over
`seconds`: for the operations really done, and as `nominal` for those of the formula (kernels.py).
It can exceed 1 where a set is so small that all of them fit the cache. `ratio` is to the fastest
way found in PyTorch.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile import backend
from minireptile.devices.base import through
from minireptile.kernels.operations import OPERATIONS

from ..calls import Call, Kernel, calls_of, check, outputs, refresh
from ..child import sentence
from ..kernels import networks
from ..measure import Mismatch, Timing
from ..results import Row, timed
from ..tables import TIME, Columns
from .card import Ceilings, ceilings, cupy, gpu_turns, synchronize
from .part import Context

COLUMNS: Columns = {
    "in_use": ("used", "the version that the backend computes with"),
    "seconds": TIME["seconds"],
    "cached_seconds": ("cached", "time over one set of arrays, which stays in the cache"),
    "gflops": ("GFLOP/s", "1e9 operations of the formula a second, taps on the padding included"),
    "gbs": ("GB/s", "1e9 bytes a second, every input read and every output written once"),
    "share": ("share", "the least time that the card allows for the work really done, over it"),
    "nominal": ("nominal", "the same for all operations of the formula"),
    "ratio": ("ratio", "time over that of PyTorch's fastest way"),
}

SUFFIX = {"cupy": "cupy", "numba-cuda": "cuda"}  # of the modules of each backend
MOST_SETS = 64
AGAIN = 8  # calls over one set in a graph
TF32 = "tf32"
# Of TF32, in lengths of the result: its operands have 10 bits behind the point, so that a product
# is off by 2^-10 of itself at most, and few products of a sum are off by as much.
LEAST_AGREEMENT = 5 * 2.0**-10


def run(context: Context) -> Iterator[Row]:
    """Rows of every call of one inner step of the paper's networks."""
    runtime = cupy().cuda.runtime
    properties = runtime.getDeviceProperties(runtime.getDevice())
    limit, cache = ceilings(), int(properties["l2CacheSize"])
    devices = {
        name: import_module(f"minireptile.{module}").device()
        for name, module in backend.DEVICES.items()
        if not backend.why_not(name)
    }
    for network, (model, optimizer, T, B) in networks(context.quick).items():
        for call in calls_of(model, optimizer, T, B):
            if context.left() < 5:
                yield {"case": f"{network} ...", "variant": "", "note": "no time was left"}
                return
            place = {"case": f"{network} {call.operation} {call.shapes}", "times": call.times}
            yield from measure(call, place, devices, limit, cache, context.rounds)


def measure(
    call: Call, place: Row, devices: dict[str, Any], limit: Ceilings, cache: int, rounds: int,
    wait: Callable[[], object] = synchronize, own: Mapping[str, Kernel] = {},
) -> Iterator[Row]:  # fmt: skip
    """Rows of one call; a version with wrong numbers has a row that says so. `own` are kernels for
    arrays of the devices beside the ladder's, by the names of their rows."""
    refresh(call)
    moved, work = call.traffic, call.flops
    count = sets(moved, cache)
    graphs: dict[str, tuple[Callable[[], object], int]] = {}
    about: dict[str, Row] = {}
    for name, device in devices.items():
        found = {f"{name} {v}": k for v, k in ladder(call.operation, name, device).items()}
        found |= {variant: (kernel, False) for variant, kernel in own.items()}
        for variant, (kernel, in_use) in found.items():
            version = variant.rpartition(" ")[2]
            try:
                agree(variant, call, through(device, kernel), version == TF32)
                graphs |= captured(variant, call, kernel, device, count)
            except Exception as error:
                # Calls share the arrays of one network: leave none of them half-written.
                outputs(call, getattr(backend.kernels("numpy"), call.operation))
                yield {**place, "variant": variant, "failed": True, "note": sentence(error)}
                continue
            done, every = (
                limit.seconds(flops, moved, tensor_cores=version == TF32)
                for flops in (call.done, work)
            )
            about[variant] = {"in_use": in_use, "least_seconds": done, "nominal_seconds": every}
    graphs |= libraries(call, count)
    timings = {
        name: per_call(timing, graphs[name][1])
        for name, timing in gpu_turns({n: g for n, (g, _) in graphs.items()}, rounds, 0.003, wait)
        .items()
    }  # fmt: skip
    yield from rows_of(place, timings, about, work, moved)


def rows_of(
    place: Row, timings: dict[str, Timing], about: dict[str, Row], work: int, moved: int
) -> Iterator[Row]:
    """A row for each variant, from its own timing, the one in the cache, and the library's."""
    library = [t.median for n, t in timings.items() if n.startswith("PyTorch")]
    for name, timing in timings.items():
        if name.endswith(CACHED):
            continue
        again = timings.get(name + CACHED)
        more = about.get(name, {})
        least, nominal = (more.get(f"{kind}_seconds") for kind in ("least", "nominal"))
        yield {
            **place,
            **timed(
                place["case"], name, timing, **more,
                cached_seconds=again.median if again else None,
                gflops=1e-9 * work / timing.median,
                gbs=1e-9 * moved / timing.median,
                share=least / timing.median if least else None,
                nominal=nominal / timing.median if nominal else None,
                ratio=timing.median / min(library) if library else None,
            ),
        }  # fmt: skip


def per_call(timing: Timing, calls: int) -> Timing:
    """The timing of one of several calls that were timed as one."""
    return Timing(timing.median / calls, timing.low / calls, timing.high / calls, timing.calls)


CACHED = ", cached"


def sets(moved: int, cache: int) -> int:
    """How many sets of arrays do not fit the cache together, nor nearly."""
    return max(1, min(MOST_SETS, -(-3 * cache // max(moved, 1))))


def ladder(operation: str, name: str, device: Any) -> dict[str, tuple[Kernel, bool]]:
    """The versions of an operation on a device: v1, v2, ..., tf32, and whether it is in use."""
    module = import_module(f"minireptile.kernels.{OPERATIONS[operation].module}_{SUFFIX[name]}")
    namespace = device.kernels()
    found = {
        match[1]: attribute
        for attribute in sorted(dir(module))
        if (match := re.fullmatch(rf"{operation}_(v\d+|{TF32})", attribute))
    } or {"v1": operation}
    used = getattr(module, operation)
    return {
        version: (
            # The namespace's functions launch where the device's memory is written.
            getattr(namespace, attribute, None) or getattr(module, attribute),
            getattr(module, attribute) is used,
        )
        for version, attribute in found.items()
    }


def agree(variant: str, call: Call, kernel: Kernel, rounded: bool) -> None:
    """Compare with NumPy's version in use; with operands rounded to TF32, by length alone.
    `Mismatch` if a number, or the length of the difference, is too far off."""
    reference = getattr(backend.kernels("numpy"), call.operation)
    if not rounded:
        check(call, {variant: kernel}, reference)
        return
    wanted, got = outputs(call, reference), outputs(call, kernel)
    for output, array in wanted.items():
        off = float(np.linalg.norm(got[output] - array) / np.linalg.norm(array))
        if not off <= LEAST_AGREEMENT:
            raise Mismatch(f"{variant}, {output} of {call.operation}: off by {off:.1e}")


def captured(
    variant: str, call: Call, kernel: Kernel, device: Any, count: int
) -> dict[str, tuple[Callable[[], object], int]]:
    """Graphs of the call over `count` sets of arrays, and over one, with the calls in each."""
    copies = [uploaded(call, device) for _ in range(count)]

    def every() -> None:
        for arguments in copies:
            kernel(*arguments)
            device.join()  # a kernel may have a second one run beside it

    def one() -> None:
        for _ in range(AGAIN):
            kernel(*copies[0])
            device.join()

    return {
        variant: (device.capture(every), count),
        variant + CACHED: (device.capture(one), AGAIN),
    }


def uploaded(call: Call, device: Any) -> list[Any]:
    """The call's arguments on a device; parameters are views of a vector there as well."""
    vectors: dict[int, Any] = {}

    def there(name: str, value: Any) -> Any:
        if name == "cols":
            return room(call, device)
        if not isinstance(value, np.ndarray):
            return value
        if value.flags.c_contiguous:
            return device.upload(value)
        vector: NDArray = value.base  # type: ignore[assignment]
        if id(vector) not in vectors:
            vectors[id(vector)] = device.upload(vector)
        start = (value.ctypes.data - vector.ctypes.data) // value.itemsize
        return device.view(vectors[id(vector)], start, value.shape[1:])

    return [there(name, value) for name, value in call.arguments.items()]


def room(call: Call, device: Any) -> Any:
    """For parts of a convolution's dw, as the walk gives it (engine/walk.py); None where the
    device's kernels want none."""
    scratch = getattr(device.kernels(), "scratch", None)
    if scratch is None or "dw" not in call.arguments:
        return None
    dw, dy = call.arguments["dw"], call.arguments["dy"]
    T, n = len(dw), dw.shape[-1]
    size = scratch(T, dw[0].size // n, n, dy[0].size // n)
    return device.empty((size,), dy.dtype) if size else None


def libraries(call: Call, count: int) -> dict[str, tuple[Callable[[], object], int]]:
    """The call by PyTorch's libraries, with and without TF32, captured likewise."""
    if find_spec("torch") is None or call.operation not in OPERATIONS:
        return {}
    from . import library as library

    found: dict[str, tuple[Callable[[], object], int]] = {}
    torch = library.torch
    if not torch.cuda.is_available():
        return {}
    torch.backends.cudnn.benchmark = True
    for suffix, rounded in {"": False, ", TF32": True}.items():
        if rounded and not call.operation.startswith(("conv2d", "dense")):
            continue
        torch.backends.cudnn.allow_tf32 = rounded
        torch.set_float32_matmul_precision("high" if rounded else "highest")
        copies = [library.variants(call, "cuda") for _ in range(min(count, 8))]
        for way in copies[0]:

            def every(way: str = way, copies: list = copies) -> list[object]:
                return [ways[way]() for ways in copies]

            found[f"PyTorch {way}{suffix}"] = (library.captured(every), len(copies))
    return found
