"""The Hessian-vector product on a GPU: what `Model.gradients_r` does, as a chain of kernels.

Derivation: kernels/loss_and_grad.md, section "Hessian times vector by tangents".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..devices.base import Array, Device
from ..layers import BatchNorm
from .graph import Network

if TYPE_CHECKING:
    from ..model import Model

Views = list[dict[str, Array]]  # the parameters in a vector, stage by stage


class Tangent(NamedTuple):
    """The tangents of a stage's arrays; rx and rdx are None where nothing before has parameters."""

    rx: Array
    rdx: Array
    ry: Array
    rdy: Array
    saved: dict[str, Array]


class Tangents(Network):
    """A network with the tangents of its arrays, from the first stage with parameters on.

    Batch normalisation and a ReLU behind it are two stages, each with an R pass of its own.
    """

    def __init__(self, model: Model, device: Device, T: int, B: int, dtype: np.dtype) -> None:
        super().__init__(model, device, T, B, dtype, fused=False)
        self.loss_r = getattr(self.kernels, f"{model.loss}_r")
        self.first = next(i for i, stage in enumerate(self.stages) if stage.slots)
        self.tangents: list[Tangent] = []
        rx: Array = None
        rdx: Array = None
        for stage in self.stages[self.first :]:
            shape = (T, B, *stage.in_shape)
            if rx is not None:
                rx, rdx = rx.reshape(shape), rdx.reshape(shape)
            elif isinstance(stage.layer, BatchNorm):  # it asks for both
                rx, rdx = device.upload(np.zeros(shape, dtype)), device.empty(shape, dtype)
            saved = stage.layer.saved_r(T, B, stage.in_shape, dtype) if rx is not None else {}
            ry, rdy = device.empty(stage.y.shape, dtype), device.empty(stage.y.shape, dtype)
            self.tangents.append(Tangent(rx, rdx, ry, rdy, self._like(saved)))
            rx, rdx = ry, rdy
        self.rout, self.rdout = rx.reshape(self.out.shape), rdx.reshape(self.out.shape)

    def products(
        self, loss: Array, parameters: Views, directions: Views, gradients: Views, products: Views,
        x: Array, y: Array,
    ) -> None:  # fmt: skip
        """Launch a forward and a backward pass, each with its tangents; writes the products H v.

        Of the gradients, only those of batch normalisation are written: its R pass reads them.
        """
        k = self.kernels
        out = self.forward(parameters, x)
        stages = list(zip(self.stages, parameters, directions, gradients, products, strict=True))
        passes = list(zip(stages[self.first :], self.tangents, strict=True))
        for (stage, p, rp, _, _), r in passes:
            values = stage.y, self.input_of(stage, x), p, stage.saved
            stage.layer.forward_r(k, r.ry, r.rx, rp, r.saved, *values)
        self.loss(loss, self.dout, out, y, self.scale)
        self.loss_r(self.rdout, self.rout, out, self.scale)
        for i, ((stage, p, rp, dp, rdp), r) in reversed(list(enumerate(passes))):
            if not isinstance(stage.layer, BatchNorm):
                dp = dict.fromkeys(dp)
            values = self.input_of(stage, x), stage.y, p, stage.saved
            tangents = r.rdy, r.rx, r.ry, rp, r.saved
            stage.layer.backward(k, stage.dx if i else None, dp, stage.dy, *values)
            stage.layer.backward_r(k, r.rdx, rdp, *tangents, dp, stage.dy, *values)
        self.device.join()
