"""A small trained model that several tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from minireptile import Adam, Trained
from tests.small import random_phi, tiny_model


def small_trained(**changes: Any) -> Trained:
    """`tiny_model`, 3-way on 6 x 6 images, with parameters and a state as if from training."""
    model = tiny_model(**changes.pop("model", {}))
    rng = np.random.default_rng(3)
    theta = (0.5 * random_phi(model, rng)).astype(model.dtype)
    v = (rng.uniform(1e-3, 1e-2, model.size) ** 2).astype(model.dtype)
    state = {"v": v, "t": np.array(700)}
    numbers = {"steps": 6, "batch": 4, "seed": 1, "card": {"dataset": "noise", "way": 3}}
    return Trained(model, theta, state, Adam(0.01, beta1=0.0), **{**numbers, **changes})
