"""Softmax cross-entropy on integer labels, with its gradient, Numba CUDA.

A block for each task, and in it a thread for each example. Derivation: softmax_cross_entropy.md.
"""

import math

from .jit_cuda import BLOCK, block_sum, cuda, flat, launch, launch_each, outputs


@cuda.jit
def _softmax_cross_entropy(loss, dlogits, wanted, logits, labels, scale):
    shared = cuda.shared.array(BLOCK, logits.dtype)
    t = cuda.blockIdx.x
    B, N = logits.shape[1], logits.shape[2]
    zero = logits.dtype.type(0)
    losses = zero
    for b in range(cuda.threadIdx.x, B, BLOCK):
        largest = logits[t, b, 0]
        for n in range(N):
            if not logits[t, b, n] <= largest:  # NaN is not hidden
                largest = logits[t, b, n]
        total = zero
        for n in range(N):
            e = math.exp(logits[t, b, n] - largest)  # at most 1
            total += e
            if wanted[1]:
                dlogits[t, b, n] = e
        label = labels[t, b]
        losses += math.log(total) - (logits[t, b, label] - largest)
        share = scale / total
        if wanted[1]:
            for n in range(N):
                d = dlogits[t, b, n] * share
                dlogits[t, b, n] = d - scale if n == label else d
    losses = block_sum(shared, losses)
    if cuda.threadIdx.x == 0 and wanted[0]:
        loss[t] = scale * losses


def softmax_cross_entropy(loss, dlogits, logits, labels, scale):
    """Write the loss of each task and its gradient (softmax_cross_entropy.md, eq. 3 and 5).

    Parameters as in the NumPy reference; labels are int32.
    """
    T, scale = logits.shape[0], logits.dtype.type(scale)
    written = outputs((loss, dlogits), (flat(logits), logits))
    launch(_softmax_cross_entropy, (T,), (BLOCK,), *written, logits, labels, scale)


@cuda.jit
def _softmax_cross_entropy_r(rdlogits, rlogits, logits, scale):
    i = cuda.grid(1)
    _, B, N = logits.shape
    if i >= logits.shape[0] * B:
        return
    t, b = i // B, i % B
    largest = logits[t, b, 0]
    for n in range(N):
        if not logits[t, b, n] <= largest:  # NaN is not hidden
            largest = logits[t, b, n]
    total, mean = logits.dtype.type(0), logits.dtype.type(0)
    for n in range(N):
        e = math.exp(logits[t, b, n] - largest)
        rdlogits[t, b, n] = e
        total += e
        mean += e * rlogits[t, b, n]
    share, mean = scale / total, mean / total
    for n in range(N):
        rdlogits[t, b, n] *= share * (rlogits[t, b, n] - mean)


def softmax_cross_entropy_r(rdlogits, rlogits, logits, scale):
    """Write rdlogits = scale p (rz - sum_k p_k rz_k) (softmax_cross_entropy.md, eq. 7).

    A thread for each example; parameters as in the NumPy reference.
    """
    examples, scale = logits.shape[0] * logits.shape[1], logits.dtype.type(scale)
    launch_each(_softmax_cross_entropy_r, examples, rdlogits, rlogits, logits, scale)
