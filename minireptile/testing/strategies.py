"""Hypothesis strategies for layers, models and tasks; they shrink towards small and plain.

They reach for what breaks kernels: sizes 1 and 2, odd and even, a kernel larger than the image, a
stride larger than the kernel, one task, one example, both precisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..checks import shown
from ..errors import InputError, require
from ..kernels.window import Pair, output_size
from ..layers import LAYERS, BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool, ReLU, Tanh
from ..model import Model
from ..plan import LOSSES, REDUCTIONS
from ..tasks.images import FewShot, from_arrays

st = require("hypothesis.strategies", "dev")

seeds = st.integers(0, 2**32 - 1)
few = st.integers(1, 3)  # T, B or channels


def dtypes():
    """float64 or float32."""
    return st.sampled_from((np.dtype(np.float64), np.dtype(np.float32)))


@st.composite
def shapes(draw, min_dims: int = 1, max_dims: int = 4, largest: int = 5):
    """Shapes of arrays, every axis at least 1."""
    return tuple(draw(st.lists(st.integers(1, largest), min_size=min_dims, max_size=max_dims)))


@st.composite
def arrays_like(draw, example: NDArray | tuple[int, ...], dtype: DTypeLike | None = None):
    """Standard normal arrays of an array's shape and type, or of a shape (then float64).

    Values come from one drawn seed: they do not shrink, and never hold infinities or subnormals.
    """
    shape = example if isinstance(example, tuple) else np.shape(example)
    kind = dtype or (np.float64 if isinstance(example, tuple) else np.asarray(example).dtype)
    return np.random.default_rng(draw(seeds)).standard_normal(shape).astype(kind)


@dataclass(frozen=True)
class Geometry:
    """A window over an image."""

    in_size: Pair
    kernel: Pair
    stride: Pair
    padding: str

    @property
    def out_size(self) -> Pair:
        """Rows and columns of the output."""
        return self._axis(0)[0], self._axis(1)[0]

    @property
    def pad(self) -> Pair:
        """Padding before the first row and column."""
        return self._axis(0)[1], self._axis(1)[1]

    def _axis(self, a: int) -> Pair:
        return output_size(self.in_size[a], self.kernel[a], self.stride[a], self.padding)


@st.composite
def geometries(draw, largest: int = 6):
    """Images down to 1 x 1, strides above the kernel, and kernels above the image with "same"."""
    padding = draw(st.sampled_from(("same", "valid")))
    sizes = [draw(st.integers(1, largest)) for _ in range(2)]
    kernels = [draw(st.integers(1, n if padding == "valid" else n + 2)) for n in sizes]
    strides = [draw(st.integers(1, 4)) for _ in range(2)]
    return Geometry(
        (sizes[0], sizes[1]), (kernels[0], kernels[1]), (strides[0], strides[1]), padding
    )


@st.composite
def convolutions(draw, largest: int = 6):
    """Any geometry, or every other time one that has kernels of its own: 3 x 3, stride 1."""
    if draw(st.booleans()):
        return draw(geometries(largest))
    padding = draw(st.sampled_from(("same", "valid")))
    least = 1 if padding == "same" else 3
    sizes = [draw(st.integers(least, max(largest, 3))) for _ in range(2)]
    return Geometry((sizes[0], sizes[1]), (3, 3), (1, 1), padding)


@st.composite
def layers(draw, kinds: type[Layer] | Sequence[type[Layer]] = LAYERS):
    """A layer of one of the kinds, and the shape of one example, both small."""
    every = (kinds,) if isinstance(kinds, type) else tuple(kinds)
    if not every or not set(every) <= set(LAYERS):
        raise InputError(
            f"kinds must be of {', '.join(k.__name__ for k in LAYERS)}, not {shown(kinds)}"
        )
    kind = draw(st.sampled_from(every))
    n, bias = draw(few), draw(st.booleans())
    if kind is Conv2D:
        g = draw(geometries(4))
        return Conv2D(n, g.kernel, g.stride, g.padding, bias), (*g.in_size, draw(few))
    if "size" in kind.__dataclass_fields__:  # a pooling
        g = draw(geometries(5))
        return kind(g.kernel, g.stride, g.padding), (*g.in_size, n)
    if kind is Dense:
        return Dense(n, bias), (draw(st.integers(1, 5)),)
    shape = draw(shapes(1, 3, 3))
    if kind is BatchNorm:
        return BatchNorm(draw(st.sampled_from((1e-3, 1.0)))), shape
    return kind(), shape


@st.composite
def models(draw, dtype: DTypeLike = "float64"):
    """Small models: a few layers over images or rows, ended by a dense layer, either loss."""
    if draw(st.booleans()):
        (first, shape), body = draw(layers((Conv2D, MaxPool))), []
        more = draw(st.lists(st.sampled_from((BatchNorm(), ReLU(), Tanh())), max_size=2))
        body = [first, *more, Flatten()]
    else:
        shape = (draw(st.integers(1, 4)),)
        body = draw(st.lists(st.sampled_from((Dense(3), BatchNorm(), Tanh())), max_size=3))
    loss, reduction = draw(st.sampled_from(LOSSES)), draw(st.sampled_from(REDUCTIONS))
    return Model([*body, Dense(draw(few))], shape, loss, reduction, dtype=dtype)


@st.composite
def tasks(draw, size: int = 4):
    """Few-shot tasks over drawn images of noise: 2 to 4 way, classes of uneven size."""
    way, extra = draw(st.integers(2, 4)), draw(st.integers(0, 2))
    counts = draw(st.lists(st.integers(2, 5), min_size=way + extra, max_size=way + extra))
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(draw(seeds)).integers(0, 256, (len(labels), size, size))
    return FewShot(from_arrays(pixels.astype(np.uint8), labels), way)
