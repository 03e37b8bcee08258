// The 2-D convolution and its gradients, CUDA. Derivation: conv2d.md, section 5, and product.md.
//
// y[b, o, p, n] = bias[n] + sum_{i, j, c} x[b, o s + i - pad, p s + j - pad, c] w[i, j, c, n]
//
// Every array here is one task's, of less than 2^31 numbers. blockIdx.z says which task it is, and
// for dx which phase.
// Version 1: a thread for each number. 2: tiles in shared memory. 3: sums in registers, split over
// the warps of a block. tf32: version 3 on tensor cores, with operands rounded to 10 bits.

// ------------------------------------------------------------------ version 1: the definition

extern "C" __global__ void conv2d_forward_v1(real *y, const real *x, const real *w,
                                             long long w_task, const real *bias,
                                             long long bias_task, Window g) {
    const long long task = task_of_block(), size = (long long)g.B * g.H_out * g.W_out * g.N;
    x += task * g.B * g.H * g.W * g.C, y += task * size, w += task * w_task;
    if (bias) bias += task * bias_task;
    for (long long e = thread_number(); e < size; e += threads_in_row()) {
        const int n = e % g.N, p = e / g.N % g.W_out, o = e / g.N / g.W_out % g.H_out;
        const int b = e / g.N / g.W_out / g.H_out;
        real sum = bias ? bias[n] : 0;
        for (int i = 0; i < g.rows; ++i)
            for (int j = 0; j < g.columns; ++j) {
                const int r = o * g.stride_r + i - g.pad_r, q = p * g.stride_c + j - g.pad_c;
                if (r < 0 || r >= g.H || q < 0 || q >= g.W) continue;
                const real *pixel = x + (((long long)b * g.H + r) * g.W + q) * g.C;
                const real *tap = w + (long long)(i * g.columns + j) * g.C * g.N + n;
                for (int c = 0; c < g.C; ++c) sum += pixel[c] * tap[(long long)c * g.N];
            }
        y[e] = sum;
    }
}

extern "C" __global__ void conv2d_dw_v1(real *dw, long long dw_task, const real *dy, const real *x,
                                        Window g) {
    const long long task = task_of_block(), size = (long long)g.rows * g.columns * g.C * g.N;
    x += task * g.B * g.H * g.W * g.C, dy += task * g.B * g.H_out * g.W_out * g.N;
    dw += task * dw_task;
    for (long long e = thread_number(); e < size; e += threads_in_row()) {
        const int n = e % g.N, c = e / g.N % g.C, j = e / g.N / g.C % g.columns;
        const int i = e / g.N / g.C / g.columns;
        real sum = 0;
        for (int b = 0; b < g.B; ++b)
            for (int o = 0; o < g.H_out; ++o)
                for (int p = 0; p < g.W_out; ++p) {
                    const int r = o * g.stride_r + i - g.pad_r, q = p * g.stride_c + j - g.pad_c;
                    if (r < 0 || r >= g.H || q < 0 || q >= g.W) continue;
                    sum += x[(((long long)b * g.H + r) * g.W + q) * g.C + c] *
                           dy[(((long long)b * g.H_out + o) * g.W_out + p) * g.N + n];
                }
        dw[e] = sum;
    }
}

extern "C" __global__ void conv2d_dx_v1(real *dx, const real *dy, const real *w, long long w_task,
                                        Window g) {
    const long long task = task_of_block(), size = (long long)g.B * g.H * g.W * g.C;
    dx += task * size, dy += task * g.B * g.H_out * g.W_out * g.N, w += task * w_task;
    for (long long e = thread_number(); e < size; e += threads_in_row()) {
        const int c = e % g.C, q = e / g.C % g.W, r = e / g.C / g.W % g.H, b = e / g.C / g.W / g.H;
        real sum = 0;
        for (int i = 0; i < g.rows; ++i)
            for (int j = 0; j < g.columns; ++j) {
                const int up = r + g.pad_r - i, left = q + g.pad_c - j;
                if (up < 0 || left < 0 || up % g.stride_r || left % g.stride_c) continue;
                const int o = up / g.stride_r, p = left / g.stride_c;
                if (o >= g.H_out || p >= g.W_out) continue;
                const real *from = dy + (((long long)b * g.H_out + o) * g.W_out + p) * g.N;
                const real *tap = w + ((long long)(i * g.columns + j) * g.C + c) * g.N;
                for (int n = 0; n < g.N; ++n) sum += from[n] * tap[n];
            }
        dx[e] = sum;
    }
}

// ----------------------------------------------------------- the operands of the three products

struct Pixel { int image, r, q; };  // a place in an image, which has a number or an address
struct Tap { int r, q, c; };        // an offset from it, and a channel
const int NOWHERE = -(1 << 30);     // a row that no image has

// cols(m, k) of conv2d.md, eq. 6, read in place: the input under tap k = (i, j, c) of the window at
// output m = (b, o, p).
struct Patches {
    const real *x;
    Window g;
    typedef Pixel Row;
    typedef Tap Column;

    __device__ Row row(int m) const {
        const int p = m % g.W_out, o = m / g.W_out % g.H_out, b = m / g.W_out / g.H_out;
        const int r = b < g.B ? o * g.stride_r - g.pad_r : NOWHERE;
        return {b * g.H * g.W * g.C, r, p * g.stride_c - g.pad_c};
    }
    __device__ Column column(int k) const {
        const int c = k % g.C, j = k / g.C % g.columns, i = k / g.C / g.columns;
        return {i < g.rows ? i : NOWHERE, j, c};
    }
    __device__ real at(const Row &m, const Column &k) const {
        const int r = m.r + k.r, q = m.q + k.q;
        if (r < 0 || r >= g.H || q < 0 || q >= g.W) return 0;
        return x[m.image + (r * g.W + q) * g.C + k.c];
    }
};

// The same with m and k exchanged (conv2d.md, eq. 7), for the m of one slice.
struct PatchesTransposed {
    Patches patches;
    Slice slice;
    typedef Tap Row;
    typedef Pixel Column;
    __device__ Row row(int k) const { return patches.column(k); }
    __device__ Column column(int m) const {
        return m < slice.size ? patches.row(slice.first + m) : Pixel{0, NOWHERE, 0};
    }
    __device__ real at(const Row &k, const Column &m) const { return patches.at(m, k); }
};

// Along one axis, the positions n that are equal to `first` modulo the stride, and the taps that
// reach them: the same for all of them.
struct AxisPhase {
    int first, size;      // of the positions
    int tap, taps;        // the first tap, and how many
    int output;           // the output that the first tap leads to from the first position

    __device__ AxisPhase(int first, int n, int kernel, int stride, int pad) : first(first) {
        size = (n - first + stride - 1) / stride;
        tap = (first + pad) % stride;
        taps = tap < kernel ? (kernel - tap + stride - 1) / stride : 0;
        output = (first + pad - tap) / stride;
    }
};

// One phase of the input (conv2d.md, eq. 10).
struct Phase {
    Window g;
    AxisPhase r, c;

    __device__ Phase(Window g, int number)
        : g(g),
          r(number / g.stride_c, g.H, g.rows, g.stride_r, g.pad_r),
          c(number % g.stride_c, g.W, g.columns, g.stride_c, g.pad_c) {}

    __device__ int pixels() const { return g.B * r.size * c.size; }
    __device__ int taps() const { return r.taps * c.taps * g.N; }

    // Nothing is divided by zero where a phase has no pixels or no taps.
    __device__ Pixel pixel(int m) const {
        const int width = max(c.size, 1), height = max(r.size, 1);
        return {m / width / height, m / width % height, m % width};
    }
    __device__ Tap tap(int k) const {
        const int columns = max(c.taps, 1);
        return {k / g.N / columns, k / g.N % columns, k % g.N};
    }
};

// The output gradients that reach an input pixel m = (b, r, q), over k = (i, j, n).
struct Arriving {
    const real *dy;
    Phase f;
    typedef Pixel Row;
    typedef Tap Column;

    __device__ Row row(int m) const {
        const Pixel pixel = f.pixel(m);
        const int image = pixel.image * f.g.H_out * f.g.W_out * f.g.N;
        const int o = pixel.image < f.g.B ? f.r.output + pixel.r : NOWHERE;
        return {image, o, f.c.output + pixel.q};
    }
    __device__ Column column(int k) const {
        const Tap tap = f.tap(k);
        return {tap.r < f.r.taps ? -tap.r : NOWHERE, -tap.q, tap.c};
    }
    __device__ real at(const Row &m, const Column &k) const {
        const int o = m.r + k.r, p = m.q + k.q;
        if (o < 0 || o >= f.g.H_out || p < 0 || p >= f.g.W_out) return 0;
        return dy[m.image + (o * f.g.W_out + p) * f.g.N + k.c];
    }
};

// w[i, j, c, n] as (k, c) with k = (i, j, n), the taps of one phase.
struct WeightsTransposed {
    const real *w;
    Phase f;
    static const bool K_IS_CONTIGUOUS = true;
    __device__ int row(int k) const {
        const Tap tap = f.tap(k);
        const int i = f.r.tap + tap.r * f.g.stride_r, j = f.c.tap + tap.q * f.g.stride_c;
        const bool inside = tap.r < f.r.taps && f.c.taps;
        return inside ? (i * f.g.columns + j) * f.g.C * f.g.N + tap.c : OUTSIDE;
    }
    __device__ real at(int row, int c) const {
        return row != OUTSIDE && c < f.g.C ? w[row + c * f.g.N] : 0;
    }
};

// ---------------------------------------------------------------------- where the sums go

struct ToPixels {
    real *dx;
    Phase f;
    __device__ void operator()(int m, int c, real sum) const {
        const Pixel pixel = f.pixel(m);
        const int r = f.r.first + pixel.r * f.g.stride_r, q = f.c.first + pixel.q * f.g.stride_c;
        dx[((pixel.image * f.g.H + r) * f.g.W + q) * f.g.C + c] = sum;
    }
};

// -------------------------------------- versions 2, 3 and tf32: the three products in three ways

#define CONVOLUTION(VERSION, PRODUCT)                                                              \
    extern "C" __global__ void PRODUCT_BOUNDS conv2d_forward_##VERSION(                            \
        real *y, const real *x, const real *w, long long w_task, const real *bias,                 \
        long long bias_task, Window g) {                                                           \
        const long long task = task_of_block();                                                    \
        const int M = g.B * g.H_out * g.W_out, K = g.rows * g.columns * g.C;                       \
        const Patches patches = {x + task * g.B * g.H * g.W * g.C, g};                             \
        const Right weights = {w + task * w_task, K, g.N};                                         \
        const Into write = {y + task * M * g.N, bias ? bias + task * bias_task : 0, g.N};          \
        PRODUCT(patches, weights, write, M, g.N, K);                                               \
    }                                                                                              \
                                                                                                   \
    extern "C" __global__ void PRODUCT_BOUNDS conv2d_dw_##VERSION(                                 \
        real *dw, long long dw_task, const real *dy, const real *x, int slices, Window g) {        \
        const long long task = blockIdx.z / slices;                                                \
        const int M = g.B * g.H_out * g.W_out, K = g.rows * g.columns * g.C;                       \
        const Slice slice(M, blockIdx.z % slices, slices);                                         \
        const PatchesTransposed patches = {{x + task * g.B * g.H * g.W * g.C, g}, slice};          \
        const real *begin = dy + (task * M + slice.first) * g.N;                                   \
        const Right gradients = {begin, slice.size, g.N};                                          \
        real *part = dw + task * dw_task + (long long)slice.number * K * g.N;                      \
        const Into write = {part, 0, g.N};                                                         \
        PRODUCT(patches, gradients, write, K, g.N, slice.size);                                    \
    }                                                                                              \
                                                                                                   \
    extern "C" __global__ void PRODUCT_BOUNDS conv2d_dx_##VERSION(                                 \
        real *dx, const real *dy, const real *w, long long w_task, Window g) {                     \
        const int phases = g.stride_r * g.stride_c;                                                \
        const long long task = blockIdx.z / phases;                                                \
        const Phase phase(g, blockIdx.z % phases);                                                 \
        const Arriving arriving = {dy + task * g.B * g.H_out * g.W_out * g.N, phase};              \
        const WeightsTransposed weights = {w + task * w_task, phase};                              \
        const ToPixels write = {dx + task * g.B * g.H * g.W * g.C, phase};                         \
        PRODUCT(arriving, weights, write, phase.pixels(), g.C, phase.taps());                      \
    }

CONVOLUTION(v2, tiled_product)
CONVOLUTION(v3, split_product<Scalar>)
#ifndef DOUBLE
CONVOLUTION(tf32, split_product<TensorCores>)
#endif
