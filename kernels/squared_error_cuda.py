"""Squared error with its gradient, Numba CUDA: a block for each task. Derivation: squared_error.md."""  # noqa: E501

from .jit_cuda import BLOCK, block_sum, cuda, flat, launch, launch_each, outputs


@cuda.jit
def _squared_error(loss, dout, wanted, out, target, scale):
    shared = cuda.shared.array(BLOCK, out.dtype)
    t = cuda.blockIdx.x
    N = out.shape[2]
    total = out.dtype.type(0)
    for i in range(cuda.threadIdx.x, out.shape[1] * N, BLOCK):
        b, n = i // N, i % N
        d = out[t, b, n] - target[t, b, n]
        total += d * d
        if wanted[1]:
            dout[t, b, n] = (scale + scale) * d
    total = block_sum(shared, total)
    if cuda.threadIdx.x == 0 and wanted[0]:
        loss[t] = scale * total


def squared_error(loss, dout, out, target, scale):
    """Write the loss of each task and its gradient (squared_error.md, eq. 1 and 2).

    Parameters as in the NumPy reference.
    """
    T, scale = out.shape[0], out.dtype.type(scale)
    written = outputs((loss, dout), (flat(out), out))
    launch(_squared_error, (T,), (BLOCK,), *written, out, target, scale)


@cuda.jit
def _squared_error_r(rdout, rout, scale):
    i = cuda.grid(1)
    if i < rdout.size:
        rdout[i] = (scale + scale) * rout[i]


def squared_error_r(rdout, rout, out, scale):
    """Write rdout = 2 scale rout (squared_error.md, eq. 3)."""
    launch_each(_squared_error_r, rdout.size, flat(rdout), flat(rout), out.dtype.type(scale))
