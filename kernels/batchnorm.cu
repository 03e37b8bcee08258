// Batch normalisation and its gradients, CUDA, alone or with a ReLU behind it. Derivation:
// batchnorm.md.
//
// Over the M values of one task and channel:
//     mean = sum x / M,   rstd = (sum (x - mean)^2 / M + eps)^(-1/2),   xhat = (x - mean) rstd
//     y = gamma xhat + beta
// and backwards, with dy = 0 where a ReLU behind gave 0:
//     dbeta = sum dy,   dgamma = sum dy xhat
//     dx = gamma rstd (dy - dbeta / M - xhat dgamma / M)
//
// and the tangents of all that along a direction of the parameters, the kernels _r: an r before a
// name is its tangent. What is written may be null, each by itself: a block holds its channels' sums.
//
// Version 1: a thread for each channel. 2: a block of (COLUMNS, LANES) for every COLUMNS channels.
// 3: many such blocks, each for a slice of the M values: one kernel leaves the sums of every slice in
// `parts` (T, 2, slices, C), a second adds them up and writes.

// How a channel's sum comes about.
struct Alone {
    static const int LANES_PER_CHANNEL = 1;
    static __device__ int channel() { return blockIdx.x * blockDim.x + threadIdx.x; }
    static __device__ int lane() { return 0; }
    static __device__ real sum(real mine) { return mine; }
};

struct Together {
    static const int LANES_PER_CHANNEL = LANES;
    static __device__ int channel() { return blockIdx.x * COLUMNS + threadIdx.x; }
    static __device__ int lane() { return threadIdx.y; }
    static __device__ real sum(real mine) { return column_sum(mine); }
};

// What a channel's lanes write, once its sums are known; arrays begin at the channel.
__device__ void normalise(real *y, const real *x, real mu, real slope, real offset, int lane,
                          int step, int end, int C, int relu) {
#pragma unroll 4
    for (int m = lane; m < end; m += step) {
        const real value = slope * (x[(long long)m * C] - mu) + offset;
        y[(long long)m * C] = relu && value <= 0 ? 0 : value;
    }
}

// y is what the ReLU gave, or null without one.
__device__ real through(const real *dy, const real *y, long long at) {
    return y && y[at] <= 0 ? 0 : dy[at];
}

__device__ void differentiate(real *dx, const real *dy, const real *y, const real *x, real mu,
                              real slope, real offset, real tilt, int lane, int step, int end,
                              int C) {
#pragma unroll 4
    for (int m = lane; m < end; m += step) {
        const long long at = (long long)m * C;
        dx[at] = slope * (through(dy, y, at) - offset - (x[at] - mu) * tilt);
    }
}

template <class Sums>
__device__ void forward(real *y, real *mean, real *rstd, const real *x, const real *gamma,
                        const real *beta, real eps, int M, int C, int relu) {
    const int c = Sums::channel(), step = Sums::LANES_PER_CHANNEL;
    const int end = c < C ? M : 0;  // threads beyond the last channel only take part in the sums
    real total = 0, squares = 0;
#pragma unroll 4
    for (int m = Sums::lane(); m < end; m += step) total += x[(long long)m * C + c];
    const real mu = Sums::sum(total) / M;
#pragma unroll 4
    for (int m = Sums::lane(); m < end; m += step) {
        const real d = x[(long long)m * C + c] - mu;
        squares += d * d;
    }
    const real r = 1 / sqrt(Sums::sum(squares) / M + eps);
    if (c >= C) return;
    if (Sums::lane() == 0) {
        if (mean) mean[c] = mu;
        if (rstd) rstd[c] = r;
    }
    if (y) normalise(y + c, x + c, mu, gamma[c] * r, beta[c], Sums::lane(), step, end, C, relu);
}

template <class Sums>
__device__ void backward(real *dx, real *dgamma, real *dbeta, const real *dy, const real *y,
                         const real *x, const real *mean, const real *rstd, const real *gamma,
                         int M, int C) {
    const int c = Sums::channel(), step = Sums::LANES_PER_CHANNEL;
    const int end = c < C ? M : 0;
    const real mu = c < C ? mean[c] : 0, r = c < C ? rstd[c] : 0;
    real total = 0, products = 0;
#pragma unroll 4
    for (int m = Sums::lane(); m < end; m += step) {
        const long long at = (long long)m * C + c;
        const real d = through(dy, y, at);
        total += d;
        products += d * (x[at] - mu) * r;
    }
    const real sum = Sums::sum(total), sum_xhat = Sums::sum(products);
    if (c >= C) return;
    if (Sums::lane() == 0) {
        if (dbeta) dbeta[c] = sum;
        if (dgamma) dgamma[c] = sum_xhat;
    }
    if (dx)
        differentiate(dx + c, dy + c, part(y, c), x + c, mu, gamma[c] * r, sum / M,
                      sum_xhat / M * r, Sums::lane(), step, end, C);
}

#define BATCHNORM(VERSION, SUMS)                                                                   \
    extern "C" __global__ void batchnorm_forward_##VERSION(                                        \
        real *y, real *mean, real *rstd, const real *x, const real *gamma, long long gamma_task,   \
        const real *beta, long long beta_task, real eps, int M, int C, int relu) {                 \
        const long long task = task_of_block(), at = task * M * C;                                 \
        forward<SUMS>(part(y, at), part(mean, task * C), part(rstd, task * C), x + at,             \
                      gamma + task * gamma_task, beta + task * beta_task, eps, M, C, relu);        \
    }                                                                                              \
                                                                                                   \
    extern "C" __global__ void batchnorm_backward_##VERSION(                                       \
        real *dx, real *dgamma, long long dgamma_task, real *dbeta, long long dbeta_task,          \
        const real *dy, const real *y, const real *x, const real *mean, const real *rstd,          \
        const real *gamma, long long gamma_task, int M, int C) {                                   \
        const long long task = task_of_block(), at = task * M * C;                                 \
        backward<SUMS>(part(dx, at), part(dgamma, task * dgamma_task),                             \
                       part(dbeta, task * dbeta_task), dy + at, part(y, at), x + at,               \
                       mean + task * C, rstd + task * C, gamma + task * gamma_task, M, C);         \
    }

BATCHNORM(v1, Alone)
BATCHNORM(v2, Together)

// ------------------------------------------------------------------- version 3: slices of the M

// Where a block of version 3 works: COLUMNS channels of slice blockIdx.y of a task.
struct Place {
    const long long task;
    const Slice slice;
    const int c, lane, end;     // no value for threads beyond the last channel
    const long long first;      // of the channel's values of this slice
    __device__ Place(int M, int C)
        : task(task_of_block()), slice(M, blockIdx.y, gridDim.y), c(Together::channel()),
          lane(Together::lane()), end(c < C ? slice.size : 0),
          first((task * M + slice.first) * C + c) {}
};

// Two numbers of every slice and channel.
struct Parts {
    real *parts;
    const int slices, C;
    __device__ Parts(real *parts, int C)
        : parts(parts + task_of_block() * 2 * gridDim.y * C), slices(gridDim.y), C(C) {}
    __device__ real &at(int which, int slice, int c) const {
        return parts[((long long)which * slices + slice) * C + c];
    }
};

// The mean of a slice, and the squares of the deviations from it (batchnorm.md, eq. 13).
extern "C" __global__ void batchnorm_forward_parts(real *all, const real *x, int M, int C) {
    const Place here(M, C);
    const Parts parts(all, C);
    x += here.first;
    real total = 0, squares = 0;
#pragma unroll 4
    for (int m = here.lane; m < here.end; m += LANES) total += x[(long long)m * C];
    const real mu = column_sum(total) / here.slice.size;
#pragma unroll 4
    for (int m = here.lane; m < here.end; m += LANES) {
        const real d = x[(long long)m * C] - mu;
        squares += d * d;
    }
    squares = column_sum(squares);
    if (here.c >= C || here.lane) return;
    parts.at(0, here.slice.number, here.c) = mu;
    parts.at(1, here.slice.number, here.c) = squares;
}

extern "C" __global__ void batchnorm_forward_v3(
    real *y, real *mean, real *rstd, real *all, const real *x, const real *gamma,
    long long gamma_task, const real *beta, long long beta_task, real eps, int M, int C, int relu) {
    const Place here(M, C);
    const Parts parts(all, C);
    const int c = here.c, slices = c < C ? parts.slices : 0;
    real total = 0, squares = 0;
    for (int s = here.lane; s < slices; s += LANES)
        total += Slice(M, s, slices).size * parts.at(0, s, c);
    const real mu = column_sum(total) / M;
    for (int s = here.lane; s < slices; s += LANES) {
        const real d = parts.at(0, s, c) - mu;
        squares += parts.at(1, s, c) + Slice(M, s, slices).size * d * d;
    }
    const real r = 1 / sqrt(column_sum(squares) / M + eps);
    if (c >= C) return;
    if (here.slice.number == 0 && here.lane == 0) {
        if (mean) mean[here.task * C + c] = mu;
        if (rstd) rstd[here.task * C + c] = r;
    }
    if (!y) return;
    const real slope = gamma[here.task * gamma_task + c] * r;
    const real offset = beta[here.task * beta_task + c];
    normalise(y + here.first, x + here.first, mu, slope, offset, here.lane, LANES, here.end, C,
              relu);
}

// The sums of dy and of dy xhat over a slice.
extern "C" __global__ void batchnorm_backward_parts(real *all, const real *dy, const real *y,
                                                    const real *x, const real *mean,
                                                    const real *rstd, int M, int C) {
    const Place here(M, C);
    const Parts parts(all, C);
    const long long channel = here.task * C + here.c;
    const real mu = here.c < C ? mean[channel] : 0, r = here.c < C ? rstd[channel] : 0;
    dy += here.first, x += here.first, y = part(y, here.first);
    real total = 0, products = 0;
#pragma unroll 4
    for (int m = here.lane; m < here.end; m += LANES) {
        const long long at = (long long)m * C;
        const real d = through(dy, y, at);
        total += d;
        products += d * (x[at] - mu) * r;
    }
    const real sum = column_sum(total), sum_xhat = column_sum(products);
    if (here.c >= C || here.lane) return;
    parts.at(0, here.slice.number, here.c) = sum;
    parts.at(1, here.slice.number, here.c) = sum_xhat;
}

extern "C" __global__ void batchnorm_backward_v3(
    real *dx, real *dgamma, long long dgamma_task, real *dbeta, long long dbeta_task, real *all,
    const real *dy, const real *y, const real *x, const real *mean, const real *rstd,
    const real *gamma, long long gamma_task, int M, int C) {
    const Place here(M, C);
    const Parts parts(all, C);
    const int c = here.c, slices = c < C ? parts.slices : 0;
    real total = 0, products = 0;
    for (int s = here.lane; s < slices; s += LANES)
        total += parts.at(0, s, c), products += parts.at(1, s, c);
    const real sum = column_sum(total), sum_xhat = column_sum(products);
    if (c >= C) return;
    if (here.slice.number == 0 && here.lane == 0) {
        if (dbeta) dbeta[here.task * dbeta_task + c] = sum;
        if (dgamma) dgamma[here.task * dgamma_task + c] = sum_xhat;
    }
    if (!dx) return;
    const real mu = mean[here.task * C + c], r = rstd[here.task * C + c];
    const real slope = gamma[here.task * gamma_task + c] * r;
    differentiate(dx + here.first, dy + here.first, part(y, here.first), x + here.first, mu, slope,
                  sum / M, sum_xhat / M * r, here.lane, LANES, here.end, C);
}

// Tangents. With the deviations d = x - mean and rd = rx - rmean,
//     rrstd = -rstd^3 / M sum d rd,   rxhat = rd rstd + d rrstd
//     ry = gamma rstd rd + tilt d + rbeta,   tilt = rgamma rstd + gamma rrstd
extern "C" __global__ void batchnorm_forward_r(
    real *ry, real *rmean, real *rrstd, const real *rx, const real *rgamma, long long rgamma_task,
    const real *rbeta, long long rbeta_task, const real *x, const real *mean, const real *rstd,
    const real *gamma, long long gamma_task, int M, int C) {
    const long long task = task_of_block();
    const int c = Together::channel(), step = LANES, end = c < C ? M : 0;
    const long long channel = task * C + c;
    rx += task * M * C + c, x += task * M * C + c;
    const real mu = c < C ? mean[channel] : 0, r = c < C ? rstd[channel] : 0;
    real total = 0, products = 0;
#pragma unroll 4
    for (int m = Together::lane(); m < end; m += step) total += rx[(long long)m * C];
    const real rmu = Together::sum(total) / M;
#pragma unroll 4
    for (int m = Together::lane(); m < end; m += step)
        products += (x[(long long)m * C] - mu) * (rx[(long long)m * C] - rmu);
    const real rr = -Together::sum(products) / M * r * r * r;
    if (c >= C) return;
    if (Together::lane() == 0) {
        if (rmean) rmean[channel] = rmu;
        if (rrstd) rrstd[channel] = rr;
    }
    if (!ry) return;
    ry += task * M * C + c;
    const real slope = gamma[task * gamma_task + c] * r;
    const real tilt = rgamma[task * rgamma_task + c] * r + gamma[task * gamma_task + c] * rr;
    const real offset = rbeta[task * rbeta_task + c];
#pragma unroll 4
    for (int m = Together::lane(); m < end; m += step) {
        const long long at = (long long)m * C;
        ry[at] = slope * (rx[at] - rmu) + tilt * (x[at] - mu) + offset;
    }
}

//     rdbeta = sum rdy,   rdgamma = sum (rdy xhat + dy rxhat)
//     rdx = tilt (dy - dbeta / M - xhat dgamma / M)
//           + gamma rstd (rdy - rdbeta / M - rxhat dgamma / M - xhat rdgamma / M)
extern "C" __global__ void batchnorm_backward_r(
    real *rdx, real *rdgamma, long long rdgamma_task, real *rdbeta, long long rdbeta_task,
    const real *rdy, const real *rx, const real *rmean, const real *rrstd, const real *rgamma,
    long long rgamma_task, const real *dgamma, long long dgamma_task, const real *dbeta,
    long long dbeta_task, const real *dy, const real *x, const real *mean, const real *rstd,
    const real *gamma, long long gamma_task, int M, int C) {
    const long long task = task_of_block();
    const int c = Together::channel(), step = LANES, end = c < C ? M : 0;
    const long long channel = task * C + c, first = task * M * C + c;
    rdy += first, rx += first, dy += first, x += first;
    const real mu = c < C ? mean[channel] : 0, r = c < C ? rstd[channel] : 0;
    const real rmu = c < C ? rmean[channel] : 0, rr = c < C ? rrstd[channel] : 0;
    real total = 0, products = 0;
#pragma unroll 2
    for (int m = Together::lane(); m < end; m += step) {
        const long long at = (long long)m * C;
        const real d = x[at] - mu;
        total += rdy[at];
        products += rdy[at] * d * r + dy[at] * ((rx[at] - rmu) * r + d * rr);
    }
    const real sum = Together::sum(total), sum_xhat = Together::sum(products);
    if (c >= C) return;
    if (Together::lane() == 0) {
        if (rdbeta) rdbeta[task * rdbeta_task + c] = sum;
        if (rdgamma) rdgamma[task * rdgamma_task + c] = sum_xhat;
    }
    if (!rdx) return;
    rdx += first;
    const real g = gamma[task * gamma_task + c], slope = g * r;
    const real tilt = rgamma[task * rgamma_task + c] * r + g * rr;
    const real share = dbeta[task * dbeta_task + c] / M;
    const real share_xhat = dgamma[task * dgamma_task + c] / M;
    const real rshare = sum / M, rshare_xhat = sum_xhat / M;
#pragma unroll 2
    for (int m = Together::lane(); m < end; m += step) {
        const long long at = (long long)m * C;
        const real d = x[at] - mu, xhat = d * r, rxhat = (rx[at] - rmu) * r + d * rr;
        rdx[at] = tilt * (dy[at] - share - xhat * share_xhat) +
                  slope * (rdy[at] - rshare - rxhat * share_xhat - xhat * rshare_xhat);
    }
}
