"""A task of characters, for a person and for Reptile."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tasks.glyphs import glyphs
from ..answer import Figure, call, figure
from ..drawing import FIRST_UNSEEN, UNSEEN
from ..values import count
from .draw import initialisation

STEPS, RATE = (
    10,
    0.005,
)  # of more than the five classes that it was trained on: see minireptile/head


@call(way=count(2, 20), seed=count(0, 10**6))
def guess(way: int, seed: int) -> dict[str, Any]:
    """An example of each class, (way, 28, 28), a query (28, 28) by another hand, the class that it
    is of, and Reptile's probabilities (way,)."""
    rng = np.random.default_rng(seed)
    classes = FIRST_UNSEEN + rng.choice(UNSEEN, way, replace=False)
    truth = int(rng.integers(way))
    drawn = np.stack([glyphs(1, 2, first=int(c)).images[..., 0] for c in classes])
    support, query = np.float32(drawn[:, 0]), np.float32(drawn[truth, 1:])
    adapted = initialisation("glyphs", STEPS, RATE, way).adapt(support, np.arange(way))
    return {
        "support": support,
        "query": query[0],
        "truth": truth,
        "probabilities": adapted.probabilities(query)[0],
        "seed": seed,
    }


figure(
    Figure(
        "guess",
        ("guess",),
        {"way": 5, "seed": 1},
        f"""
from dataclasses import replace

import numpy as np
import minireptile as mr
from minireptile.tasks.glyphs import glyphs

rng = np.random.default_rng({{seed}})
classes = {FIRST_UNSEEN} + rng.choice({UNSEEN}, {{way}}, replace=False)  # never trained on
truth = rng.integers({{way}})
drawn = np.stack([glyphs(1, 2, first=int(c)).images for c in classes])  # by two hands
trained = mr.pretrained("glyphs")
trained = replace(trained, steps={STEPS}, batch={{way}},
                  optimizer=replace(trained.optimizer, lr={RATE}))
adapted = trained.adapt(drawn[:, 0], np.arange({{way}}))
probabilities = adapted.probabilities(drawn[truth, 1:])[0]
""",
        {"probabilities": "probabilities"},
        own={"guess": -1, "score": {"5": [0, 0, 0], "20": [0, 0, 0]}},
    )
)
