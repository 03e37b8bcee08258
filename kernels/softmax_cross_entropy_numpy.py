"""Softmax cross-entropy on integer labels, with its gradient, NumPy.

Derivation: softmax_cross_entropy.md.
"""

import numpy as np
from numpy.typing import NDArray


def softmax_cross_entropy(
    loss: NDArray | None, dlogits: NDArray | None, logits: NDArray, labels: NDArray, scale: float
) -> None:
    """Write the loss of each task and its gradient (softmax_cross_entropy.md, eq. 3 and 5).

        loss[t] = scale sum_b (log sum_n exp z[t, b, n] - z[t, b, label[t, b]])
        dlogits = scale (softmax(z) - onehot(label))

    Parameters
    ----------
    loss : (T,), written
    dlogits : (T, B, N), written
    logits : (T, B, N), z above
    labels : (T, B), integers in [0, N)
    scale : 1 / B for the mean over the mini-batch, 1 for the sum
    """
    z = logits - logits.real.max(axis=-1, keepdims=True)  # the same loss, and exp cannot overflow
    p = np.exp(z, out=dlogits)
    total = p.sum(axis=-1, keepdims=True)
    at_label = labels[..., None]
    if loss is not None:
        loss[...] = (np.log(total) - np.take_along_axis(z, at_label, -1)).sum(axis=(1, 2)) * scale
    if dlogits is not None:
        dlogits /= total
        np.put_along_axis(dlogits, at_label, np.take_along_axis(dlogits, at_label, -1) - 1, -1)
        dlogits *= scale


def softmax_cross_entropy_r(
    rdlogits: NDArray, rlogits: NDArray, logits: NDArray, scale: float
) -> None:
    """Write the tangent of dlogits; labels do not matter (softmax_cross_entropy.md, eq. 7).

        rdlogits = scale p (rz - sum_k p_k rz_k),   p = softmax(z)

    Parameters
    ----------
    rdlogits : (T, B, N), written
    rlogits, logits : (T, B, N), rz and z above
    scale : as in `softmax_cross_entropy`
    """
    p = np.exp(logits - logits.real.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    np.subtract(rlogits, (p * rlogits).sum(axis=-1, keepdims=True), out=rdlogits)
    rdlogits *= scale * p
