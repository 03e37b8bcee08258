"""The paper's other settings on a GPU: 20-way Omniglot and Mini-ImageNet, as far as time allows.

Where Mini-ImageNet is not there, random images of its size show the speed, and no accuracy.
"""

import time
from collections.abc import Iterator

import numpy as np

import minireptile as mr
from minireptile.backend import fastest
from minireptile.runs.presets import PRESETS

from ..child import sentence
from ..results import Row
from ..runs import FOREVER, images, many
from ..settings import MINIIMAGENET
from .part import Context
from .train import COLUMNS as COLUMNS
from .train import data_of, trained

RUNS = (
    ("omniglot-20way-1shot", "omniglot-20way-5shot"),
    ("miniimagenet-5way-1shot", "miniimagenet-5way-5shot"),
)
LEAST = 20.0  # seconds that a run is worth


def run(context: Context) -> Iterator[Row]:
    """Rows of every setting; each gets an equal part of the time that is left."""
    for i, presets in enumerate(RUNS):
        seconds = context.left() / (len(RUNS) - i)
        if seconds < (0 if context.quick else LEAST):
            yield {"case": presets[0], "variant": "", "note": "skipped: no time was left"}
            continue
        try:
            if "miniimagenet" in presets[0] and not data_of("miniimagenet"):
                yield pace(presets[0], context.quick)
            else:
                yield from trained(presets, context, seconds)
        except Exception as error:
            yield {"case": presets[0], "variant": "", "failed": True, "note": sentence(error)}


def pace(preset: str, quick: bool) -> Row:
    """How fast outer iterations go on random images."""
    s, count = PRESETS[preset], 2 if quick else 50
    tasks = images(8 if quick else 64, 40, (84, 84, 3), np.uint8)
    loops = mr.Loops(
        FOREVER, meta_batch=s["meta_batch"], inner_steps=s["inner_steps"],
        inner_batch=s["inner_batch"], train_shots=s["train_shots"], state="mean",
    )  # fmt: skip
    backend = fastest()
    call = many(MINIIMAGENET, tasks, backend, loops, count)
    start = time.perf_counter()
    call()
    seconds = (time.perf_counter() - start) / count
    times = {"seconds": seconds, "low": seconds, "high": seconds}
    note = "no miniimagenet in MINIREPTILE_DATA: random images, an iteration"
    return {"case": preset, "variant": backend, **times, "per_second": 1 / seconds, "note": note}
