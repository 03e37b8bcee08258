"""The walk through the layers of a plan, forward and backward, and with tangents.

There is this one only. An engine of the host makes it, call by call; a GPU's records the launches
of it as a graph. The chain rule that it follows is derived in kernels/loss_and_grad.md.
"""

from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..backend import Kernels
from ..devices.base import Array, Device
from ..layers import Stage
from ..plan import Plan, Step

Views = list[dict[str, Array]]  # the parameters in a vector, step by step


class Walk:
    """A plan's arrays on a device for mini-batches (T, B), and the walk that fills them.

    `out` and `dout` are the last outputs and their gradient, (T, B, n_out).
    """

    def __init__(
        self, plan: Plan, device: Device, kernels: Kernels, T: int, B: int, dtype: np.dtype
    ) -> None:
        self.plan, self.device, self.k = plan, device, kernels
        self.T, self.B, self.dtype = T, B, dtype
        self.scale = plan.scale(B)
        self.stages: list[Stage] = []
        x: Array = None
        dx: Array = None
        for step in plan.steps:
            if x is not None:  # the same numbers, in the shape that this step takes
                x, dx = (a.reshape(T, B, *step.in_shape) for a in (x, dx))
            y, dy = (device.empty((T, B, *step.out_shape), dtype) for _ in range(2))
            saved = self._saved(step)
            self.stages.append(Stage(x, y, dx, dy, {}, {}, saved))
            x, dx = y, dy
        self.out, self.dout = (a.reshape(T, B, plan.n_out) for a in (x, dx))

    def _saved(self, step: Step) -> dict[str, Array]:
        """What a layer saves, on the device."""
        host = step.layer.saved(self.T, self.B, step.in_shape, self.dtype)
        if self.device.name == "host":
            return host
        cols = {"cols": self._parts_of_dw(step)} if host.pop("cols", None) is not None else {}
        return self._like(host) | cols

    def _like(self, arrays: dict[str, NDArray]) -> dict[str, Array]:
        """Arrays of the device in the shapes and types of the host's."""
        return {name: self.device.empty(a.shape, a.dtype) for name, a in arrays.items()}

    def _parts_of_dw(self, step: Step) -> Array:
        """Room for parts of a convolution's dw, where a GPU's kernels want it in place of cols."""
        room = getattr(self.k, "scratch", None)
        rows, columns, n = step.out_shape
        K = prod(step.slots["weight"].param.shape[:3])
        size = room(self.T, K, n, self.B * rows * columns) if room else 0
        return self.device.empty((size,), self.dtype) if size else None

    @cached_property
    def tangents(self) -> list[Stage]:
        """The tangents of the stages, from the first one with parameters on: nothing before it
        depends on phi."""
        found: list[Stage] = []
        x: Array = None
        dx: Array = None
        for step, a in zip(self.plan.steps[self.plan.first :], self.stages[self.plan.first :],
                           strict=True):  # fmt: skip
            shape = self.T, self.B, *step.in_shape
            if x is not None:
                x, dx = x.reshape(shape), dx.reshape(shape)
            elif "x" in step.layer.reads_r:
                x = self.device.upload(np.zeros(shape, self.dtype))
            saved = step.layer.saved_r(self.T, self.B, step.in_shape, self.dtype)
            y, dy = (self.device.empty(a.y.shape, self.dtype) for _ in range(2))
            found.append(Stage(x, y, dx, dy, {}, {}, self._like(saved)))
            x, dx = y, dy
        return found

    def views(self, vectors: Array) -> Views:
        """The parameters in vectors (T, P), step by step."""
        return [
            {n: self.device.view(vectors, s.start, s.param.shape) for n, s in step.slots.items()}
            for step in self.plan.steps
        ]

    def outputs(self, p: Views, x: Array) -> Array:
        """The forward pass on x (T, B, ...); returns `out`."""
        for step, a in zip(self.plan.steps, self._with(x, p), strict=True):
            step.layer.forward(self.k, a)
        return self.out

    def gradients(self, loss: Array, p: Views, dp: Views, x: Array, y: Array) -> None:
        """Forward and backward: writes loss (T,) and the parameters' gradients dp."""
        stages = self._with(x, p, dp)
        for step, a in zip(self.plan.steps, stages, strict=True):
            step.layer.forward(self.k, a)
        getattr(self.k, self.plan.loss)(loss, self.dout, self.out, y, self.scale)
        for step, a in zip(reversed(self.plan.steps), reversed(stages), strict=True):
            if a.dx is not None or a.dp:
                step.layer.backward(self.k, a)
        self.device.join()

    def products(
        self, loss: Array, p: Views, v: Views, dp: Views, hv: Views, x: Array, y: Array
    ) -> None:
        """Forward and backward, each with the tangents along v: writes the products H v.

        Of the gradients dp, those that a layer's R pass reads are written; hence the others
        cost nothing.
        """
        plan, first = self.plan, self.plan.first
        wanted = [
            views if "dp" in step.layer.reads_r else dict.fromkeys(views)
            for step, views in zip(plan.steps, dp, strict=True)
        ]
        stages = self._with(x, p, wanted)
        # What lies before the first parameters has no gradient that anybody reads.
        stages[first] = stages[first]._replace(dx=None)
        r = [
            t._replace(p=t_p, dp=t_dp)
            for t, t_p, t_dp in zip(self.tangents, v[first:], hv[first:], strict=True)
        ]
        passes = list(zip(plan.steps[first:], stages[first:], r, strict=True))
        for step, a in zip(plan.steps[:first], stages[:first], strict=True):
            step.layer.forward(self.k, a)
        for step, a, r_a in passes:
            step.layer.forward(self.k, a)
            step.layer.forward_r(self.k, a, r_a)
        getattr(self.k, plan.loss)(loss, self.dout, self.out, y, self.scale)
        rout, rdout = (b.reshape(self.out.shape) for b in (r[-1].y, r[-1].dy))
        getattr(self.k, f"{plan.loss}_r")(rdout, rout, self.out, self.scale)
        for step, a, r_a in reversed(passes):
            step.layer.backward(self.k, a)
            step.layer.backward_r(self.k, a, r_a)
        self.device.join()

    def _with(self, x: Array, p: Views, dp: Views | None = None) -> list[Stage]:
        """The stages of a call: x is the data, p and dp are the parameters and their gradients."""
        stages = [
            a._replace(p=p_a, dp=dp_a)
            for a, p_a, dp_a in zip(self.stages, p, dp or [{}] * len(p), strict=True)
        ]
        shape = self.T, self.B, *self.plan.steps[0].in_shape
        stages[0] = stages[0]._replace(x=x.reshape(shape))
        return stages
