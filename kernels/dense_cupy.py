"""The dense layer on a GPU: a convolution of one pixel by one tap (conv2d.cu).

Derivation: dense.md. Arguments as in dense_numpy.py, with arrays on the device.
Versions are those of the convolution.
"""

from typing import Any

from . import conv2d_cupy

ONE, NOTHING = (1, 1), (0, 0)  # a step, and no padding


def _pixels(a: Any) -> Any:
    """(T, B, n) as (T, B, 1, 1, n): images of one pixel; None of none."""
    return None if a is None else a[:, :, None, None]


def _tap(w: Any) -> Any:
    """(T, n_in, n_out) as (T, 1, 1, n_in, n_out): the weights of one tap; None of none."""
    return None if w is None else w[:, None, None]


def _of_one_pixel(version: str) -> tuple[Any, Any]:
    """The forward and the backward launcher of a version."""
    conv_forward = getattr(conv2d_cupy, f"conv2d_forward_{version}")
    conv_backward = getattr(conv2d_cupy, f"conv2d_backward_{version}")

    def forward(y: Any, x: Any, w: Any, b: Any) -> None:
        conv_forward(_pixels(y), None, _pixels(x), _tap(w), b, ONE, NOTHING)

    def backward(dx: Any, dw: Any, db: Any, dy: Any, x: Any, w: Any) -> None:
        written = _pixels(dx), _tap(dw), db
        conv_backward(*written, None, _pixels(dy), _pixels(x), _tap(w), ONE, NOTHING)

    return forward, backward


dense_forward_v1, dense_backward_v1 = _of_one_pixel("v1")
dense_forward_v2, dense_backward_v2 = _of_one_pixel("v2")
dense_forward_v3, dense_backward_v3 = _of_one_pixel("v3")

dense_forward = dense_forward_v3
dense_backward = dense_backward_v3
