"""Softmax cross-entropy on integer labels, with its gradient, Numba.

Derivation: softmax_cross_entropy.md.
"""

from __future__ import annotations

import math

from .jit_numba import jit


@jit
def example_cross_entropy(dlogits, logits, label, scale):
    """The loss of one example, and its gradient (N,)."""
    largest = logits[0]
    for n in range(logits.shape[0]):
        if not logits[n] <= largest:  # NaN is not hidden
            largest = logits[n]
    total = logits.dtype.type(0)
    for n in range(logits.shape[0]):
        dlogits[n] = math.exp(logits[n] - largest)
        total += dlogits[n]
    for n in range(logits.shape[0]):
        dlogits[n] *= scale / total
    dlogits[label] -= scale
    return (math.log(total) - (logits[label] - largest)) * scale


@jit
def softmax_cross_entropy(loss, dlogits, logits, labels, scale):
    """Write the loss of each task and its gradient (softmax_cross_entropy.md, eq. 3 and 5).

    Parameters as in the NumPy reference.
    """
    number = logits.dtype.type
    for t in range(logits.shape[0]):
        loss[t] = 0
        for b in range(logits.shape[1]):
            loss[t] += example_cross_entropy(
                dlogits[t, b], logits[t, b], labels[t, b], number(scale)
            )
