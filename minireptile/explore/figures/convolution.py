"""A convolution cell by cell, forward and backward (kernels/conv2d.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.conv2d_numpy import conv2d_backward_v1, conv2d_forward_v1
from ...kernels.window import output_size, taps
from ..answer import Figure, call, figure
from ..values import Check, count, listed, one_of

SIZE, KERNEL = 6, 3


def square(size: int) -> Check:
    """Rows of small whole numbers, which a person can multiply in the head."""
    return listed(listed(count(-9, 9), size, size), size, size)


@call(
    x=square(SIZE), w=square(KERNEL), dy=square(SIZE), stride=count(1, 2),
    padding=one_of("valid", "same"),
)  # fmt: skip
def convolution(
    x: list[Any], w: list[Any], dy: list[Any], stride: int, padding: str
) -> dict[str, Any]:
    """The output y, the gradients dx and dw for the upper left of dy that y has room for, and every
    product that they are made of: (n, 3), which cell of y, of w and of x belong together."""
    n, pad = output_size(SIZE, KERNEL, stride, padding)
    image = np.array(x, float).reshape(1, 1, SIZE, SIZE, 1)
    kernel = np.array(w, float).reshape(1, KERNEL, KERNEL, 1, 1)
    upstream = np.array(dy, float)[:n, :n].reshape(1, 1, n, n, 1)
    y, dx, dw = np.empty_like(upstream), np.empty_like(image), np.empty_like(kernel)
    window = (stride, stride), (pad, pad)
    conv2d_forward_v1(y, None, image, kernel, None, *window)
    conv2d_backward_v1(dx, dw, None, None, upstream, image, kernel, *window)
    outputs, inputs = np.arange(n * n).reshape(y.shape), np.arange(SIZE**2).reshape(image.shape)
    terms = [
        np.stack(np.broadcast_arrays(outputs[o].ravel(), i * KERNEL + j, inputs[r].ravel()), -1)
        for i, j, o, r in taps((KERNEL, KERNEL), (SIZE, SIZE), (n, n), *window)
    ]
    return {
        "y": y[0, 0, ..., 0], "dx": dx[0, 0, ..., 0], "dw": dw[0, ..., 0, 0],
        "terms": np.concatenate(terms), "pad": pad,
    }  # fmt: skip


figure(
    Figure(
        "convolution",
        ("convolution",),
        {
            "x": [
                [0, 0, 0, 1, 2, 2],
                [0, 0, 1, 2, 2, 2],
                [0, 1, 2, 2, 2, 1],
                [1, 2, 2, 2, 1, 0],
                [2, 2, 2, 1, 0, 0],
                [2, 2, 1, 0, 0, 0],
            ],
            "w": [[-1, 0, 1], [-2, 3, 2], [-1, 0, 1]],
            "dy": [
                [1, 0, -1, 0, 1, 0],
                [0, 2, 0, 1, 0, 1],
                [-1, 0, 1, 0, 2, 0],
                [0, 1, 0, -2, 0, 1],
                [1, 0, 2, 0, -1, 0],
                [0, 1, 0, 1, 0, 1],
            ],
            "stride": 1,
            "padding": "valid",
        },
        """
import numpy as np
import minireptile as mr
from minireptile.kernels.conv2d_numpy import conv2d_backward_v1, conv2d_forward_v1
from minireptile.kernels.window import output_size

x, w, dy = (np.array(a, float) for a in ({x},
    {w}, {dy}))
n, pad = output_size(6, 3, {stride}, {padding})
assert (n, n, 1) == mr.Conv2D(1, 3, {stride}, {padding}).out_shape((6, 6, 1))
x, dy = x[None, None, ..., None], dy[None, None, :n, :n, None]  # (T, B, H, W, C)
w = w[None, ..., None, None]                                    # (T, kh, kw, in, out)
y, dx, dw = (np.empty_like(a) for a in (dy, x, w))
window = ({stride}, {stride}), (pad, pad)
conv2d_forward_v1(y, None, x, w, None, *window)
conv2d_backward_v1(dx, dw, None, None, dy, x, w, *window)
y, dx, dw = y[0, 0, ..., 0], dx[0, 0, ..., 0], dw[0, ..., 0, 0]
""",
        {"y": "y", "dx": "dx", "dw": "dw"},
        {"picked": ["y", 1, 2]},
    )
)
