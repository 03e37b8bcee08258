"""The hyperbolic tangent on a GPU: launchers for tanh.cu. Derivation: tanh.md."""

from typing import Any

from .launch_cupy import flat


def tanh_forward(y: Any, x: Any) -> None:
    """Write y = tanh(x) (tanh.md, eq. 1)."""
    flat("tanh", "tanh_forward", y, y, x)


def tanh_backward(dx: Any, dy: Any, y: Any) -> None:
    """Write dx = dy (1 - y^2) (tanh.md, eq. 2)."""
    flat("tanh", "tanh_backward", dx, dx, dy, y)


def tanh_backward_r(rdx: Any, rdy: Any, ry: Any, dy: Any, y: Any) -> None:
    """Write rdx = rdy (1 - y^2) - 2 y ry dy (tanh.md, eq. 7)."""
    flat("tanh", "tanh_backward_r", rdx, rdx, rdy, ry, dy, y)
