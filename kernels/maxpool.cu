// Max pooling and its gradient, CUDA. Derivation: maxpool.md.
//
// A thread for each output, and backwards for each input, which looks up the windows that it lies
// in: nothing is added from two sides. A task's arrays have less than 2^31 numbers, so that 32 bits
// will do for places in them: a GPU has no instruction that divides, and 64 bits take several times
// as many others.

extern "C" __global__ void maxpool_forward(real *y, int *winner, const real *x, Window g) {
    const long long task = task_of_block();
    const unsigned size = g.B * g.H_out * g.W_out * g.N;
    x += task * g.B * g.H * g.W * g.C, y = part(y, task * size), winner = part(winner, task * size);
    for (unsigned e = thread_number(); e < size; e += threads_in_row()) {
        const int c = e % g.N, p = e / g.N % g.W_out, o = e / g.N / g.W_out % g.H_out;
        const int b = e / g.N / g.W_out / g.H_out;
        int won = -1;
        real best = 0;
        for (int i = 0; i < g.rows; ++i)
            for (int j = 0; j < g.columns; ++j) {
                const int r = o * g.stride_r + i - g.pad_r, q = p * g.stride_c + j - g.pad_c;
                if (r < 0 || r >= g.H || q < 0 || q >= g.W) continue;
                const real here = x[((b * g.H + r) * g.W + q) * g.C + c];
                // The first of equals; NaN wins, so that it is not hidden.
                if (won < 0 || !(here <= best || best != best)) {
                    best = here;
                    won = i * g.columns + j;
                }
            }
        if (y) y[e] = best;
        if (winner) winner[e] = won;
    }
}

extern "C" __global__ void maxpool_backward(real *dx, const real *dy, const int *winner, Window g) {
    const long long task = task_of_block();
    const unsigned size = g.B * g.H * g.W * g.C, out_size = g.B * g.H_out * g.W_out * g.N;
    dx += task * size, dy += task * out_size, winner += task * out_size;
    for (unsigned e = thread_number(); e < size; e += threads_in_row()) {
        const int c = e % g.C, q = e / g.C % g.W, r = e / g.C / g.W % g.H, b = e / g.C / g.W / g.H;
        real sum = 0;
        const int up = r + g.pad_r, left = q + g.pad_c;
        for (int i = up % g.stride_r; i < min(g.rows, up + 1); i += g.stride_r)
            for (int j = left % g.stride_c; j < min(g.columns, left + 1); j += g.stride_c) {
                const int o = (up - i) / g.stride_r, p = (left - j) / g.stride_c;
                if (o >= g.H_out || p >= g.W_out) continue;
                const int at = ((b * g.H_out + o) * g.W_out + p) * g.N + c;
                if (winner[at] == i * g.columns + j) sum += dy[at];
            }
        dx[e] = sum;
    }
}

// The tangent of y: that of each window's winner.
extern "C" __global__ void maxpool_forward_r(real *ry, const real *rx, const int *winner,
                                             Window g) {
    const long long task = task_of_block();
    const unsigned size = g.B * g.H_out * g.W_out * g.N;
    rx += task * g.B * g.H * g.W * g.C, ry += task * size, winner += task * size;
    for (unsigned e = thread_number(); e < size; e += threads_in_row()) {
        const int c = e % g.N, p = e / g.N % g.W_out, o = e / g.N / g.W_out % g.H_out;
        const int b = e / g.N / g.W_out / g.H_out;
        const int r = o * g.stride_r + winner[e] / g.columns - g.pad_r;
        const int q = p * g.stride_c + winner[e] % g.columns - g.pad_c;
        ry[e] = rx[((b * g.H + r) * g.W + q) * g.C + c];
    }
}
