"""The layers: records that know shapes and parameters, and which kernels to call.

A layer holds no state. It answers four questions: the shape it makes of its input, its parameters,
the arrays its forward kernel leaves for the backward one, and how its kernels are called on the
arrays of a `Stage`. The last two it may answer again for the tangents of a Hessian-vector product.
Shapes here leave out the leading (T, B); arrays have them.
"""

from .base import Layer, Param, Shape, Stage, has_r
from .batchnorm import BatchNorm, BatchNormReLU
from .conv2d import Conv2D
from .dense import Dense
from .flatten import Flatten
from .maxpool import MaxPool
from .relu import ReLU
from .tanh import Tanh

LAYERS: tuple[type[Layer], ...] = (Conv2D, Dense, BatchNorm, ReLU, Tanh, MaxPool, Flatten)

__all__ = [
    "LAYERS", "BatchNorm", "BatchNormReLU", "Conv2D", "Dense", "Flatten", "Layer", "MaxPool",
    "Param", "ReLU", "Shape", "Stage", "Tanh", "has_r",
]  # fmt: skip
