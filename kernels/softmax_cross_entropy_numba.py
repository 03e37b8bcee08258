"""Softmax cross-entropy on integer labels, with its gradient, Numba.

Derivation: softmax_cross_entropy.md.
"""

import math

from .jit_numba import inner, jit, part


@inner
def cross_entropies(losses, dlogits, logits, labels, scale):
    """Write the loss (n,) of each example and its gradient; dlogits, logits (n, N), labels (n,).

    losses or dlogits may be None.
    """
    N = logits.shape[1]
    for b in range(logits.shape[0]):
        largest = logits[b, 0]
        for n in range(N):
            if not logits[b, n] <= largest:  # NaN is not hidden
                largest = logits[b, n]
        total = logits.dtype.type(0)
        for n in range(N):
            e = math.exp(logits[b, n] - largest)
            total += e
            if dlogits is not None:
                dlogits[b, n] = e
        if dlogits is not None:
            for n in range(N):
                dlogits[b, n] *= scale / total
            dlogits[b, labels[b]] -= scale
        if losses is not None:
            losses[b] = (math.log(total) - (logits[b, labels[b]] - largest)) * scale


@jit
def softmax_cross_entropy(loss, dlogits, logits, labels, scale):
    """Write the loss of each task and its gradient (softmax_cross_entropy.md, eq. 3 and 5).

    Parameters as in the NumPy reference.
    """
    f = logits.dtype.type(scale)
    for t in range(logits.shape[0]):
        total = logits.dtype.type(0)
        for b in range(logits.shape[1]):
            e = slice(b, b + 1)
            to, gradient = part(loss, slice(t, t + 1)), part(dlogits, (t, e))
            cross_entropies(to, gradient, logits[t, e], labels[t, e], f)
            if loss is not None:
                total += loss[t]
        if loss is not None:
            loss[t] = total


@inner
def cross_entropies_r(rdlogits, rlogits, logits, scale):
    """Write the tangent of dlogits; all (n, N)."""
    N = logits.shape[1]
    for b in range(logits.shape[0]):
        largest = logits[b, 0]
        for n in range(N):
            if not logits[b, n] <= largest:  # NaN is not hidden
                largest = logits[b, n]
        total, mean = logits.dtype.type(0), logits.dtype.type(0)
        for n in range(N):
            rdlogits[b, n] = math.exp(logits[b, n] - largest)
            total += rdlogits[b, n]
            mean += rdlogits[b, n] * rlogits[b, n]
        mean /= total
        for n in range(N):
            rdlogits[b, n] *= (scale / total) * (rlogits[b, n] - mean)


@jit
def softmax_cross_entropy_r(rdlogits, rlogits, logits, scale):
    """Write rdlogits = scale p (rz - sum_k p_k rz_k) (softmax_cross_entropy.md, eq. 7).

    Parameters as in the NumPy reference.
    """
    f = logits.dtype.type(scale)
    for t in range(logits.shape[0]):
        cross_entropies_r(rdlogits[t], rlogits[t], logits[t], f)
