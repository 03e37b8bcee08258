// Adam, CUDA. Formulas: adam.md.

// base^n by squaring: a dozen products in double precision, where pow would take hundreds.
__device__ inline double power(double base, long long n) {
    double result = 1;
    for (; n > 0; n /= 2, base *= base)
        if (n % 2) result *= base;
    return result;
}

// Step number t[task] + ahead. m is null where beta1 = 0, when it would equal the gradient. t is
// left alone, since other blocks may still have to read it: see `count_steps`.
extern "C" __global__ void adam_step(real *phi, real *m, real *v, const long long *t,
                                     const real *grad, double lr, double beta1, double beta2,
                                     real eps, int ahead, long long P) {
    __shared__ real shared_rate;
    const long long task = task_of_block(), at = task * P;
    if (threadIdx.x == 0) {
        const long long n = t[task] + ahead;
        shared_rate = (real)(lr * sqrt(1 - power(beta2, n)) / (1 - power(beta1, n)));
    }
    __syncthreads();
    const real rate = shared_rate, b1 = (real)beta1, b2 = (real)beta2;
    const real rest1 = (real)(1 - beta1), rest2 = (real)(1 - beta2);
    for (long long e = at + thread_number(); e < at + P; e += threads_in_row()) {
        const real g = grad[e];
        const real first = m ? m[e] = b1 * m[e] + rest1 * g : g;
        const real second = v[e] = b2 * v[e] + rest2 * g * g;
        phi[e] -= rate * first / (sqrt(second) + eps);
    }
}

// t[task] += steps.
extern "C" __global__ void count_steps(long long *t, int steps, int T) {
    for (int task = threadIdx.x; task < T; task += blockDim.x) t[task] += steps;
}
