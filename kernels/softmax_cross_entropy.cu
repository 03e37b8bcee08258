// Softmax cross-entropy on integer labels, with its gradient, CUDA. Derivation:
// softmax_cross_entropy.md. A block for each task, a thread for each example.

extern "C" __global__ void softmax_cross_entropy(real *loss, real *dlogits, const real *logits,
                                                 const long long *labels, real scale, int B,
                                                 int N) {
    const long long task = task_of_block();
    logits += task * B * N, dlogits = part(dlogits, task * B * N), labels += task * B;
    real mine = 0;
    for (int b = threadIdx.x; b < B; b += blockDim.x) {
        const real *z = logits + (long long)b * N;
        const int label = (int)labels[b];
        real largest = z[0], total = 0;
        for (int n = 1; n < N; ++n) largest = z[n] > largest ? z[n] : largest;
        for (int n = 0; n < N; ++n) {
            const real e = exp(z[n] - largest);
            total += e;
            if (dlogits) dlogits[(long long)b * N + n] = e;
        }
        mine += log(total) - (z[label] - largest);
        if (!dlogits) continue;
        real *dz = dlogits + (long long)b * N;
        for (int n = 0; n < N; ++n) dz[n] = scale * (dz[n] / total - (n == label ? 1 : 0));
    }
    if (!loss) return;
    const real sum = block_sum(mine);
    if (threadIdx.x == 0) loss[task] = scale * sum;
}

// The tangent of dlogits, scale p (rz - sum p rz): a thread for each example.
extern "C" __global__ void softmax_cross_entropy_r(real *rdlogits, const real *rlogits,
                                                   const real *logits, real scale, int B, int N) {
    const long long task = task_of_block();
    logits += task * B * N, rlogits += task * B * N, rdlogits += task * B * N;
    for (long long b = thread_number(); b < B; b += threads_in_row()) {
        const real *z = logits + b * N, *rz = rlogits + b * N;
        real *rdz = rdlogits + b * N;
        real largest = z[0], total = 0, mean = 0;
        for (int n = 1; n < N; ++n) largest = z[n] > largest ? z[n] : largest;
        for (int n = 0; n < N; ++n) {
            total += rdz[n] = exp(z[n] - largest);
            mean += rdz[n] * rz[n];
        }
        mean /= total;
        for (int n = 0; n < N; ++n) rdz[n] *= scale / total * (rz[n] - mean);
    }
}
