// Sums over rows: the columns of a matrix, as a bias or a batch normalisation needs them.

const int COLUMNS = 8;   // of a block: 32 bytes in a row, what memory gives at a time
const int LANES = 64;    // threads that share a column

// Each thread's sum of one column becomes the whole column's, in every thread; the order of the
// additions is always the same. Blocks are (COLUMNS, LANES).
__device__ inline real column_sum(real mine) {
    __shared__ real parts[LANES][COLUMNS];
    const int n = threadIdx.x, lane = threadIdx.y;
    __syncthreads();  // the last use of parts is over
    parts[lane][n] = mine;
    for (int half = LANES / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) parts[lane][n] += parts[lane + half][n];
    }
    __syncthreads();
    return parts[0][n];
}

// The sum of a value over a block of threads in a row, in every thread.
__device__ inline real block_sum(real mine) {
    __shared__ real parts[WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    mine = warp_sum(mine);
    __syncthreads();  // the last use of parts is over
    if (lane == 0) parts[warp] = mine;
    __syncthreads();
    real sum = 0;
    for (int w = 0; w < (int)blockDim.x / WARP; ++w) sum += parts[w];
    return sum;
}
