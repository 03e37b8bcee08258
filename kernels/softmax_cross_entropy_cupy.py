"""Softmax cross-entropy on a GPU: the launcher for softmax_cross_entropy.cu.

Derivation: softmax_cross_entropy.md.
"""

from __future__ import annotations

from typing import Any

from .launch_cupy import launch

BLOCK = (64, 1, 1)


def softmax_cross_entropy(loss: Any, dlogits: Any, logits: Any, labels: Any, scale: float) -> None:
    """Write the loss of each task and its gradient (softmax_cross_entropy.md, eq. 3 and 5).

    Arguments as in softmax_cross_entropy_numpy.py, on the device; labels are int64.
    """
    T, B, N = logits.shape
    arguments = loss, dlogits, logits, labels, float(scale), B, N
    name = "softmax_cross_entropy"
    launch(name, name, logits.dtype, (1, 1, T), BLOCK, *arguments)
