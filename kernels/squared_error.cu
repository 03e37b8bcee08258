// Squared error with its gradient, CUDA. Derivation: squared_error.md. A block for each task.

extern "C" __global__ void squared_error(real *loss, real *dout, const real *out,
                                         const real *target, real scale, int size) {
    const long long task = task_of_block(), at = task * size;
    real mine = 0;
    for (int e = threadIdx.x; e < size; e += blockDim.x) {
        const real d = out[at + e] - target[at + e];
        mine += d * d;
        if (dout) dout[at + e] = 2 * scale * d;
    }
    if (!loss) return;
    const real sum = block_sum(mine);
    if (threadIdx.x == 0) loss[task] = scale * sum;
}

// The tangent of dout.
extern "C" __global__ void squared_error_r(real *rdout, const real *rout, real scale,
                                           long long size) {
    for (long long e = thread_number(); e < size; e += threads_in_row())
        rdout[e] = 2 * scale * rout[e];
}
