"""Where the time of an inner step goes: every stage of the compiled call, alone on one thread.

A stage is called again and again on the arrays of a real step, so that these are where they would
be: in the caches that have room for them. Of a product, the operations really done (products.py)
are held to the core's limit of multiply-adds (peak.py); of Winograd's, those of the convolution as
it is defined, of which they leave out more than half, so that they may pass the limit.
"""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

import minireptile as mr
from minireptile.backend import why_not

from .machine import limits
from .measure import in_turns
from .products import inside
from .results import Row, timed
from .settings import MINIIMAGENET, OMNIGLOT
from .tables import TIME, Columns

COLUMNS: Columns = {
    **TIME,
    "percent": ("%", "of the step, all stages together"),
    "gflops": ("GFLOP/s", "1e9 operations of the convolution a second, padding left out"),
    "share": ("share", "of the core's multiply-adds at best; Winograd's may be above 1"),
    "peak_gflops": ("peak", "1e9 operations a second, in a loop of multiply-adds on registers"),
}
PRODUCTS = {
    "forward_product": 1,
    "forward_winograd": 1,
    "backward_product": 2,
    "backward_winograd": 2,
}


def networks(quick: bool) -> dict[str, tuple[mr.Model, Any, int]]:
    """The paper's networks for images, an optimizer, and the examples in a mini-batch. A call takes
    a microsecond besides, which a stage of the sine network would be lost in."""
    chosen = (replace(OMNIGLOT, batch=4, filters=8),) if quick else (OMNIGLOT, MINIIMAGENET)
    return {s.network: (s.model("numba"), s.optimizer, s.batch) for s in chosen}


def stages(
    model: mr.Model, optimizer: Any, B: int
) -> Iterator[tuple[str, float, Callable[[], None]]]:
    """Each stage of an inner step: its name and layer, its operations, and a call of it for all
    images. What is called is the engine's own program, on the fields of its first thread."""
    from minireptile.engine.memory import numbers_of
    from minireptile.engine.program import instructions
    from minireptile.kernels import program as p

    rng = np.random.default_rng(0)
    x = rng.random((1, 1, B, *model.input_shape), np.float32)
    y = rng.integers(0, model.n_out, (1, 1, B))
    phi, numbers, loss = model.init(0)[None].copy(), numbers_of(optimizer), np.zeros(1, np.float32)
    state = optimizer.init(phi)
    mr.adapt(model, phi, x, y, optimizer, state)
    engine: Any = model.engine
    ((update, *_), ready), layout = next(iter(engine._readies.items())), engine._layout(B)
    code, fields, one = ready.program.code, ready.fields[0], ctypes.c_float(1)
    # These two were the call's alone; the other arrays must live as long as the stages are called.
    fields[p.NUMBERS], fields[p.LOSS] = numbers.ctypes.data, loss.ctypes.data
    fields[p.MEMBER], fields[p.MEMBERS] = 0, 1  # what threads would have parted, it does alone
    told, kept = fields.ctypes.data, (x, y, state, numbers, loss, ready, engine)
    cuts = [(s * B // layout.slices, (s + 1) * B // layout.slices) for s in range(layout.slices)]
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float)
    listed = zip(instructions(layout, update, True), code, strict=True)
    for at, ((name, row, _, once), line) in enumerate(listed):
        function, place = kind(int(line[p.STAGE])), code.ctypes.data + at * code.strides[0]

        def call(
            function: Any = function, place: int = place, parts: Any = cuts[:1] if once else cuts,
            kept: Any = kept,
        ) -> None:  # fmt: skip
            for s, (first, last) in enumerate(parts):
                fields[p.FIRST], fields[p.LAST], fields[p.SLICE] = first, last, s
                fields[p.GRAD] = fields[p.GRADS] + s * fields[p.PITCH]
                function(place, told, one)

        size = f" {row[p.H]} x {row[p.WIDTH]} x {row[p.C]}" if p.H in row else ""
        size += f" to {row[p.N]}" if name in PRODUCTS else ""
        yield f"{at + 1}: {name}{size}", flops(name, row, B, p), call


def flops(name: str, row: dict[int, int], B: int, p: Any) -> float:
    """Operations of a stage's products, taps on the padding left out; 0 of another stage."""
    if name not in PRODUCTS:
        return 0.0
    kernel, image = (row[p.KH], row[p.KW]), (row[p.H], row[p.WIDTH])
    out, stride, pad = (
        (row[p.H_OUT], row[p.W_OUT]), (row.get(p.SR, 1), row.get(p.SC, 1)),
        (row.get(p.PR, 0), row.get(p.PC, 0)),
    )  # fmt: skip
    times = PRODUCTS[name] - (name.startswith("backward") and row[p.DX] < 0)
    whole = 2.0 * B * prod(out) * prod(kernel) * row[p.C] * row[p.N]
    return times * whole * inside(kernel, image, out, stride, pad)


def run(rounds: int, quick: bool, threads: int | None = None) -> list[Row]:
    """Time the stages, each in every round; a stage is called by one thread, whatever `threads`
    is."""
    if reason := why_not("numba"):  # the other suites go on
        return [{"case": "an inner step", "variant": "numba", "note": reason}]
    peak = limits("float32", 1, quick).gflops
    rows: list[Row] = []
    for network, (model, optimizer, B) in networks(quick).items():
        found = {name: (work, call) for name, work, call in stages(model, optimizer, B)}
        least = 1e-3 if quick else 5e-3
        timings = in_turns({name: call for name, (_, call) in found.items()}, rounds, least)
        total = sum(timing.median for timing in timings.values())
        case = f"{network}, {B} examples"
        done = 0.0
        for name, timing in timings.items():
            work, percent = found[name][0], 100 * timing.median / total
            done += work
            rows.append(
                timed(case, name, timing, percent=percent, **_rate(work, timing.median, peak))
            )
        whole = {"case": case, "variant": "all stages", "seconds": total, "low": 0.0, "high": 0.0}
        rows.append({**whole, **_rate(done, total, peak), "peak_gflops": peak})
    return rows


def _rate(work: float, seconds: float, peak: float) -> Row:
    rate = 1e-9 * work / seconds
    return {"gflops": rate, "share": rate / peak} if work else {}
