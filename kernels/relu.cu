// The rectified linear unit, CUDA. Derivation: relu.md. NaN stays NaN.

extern "C" __global__ void relu_forward(real *y, const real *x, long long size) {
    for (long long e = thread_number(); e < size; e += threads_in_row())
        y[e] = x[e] <= 0 ? 0 : x[e];
}

extern "C" __global__ void relu_backward(real *dx, const real *dy, const real *x, long long size) {
    for (long long e = thread_number(); e < size; e += threads_in_row())
        dx[e] = x[e] <= 0 ? 0 : dy[e];
}
