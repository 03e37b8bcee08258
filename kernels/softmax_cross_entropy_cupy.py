"""Softmax cross-entropy on a GPU: launchers for softmax_cross_entropy.cu.

Derivation: softmax_cross_entropy.md.
"""

from typing import Any

from .launch_cupy import elements, launch

BLOCK = (64, 1, 1)


def softmax_cross_entropy(loss: Any, dlogits: Any, logits: Any, labels: Any, scale: float) -> None:
    """Write the loss of each task and its gradient (softmax_cross_entropy.md, eq. 3 and 5).

    Arguments as in softmax_cross_entropy_numpy.py, on the device; labels are int64.
    """
    T, B, N = logits.shape
    arguments = loss, dlogits, logits, labels, float(scale), B, N
    name = "softmax_cross_entropy"
    launch(name, name, logits.dtype, (1, 1, T), BLOCK, *arguments)


def softmax_cross_entropy_r(rdlogits: Any, rlogits: Any, logits: Any, scale: float) -> None:
    """Write rdlogits = scale p (rz - sum_k p_k rz_k) (softmax_cross_entropy.md, eq. 7)."""
    _, B, N = logits.shape
    arguments = rdlogits, rlogits, logits, float(scale), B, N
    elements("softmax_cross_entropy", "softmax_cross_entropy_r", logits, B, *arguments)
