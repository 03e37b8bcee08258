// Sums, CUDA: over the rows of a matrix, of the slices of a product, and of two products.

// sum[n] = sum_m values[m, n], for each task: the gradient of a bias (conv2d.md, eq. 5), or those of
// its slices one after another, for `sum_slices`. Blocks are (COLUMNS, LANES), blockIdx.y a slice.
extern "C" __global__ void sum_rows(real *sum, long long sum_task, const real *values,
                                    long long values_task, int M, int N) {
    const long long task = task_of_block();
    const Slice slice(M, blockIdx.y, gridDim.y);
    const int n = blockIdx.x * COLUMNS + threadIdx.x, end = n < N ? slice.size : 0;
    values += task * values_task + (long long)slice.first * N + n;
    real mine = 0;
#pragma unroll 4
    for (int m = threadIdx.y; m < end; m += LANES) mine += values[(long long)m * N];
    const real whole = column_sum(mine);
    if (n < N && threadIdx.y == 0) sum[task * sum_task + slice.number * N + n] = whole;
}

// sum[e] = values[0, e] + values[1, e] + ..., for each task: the slices of a product (product.md,
// eq. 4), in their order.
extern "C" __global__ void sum_slices(real *sum, long long sum_task, const real *values, int slices,
                                      int size) {
    const long long task = task_of_block();
    values += task * slices * size;
    for (long long e = thread_number(); e < size; e += threads_in_row()) {
        real total = values[e];
        for (int s = 1; s < slices; ++s) total += values[(long long)s * size + e];
        sum[task * sum_task + e] = total;
    }
}

// total += part, for each task: the second product of a tangent (conv2d.md, eq. 11 to 13).
extern "C" __global__ void add(real *total, long long total_task, const real *part,
                               long long size) {
    const long long task = task_of_block();
    total += task * total_task, part += task * size;
    for (long long e = thread_number(); e < size; e += threads_in_row()) total[e] += part[e];
}
