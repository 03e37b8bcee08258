"""A plan computed layer by layer on the host: with NumPy's kernels, the reference."""

import numpy as np
from numpy.typing import NDArray

from ..backend import Kernels
from ..devices.host import HOST
from ..plan import Plan
from .base import Engine
from .walk import Walk

KEPT = 8  # training and evaluation take turns with a few sizes


class Walked(Engine):
    """The walk, with the arrays of the last mini-batch sizes that it saw."""

    def __init__(self, plan: Plan, kernels: Kernels) -> None:
        self.plan, self.kernels = plan, kernels
        self._walks: dict[tuple, Walk] = {}

    def outputs(self, phi: NDArray, x: NDArray) -> NDArray:
        walk = self._walk(phi, x)
        return walk.outputs(walk.views(phi), x).copy()

    def gradients(self, phi: NDArray, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        walk = self._walk(phi, x)
        loss, grad = np.empty(len(phi), phi.dtype), np.empty((len(phi), self.plan.size), phi.dtype)
        walk.gradients(loss, walk.views(phi), walk.views(grad), x, y)
        return loss, grad

    def products(self, phi: NDArray, x: NDArray, y: NDArray, v: NDArray) -> NDArray:
        # As a GPU's kernels called from the host want them: vectors that are nobody's part.
        phi, v = np.array(phi), np.array(v)
        walk, hv = self._walk(phi, x), np.empty_like(phi)
        if self.plan.size:
            loss, grad = np.empty(len(phi), phi.dtype), np.empty_like(phi)
            p, p_v, dp, p_hv = (walk.views(a) for a in (phi, v, grad, hv))
            walk.products(loss, p, p_v, dp, p_hv, x, y)
        return hv

    def _walk(self, phi: NDArray, x: NDArray) -> Walk:
        key = (*x.shape[:2], phi.dtype)
        if key not in self._walks:
            if len(self._walks) == KEPT:
                self._walks.pop(next(iter(self._walks)))
            self._walks[key] = Walk(self.plan, HOST, self.kernels, *key)
        return self._walks[key]
