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
    if (!y) return;
    const real slope = gamma[c] * r, offset = beta[c];
#pragma unroll 4
    for (int m = Sums::lane(); m < end; m += step) {
        const real value = slope * (x[(long long)m * C + c] - mu) + offset;
        y[(long long)m * C + c] = relu && value <= 0 ? 0 : value;
    }
}

// y is what the ReLU gave, or null without one.
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
        const real d = y && y[at] <= 0 ? 0 : dy[at];
        total += d;
        products += d * (x[at] - mu) * r;
    }
    const real sum = Sums::sum(total), sum_xhat = Sums::sum(products);
    if (c >= C) return;
    if (Sums::lane() == 0) {
        if (dbeta) dbeta[c] = sum;
        if (dgamma) dgamma[c] = sum_xhat;
    }
    if (!dx) return;
    const real slope = gamma[c] * r, offset = sum / M, tilt = sum_xhat / M * r;
#pragma unroll 4
    for (int m = Sums::lane(); m < end; m += step) {
        const long long at = (long long)m * C + c;
        const real d = y && y[at] <= 0 ? 0 : dy[at];
        dx[at] = slope * (d - offset - (x[at] - mu) * tilt);
    }
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
