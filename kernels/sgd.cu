// Stochastic gradient descent, with and without momentum, CUDA. Formulas: sgd.md.

// velocity is null without momentum.
extern "C" __global__ void sgd_step(real *phi, real *velocity, const real *grad, real lr,
                                    real momentum, long long size) {
    for (long long e = thread_number(); e < size; e += threads_in_row()) {
        real step = grad[e];
        if (velocity) velocity[e] = step = momentum * velocity[e] + step;
        phi[e] -= lr * step;
    }
}
