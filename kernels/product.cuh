// Matrix products of two operands that are read through functions: y(m, n) = sum_k a(m, k) b(k, n).
// A convolution and its two gradients differ in these functions alone.
//
// An operand A has    Row row(m), Column column(k) and real at(Row, Column), 0 outside the matrix;
// an operand B has    int row(k), OUTSIDE it or where it begins, and real at(row(k), n), 0 outside,
//                     and K_IS_CONTIGUOUS: which neighbours lie side by side.
// y is called as      y(m, n, sum).
// The arrays of one task have less than 2^31 numbers.

const int OUTSIDE = -1;

struct Right {  // an operand B that lies in memory row by row: b(k, n) = values[k, n]
    const real *values;
    int rows, columns;
    static const bool K_IS_CONTIGUOUS = false;
    __device__ int row(int k) const { return k < rows ? k * columns : OUTSIDE; }
    __device__ real at(int row, int n) const {
        return row != OUTSIDE && n < columns ? values[row + n] : 0;
    }
};

struct Into {  // y[m, n] = sum, with the n-th bias if there are any
    real *y;
    const real *bias;
    int columns;
    __device__ void operator()(int m, int n, real sum) const {
        y[m * columns + n] = bias ? sum + bias[n] : sum;
    }
};

// A sum over `whole` terms cut into slices, each of which has a block of its own: one of them.
struct Slice {
    int number, first, size;
    __device__ Slice(int whole, int number, int slices) : number(number) {
        first = (int)((long long)whole * number / slices);
        size = (int)((long long)whole * (number + 1) / slices) - first;
    }
};

const int TILE = 16;

// One thread for each y(m, n); a block's threads share tiles of both operands. Blocks are
// (TILE, TILE); blockIdx.x counts tiles of rows, blockIdx.y of columns.
template <class A, class B, class Y>
__device__ void tiled_product(A a, B b, Y y, int M, int N, int K) {
    __shared__ real as[TILE][TILE + 1], bs[TILE][TILE + 1];
    const int row = threadIdx.y, column = threadIdx.x;
    const int m = blockIdx.x * TILE + row, n = blockIdx.y * TILE + column;
    real sum = 0;
    for (int k = 0; k < K; k += TILE) {
        as[row][column] = a.at(a.row(m), a.column(k + column));
        bs[row][column] = b.at(b.row(k + row), n);
        __syncthreads();  // the tiles are complete
        for (int i = 0; i < TILE; ++i) sum += as[row][i] * bs[i][column];
        __syncthreads();  // and used up
    }
    if (m < M && n < N) y(m, n, sum);
}

const int SIDE = 32;               // a block computes SIDE x SIDE numbers
const int WARPS = 8;               // and each of its warps all of them, over an eighth of the k
const int DEPTH = 8;               // k at a time
const int PITCH = SIDE + 4;        // of a row in shared memory: 8 rows begin in different banks
const int SLICE = DEPTH * PITCH;   // one operand's part of shared memory, for a warp

// Two blocks at a time on a multiprocessor: at most 128 registers for each of their 512 threads.
// In double precision there are not enough registers for that.
#if defined(__CUDACC__) && !defined(DOUBLE)
#define PRODUCT_BOUNDS __launch_bounds__(WARPS * WARP, 2)
#else
#define PRODUCT_BOUNDS
#endif

// How the lanes of a warp share its 32 x 32 sums: each has 8 rows of 4.
struct Scalar {
    static __device__ int row(int lane, int e) { return 8 * (lane / 8) + e / 4; }
    static __device__ int column(int lane, int e) { return 4 * (lane % 8) + e % 4; }

    static __device__ void multiply(real *sums, const real *as, const real *bs, int lane) {
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            real left[8], right[4];
#pragma unroll
            for (int i = 0; i < 8; ++i) left[i] = as[k * PITCH + 8 * (lane / 8) + i];
#pragma unroll
            for (int j = 0; j < 4; ++j) right[j] = bs[k * PITCH + 4 * (lane % 8) + j];
#pragma unroll
            for (int e = 0; e < 32; ++e) sums[e] += left[e / 4] * right[e % 4];
        }
    }
};

// The same sums on tensor cores, as 2 x 4 products of 16 x 8 numbers.
#ifndef DOUBLE
struct TensorCores {
    static __device__ int row(int lane, int e) {
        return e / 16 * 16 + lane / 4 + e % 4 / 2 * 8;
    }
    static __device__ int column(int lane, int e) { return e / 4 % 4 * 8 + lane % 4 * 2 + e % 2; }

    static __device__ void multiply(real *sums, const real *as, const real *bs, int lane) {
        const int g = lane / 4, i = lane % 4;
        unsigned b[4][2];
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                b[n][half] = to_tf32(bs[(i + 4 * half) * PITCH + 8 * n + g]);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
            unsigned a[4];
#pragma unroll
            for (int e = 0; e < 4; ++e)
                a[e] = to_tf32(as[(i + e / 2 * 4) * PITCH + 16 * m + g + e % 2 * 8]);
#pragma unroll
            for (int n = 0; n < 4; ++n) mma_tf32(sums + 16 * m + 4 * n, a, b[n]);
        }
    }
};
#endif

// The warps of a block split the sum over k and share nothing until its end, so none waits for
// another: __syncwarp stands where tiled_product has __syncthreads. While a warp multiplies, its
// next numbers are on their way. Blocks have WARPS * WARP threads.
template <class Lanes, class A, class B, class Y>
__device__ void split_product(A a, B b, Y y, int M, int N, int K) {
    __shared__ __align__(16) real memory[WARPS * 2 * SLICE];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int m0 = blockIdx.x * SIDE, n0 = blockIdx.y * SIDE;
    real *as = memory + warp * 2 * SLICE, *bs = as + SLICE;

    typename A::Row rows[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) rows[i] = a.row(m0 + 4 * i + lane / 8);

    // A lane brings A(4 i + lane / 8, lane % 8); of B the like, or a number of each row.
    real next_a[8], next_b[8];
    auto fetch = [&](int k) {
        const typename A::Column column = a.column(k + lane % 8);
        const int row = b.row(k + lane % 8);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            next_a[i] = a.at(rows[i], column);
            next_b[i] = B::K_IS_CONTIGUOUS ? b.at(row, n0 + 4 * i + lane / 8)
                                           : b.at(b.row(k + i), n0 + lane);
        }
    };
    real sums[32];
#pragma unroll
    for (int e = 0; e < 32; ++e) sums[e] = 0;

    fetch(DEPTH * warp);
    for (int k = DEPTH * warp; k < K; k += DEPTH * WARPS) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            as[(lane % 8) * PITCH + 4 * i + lane / 8] = next_a[i];
            const int b_at = B::K_IS_CONTIGUOUS ? (lane % 8) * PITCH + 4 * i + lane / 8
                                                : i * PITCH + lane;
            bs[b_at] = next_b[i];
        }
        __syncwarp();  // the slices are complete
        fetch(k + DEPTH * WARPS);
        Lanes::multiply(sums, as, bs, lane);
        __syncwarp();  // and used up
    }

    // The warps' sums, added pairwise: 4 to 4, 2 to 2, 1 to 1; then all threads write.
    for (int half = WARPS / 2; half >= 0; half /= 2) {
        __syncthreads();
        if (half ? warp >= half && warp < 2 * half : warp == 0) {
#pragma unroll
            for (int e = 0; e < 32; ++e)
                memory[(warp - half) * SIDE * SIDE + Lanes::row(lane, e) * SIDE +
                       Lanes::column(lane, e)] = sums[e];
        }
        __syncthreads();
        if (half == 0) break;
        if (warp < half) {
#pragma unroll
            for (int e = 0; e < 32; ++e)
                sums[e] += memory[warp * SIDE * SIDE + Lanes::row(lane, e) * SIDE +
                                  Lanes::column(lane, e)];
        }
    }
    for (int e = threadIdx.x; e < SIDE * SIDE; e += WARPS * WARP) {
        const int m = m0 + e / SIDE, n = n0 + e % SIDE;
        if (m < M && n < N) y(m, n, memory[e]);
    }
}
