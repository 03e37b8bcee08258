// The dense layer and its gradients, CUDA. Derivation: dense.md.
//
// y = x w + bias, dx = dy w', dw = x' dy, for each task; blockIdx.z says which.
// Version 1: a thread for each number. 2 and 3: product.cuh.

extern "C" __global__ void dense_forward_v1(real *y, const real *x, const real *w, long long w_task,
                                            const real *bias, long long bias_task, int B, int n_in,
                                            int n_out) {
    const long long task = task_of_block(), size = (long long)B * n_out;
    x += task * B * n_in, y += task * size, w += task * w_task;
    for (long long e = thread_number(); e < size; e += threads_in_row()) {
        const int n = e % n_out, b = e / n_out;
        real sum = bias ? bias[task * bias_task + n] : 0;
        for (int i = 0; i < n_in; ++i)
            sum += x[(long long)b * n_in + i] * w[(long long)i * n_out + n];
        y[e] = sum;
    }
}

extern "C" __global__ void dense_dw_v1(real *dw, long long dw_task, const real *dy, const real *x,
                                       int B, int n_in, int n_out) {
    const long long task = task_of_block(), size = (long long)n_in * n_out;
    x += task * B * n_in, dy += task * B * n_out, dw += task * dw_task;
    for (long long e = thread_number(); e < size; e += threads_in_row()) {
        const int n = e % n_out, i = e / n_out;
        real sum = 0;
        for (int b = 0; b < B; ++b)
            sum += x[(long long)b * n_in + i] * dy[(long long)b * n_out + n];
        dw[e] = sum;
    }
}

extern "C" __global__ void dense_dx_v1(real *dx, const real *dy, const real *w, long long w_task,
                                       int B, int n_in, int n_out) {
    const long long task = task_of_block(), size = (long long)B * n_in;
    dx += task * size, dy += task * B * n_out, w += task * w_task;
    for (long long e = thread_number(); e < size; e += threads_in_row()) {
        const int i = e % n_in, b = e / n_in;
        real sum = 0;
        for (int n = 0; n < n_out; ++n)
            sum += dy[(long long)b * n_out + n] * w[(long long)i * n_out + n];
        dx[e] = sum;
    }
}

#define DENSE(VERSION, PRODUCT)                                                                    \
    extern "C" __global__ void PRODUCT_BOUNDS dense_forward_##VERSION(                             \
        real *y, const real *x, const real *w, long long w_task, const real *bias,                 \
        long long bias_task, int B, int n_in, int n_out) {                                         \
        const long long task = task_of_block();                                                    \
        const Left inputs = {x + task * B * n_in, B, n_in};                                        \
        const Right weights = {w + task * w_task, n_in, n_out};                                    \
        const Into write = {y + task * B * n_out, bias ? bias + task * bias_task : 0, n_out};      \
        PRODUCT(inputs, weights, write, B, n_out, n_in);                                           \
    }                                                                                              \
                                                                                                   \
    extern "C" __global__ void PRODUCT_BOUNDS dense_dw_##VERSION(                                  \
        real *dw, long long dw_task, const real *dy, const real *x, int B, int n_in, int n_out) {  \
        const long long task = task_of_block();                                                    \
        const LeftTransposed inputs = {{x + task * B * n_in, B, n_in}};                            \
        const Right gradients = {dy + task * B * n_out, B, n_out};                                 \
        const Into write = {dw + task * dw_task, 0, n_out};                                        \
        PRODUCT(inputs, gradients, write, n_in, n_out, B);                                         \
    }                                                                                              \
                                                                                                   \
    extern "C" __global__ void PRODUCT_BOUNDS dense_dx_##VERSION(                                  \
        real *dx, const real *dy, const real *w, long long w_task, int B, int n_in, int n_out) {   \
        const long long task = task_of_block();                                                    \
        const Left gradients = {dy + task * B * n_out, B, n_out};                                  \
        const RightTransposed weights = {w + task * w_task, n_in, n_out};                          \
        const Into write = {dx + task * B * n_in, 0, n_in};                                        \
        PRODUCT(gradients, weights, write, B, n_in, n_out);                                        \
    }

DENSE(v2, tiled_product)
DENSE(v3, split_product<Scalar>)
