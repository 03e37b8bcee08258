// The hyperbolic tangent, CUDA. Derivation: tanh.md.

extern "C" __global__ void tanh_forward(real *y, const real *x, long long size) {
    for (long long e = thread_number(); e < size; e += threads_in_row()) y[e] = tanh(x[e]);
}

extern "C" __global__ void tanh_backward(real *dx, const real *dy, const real *y, long long size) {
    for (long long e = thread_number(); e < size; e += threads_in_row())
        dx[e] = dy[e] * (1 - y[e] * y[e]);
}

extern "C" __global__ void tanh_backward_r(real *rdx, const real *rdy, const real *ry,
                                           const real *dy, const real *y, long long size) {
    for (long long e = thread_number(); e < size; e += threads_in_row())
        rdx[e] = rdy[e] * (1 - y[e] * y[e]) - 2 * y[e] * ry[e] * dy[e];
}
