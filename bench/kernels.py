"""Every operation, backend and version, on the shapes of training and in a sweep.

    python -m bench kernels [--only OPERATION] [--threads N]

The rows of one case are timed in turns, after each has given the numbers of NumPy's version in use.
`share` is the least possible time over the time measured: for the operations really done, taps on
a convolution's padding left out, at the rate of a core that does nothing but multiply and add, or
for the bytes, at the rate of the smallest cache that may hold them (machine.py), whichever is more.
`nominal` is the same with all taps counted, and may exceed 1.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import minireptile as mr
from minireptile.backend import kernels, versions
from minireptile.errors import InputError
from minireptile.kernels.operations import MODULES, OPERATIONS
from minireptile.optim import OPTIMIZERS, Optimizer
from minireptile.runs.console import each
from minireptile.testing.layers import examples

from .calls import Call, Kernel, calls_of, check
from .machine import Limits, blas_threads, limits, usable
from .measure import Timing, in_turns
from .results import Row, timed
from .roofline import SWEPT, draw_ladders, draw_roofline, draw_sweep
from .settings import MINIIMAGENET, OMNIGLOT, QUICK, SINE
from .tables import TIME, Columns

COLUMNS: Columns = {
    "in_use": ("used", "the version that the backend computes with"),
    **TIME,
    "gflops": ("GFLOP/s", "1e9 operations of the formula a second, taps on the padding included"),
    "gbs": ("GB/s", "1e9 bytes a second, every input read and every output written once"),
    "intensity": ("FLOP/B", "operations really done for each of these bytes"),
    "share": ("share", "the least time that the machine's limits allow for these, over the time"),
    "nominal": ("nominal", "the same for all operations of the formula"),
    "ratio": ("ratio", "time over that of the version that NumPy computes with"),
}

ADAM = OMNIGLOT.optimizer

# Around the second block of the Omniglot network, one size at a time.
BASE = {"tasks": 5, "images": 10, "channels": 64, "size": 14}
SWEEP = {
    "tasks": (1, 2, 3, 4, 5, 8, 16),
    "images": (1, 5, 10, 20, 50),
    "channels": (8, 16, 32, 64, 128),
    "size": (4, 7, 14, 28, 42),
}


def networks(quick: bool) -> dict[str, tuple[mr.Model, Optimizer, int, int]]:
    """The paper's networks with the tasks T and the mini-batch B of training."""
    small = replace(MINIIMAGENET, tasks=2, batch=5, size=20, filters=8)
    chosen = (QUICK, small, SINE) if quick else (OMNIGLOT, MINIIMAGENET, SINE)
    return {s.network: (s.model(), s.optimizer, s.tasks, s.batch) for s in chosen}


def cases(quick: bool, wanted: Collection[str] = OPERATIONS) -> Iterator[tuple[Call, Row]]:
    """Every case of these operations, training's and the sweep's: the call, and the entries of its
    rows that say where it belongs."""
    yield from of_training(quick, wanted)
    for axis, values in ({} if quick else SWEEP).items():
        for value in values:
            at = {**BASE, axis: value}
            for call in calls_of(_block(at), ADAM, at["tasks"], at["images"], wanted):
                name = f"{axis}={value} {call.operation} {call.shapes}"
                yield call, {"case": name, "group": f"sweep {axis}", "value": value}


def of_training(quick: bool, wanted: Collection[str]) -> Iterator[tuple[Call, Row]]:
    """The cases of the networks, and of operations that no network has."""
    missing = {*wanted}
    for network, (model, optimizer, T, B) in networks(quick).items():
        for call in calls_of(model, optimizer, T, B, wanted):
            missing.discard(call.operation)
            name = f"{network} {call.operation} {call.shapes}"
            yield call, {"case": name, "group": network, "times": call.times}
    size = {**BASE, "channels": 4, "size": 6} if quick else BASE
    for model, optimizer in others(networks(quick).values(), size) if missing else ():
        for call in calls_of(model, optimizer, size["tasks"], size["images"], missing):
            name = f"others {call.operation} {call.shapes}"
            yield call, {"case": name, "group": "others", "times": call.times}


def others(
    networks: Collection[tuple[mr.Model, Optimizer, int, int]], at: dict[str, int]
) -> Iterator[tuple[mr.Model, Optimizer]]:
    """Each layer and each optimizer of the library that the networks do without, around a block's
    images. The batch norm ahead makes the layer's dx wanted."""
    met: set[type] = {type(o) for _, o, _, _ in networks}
    met |= {type(step.layer) for model, _, _, _ in networks for step in model.plan.steps}
    for layer, shape in examples():
        if type(layer) not in met:
            met.add(type(layer))
            image = (at["size"], at["size"], at["channels"])[-len(shape) :]
            yield mr.Model([mr.BatchNorm(), layer, mr.Flatten(), mr.Dense(5)], image), ADAM
    for kind in OPTIMIZERS.values():
        if kind not in met:
            yield mr.Model([mr.Dense(5)], (at["channels"],)), kind(lr=0.01)  # type: ignore[call-arg]


def _block(at: dict[str, int]) -> mr.Model:
    """One block with everything in it. The batch norm ahead makes the convolution's dx wanted."""
    layers = [
        mr.BatchNorm(), mr.Conv2D(at["channels"], 3, stride=2), mr.Tanh(), mr.MaxPool(2),
        mr.ReLU(), mr.Flatten(), mr.Dense(5),
    ]  # fmt: skip
    return mr.Model(layers, (at["size"], at["size"], at["channels"]))


def run(rounds: int, quick: bool, number: int | None = None, only: str = "") -> list[Row]:
    """Check and time all versions, or those of `only`, an operation ("conv2d_forward") or a module
    ("conv2d"). BLAS has one thread unless another `number` is given, as compiled kernels have, so
    that kernels are compared and not ways to share work out. `Mismatch` if one gives other
    numbers."""
    wanted = chosen(only)
    number = number or 1
    limit = limits("float32", number, quick)
    rows = [roof(limit)]
    with blas_threads(number):
        for call, place in each(cases(quick, wanted), "kernels"):
            rows += measure(call, place, rounds, limit, least_turn(quick))
    return rows


def roof(limit: Limits) -> Row:
    """The row of the machine's limits."""
    bandwidths = {f"gbs_{level}": gbs for level, gbs in limit.gbs.items()}
    peaks = {"peak_gflops": limit.gflops, "blas_gflops": limit.blas}
    names = {"case": "limits of the machine", "variant": f"threads: {limit.threads}"}
    return {**names, "threads": limit.threads, **peaks, **bandwidths}


def least_turn(quick: bool) -> float:
    """Seconds of a turn, at least."""
    return 0.002 if quick else 0.02


def chosen(only: str) -> set[str]:
    """The operations that a name stands for."""
    found = set(MODULES.get(only, ())) or ({only} & {*OPERATIONS} if only else {*OPERATIONS})
    if not found:
        choices = ", ".join([*MODULES, *sorted(OPERATIONS)])
        raise InputError(f"there is no operation {only!r}: choose one of {choices}")
    return found


def ladder(operation: str) -> dict[str, tuple[str, str, Kernel]]:
    """Every backend and version that works here, by the names of their rows."""
    return {
        f"{backend} {version}": (backend, version, kernel)
        for backend in usable()
        for version, kernel in versions(operation, backend).items()
    }


def work(call: Call, timing: Timing, limit: Limits) -> Row:
    """What a call of that time has done, and its share of the machine's limits."""
    flops, done, moved = call.flops, call.done, call.traffic
    gflops = 1e-9 * flops / timing.median
    return {
        "operation": call.operation, "threads": limit.threads,
        "flops": flops, "flops_done": done, "bytes": moved,
        "gflops": gflops, "gbs": 1e-9 * moved / timing.median,
        "intensity": done / moved, "level": limit.level(moved),
        "share": done / flops * gflops / limit.at(done / moved, moved),
        "nominal": gflops / limit.at(flops / moved, moved),
    }  # fmt: skip


def measure(call: Call, place: Row, rounds: int, limit: Limits, least: float) -> list[Row]:
    """Rows of one case: a row for every backend and version; `place` says where they belong."""
    operation, arguments = call.operation, tuple(call.arguments.values())
    rungs = ladder(operation)
    variants = {variant: kernel for variant, (_, _, kernel) in rungs.items()}
    check(call, variants, getattr(kernels("numpy"), operation))
    timings = in_turns(
        {v: partial(kernel, *arguments) for v, kernel in variants.items()}, rounds, least
    )
    in_use = {
        variant
        for variant, (backend, _, kernel) in rungs.items()
        if kernel is getattr(kernels(backend), operation)
    }
    numpy = timings[next(v for v in in_use if rungs[v][0] == "numpy")]
    rows = []
    for variant, timing in timings.items():
        backend, version, _ = rungs[variant]
        other = backend != "numpy" and variant in in_use
        loses = other and timing.median > 1.05 * numpy.median and timing.low > numpy.high
        numbers = {
            "backend": backend, "version": version, "in_use": variant in in_use,
            **work(call, timing, limit), "ratio": timing.median / numpy.median,
            "note": "slower than NumPy" if loses else "",
        }  # fmt: skip
        rows.append({**place, **timed(place["case"], variant, timing, **numbers)})
    return rows


def summary(rows: list[Row]) -> str:
    """How often the version in use of another backend loses against NumPy's."""
    others = [row for row in rows if row.get("in_use") and row["backend"] != "numpy"]
    lost = [row for row in others if row["note"]]
    return (
        f"{sentence(rows[0])}\n"
        f"Slower than NumPy's version in use: {len(lost)} of {len(others)} cases."
    )


def sentence(limits: Row) -> str:
    """The machine's limits in a line."""
    bandwidths = [f"{limits[k]:.0f} GB/s {k[4:]}" for k in limits if k.startswith("gbs_")]
    return (
        f"Limits of the machine ({limits['variant']}): {limits['peak_gflops']:.0f} GFLOP/s, "
        f"{', '.join(bandwidths)}; BLAS reaches {limits['blas_gflops']:.0f} GFLOP/s."
    )


def draw(rows: list[Row], folder: Path, where: str) -> list[Path]:
    """Draw the rooflines, the ladders and the sweep, if there was one; returns the paths."""
    paths = [
        draw_roofline(rows, folder / "kernels-roofline.png", where),
        draw_ladders(rows, folder / "kernels-ladders.png", where),
    ]
    if any("value" in row and row["operation"] in SWEPT for row in rows):
        paths.append(draw_sweep(rows, folder / "kernels-sweep.png", where))
    return paths
