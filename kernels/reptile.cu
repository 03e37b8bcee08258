// A meta-iteration around its inner loop, CUDA: data in, copies of theta out, and the outer update.
// The formulas are those of reptile.py.

// The iteration in hand: clock[0] counts from the last upload, clock[1] from the run's beginning.

// x[i] = scale images[indices[clock[0], i]]: the mini-batches of an iteration, from bytes.
extern "C" __global__ void gather(real *x, const unsigned char *images, const int *indices,
                                  const long long *clock, float scale, long long per_image,
                                  long long size) {
    indices += clock[0] * (size / per_image);
    for (long long e = thread_number(); e < size; e += threads_in_row())
        x[e] = scale * images[indices[e / per_image] * per_image + e % per_image];
}

// out = from[clock[0]], words of 4 bytes.
extern "C" __global__ void take_row(unsigned *out, const unsigned *from, const long long *clock,
                                  long long size) {
    from += clock[0] * size;
    for (long long e = thread_number(); e < size; e += threads_in_row()) out[e] = from[e];
}

// many[t] = one: each task starts from a copy.
extern "C" __global__ void spread(real *many, const real *one, long long P) {
    many += task_of_block() * P;
    for (long long e = thread_number(); e < P; e += threads_in_row()) many[e] = one[e];
}

// one += epsilon[clock[0]] (mean_t many[t] - one), with epsilon null for 1, in the bits of NumPy: so
// that it does not matter where tasks are merged. The first iteration that gives a number which is
// not finite is kept in `diverged`.
extern "C" __global__ void merge(real *one, const real *many, const real *epsilon,
                                 const long long *clock, int *diverged, int T, long long P) {
    const real step = epsilon ? epsilon[clock[0]] : 1;
    for (long long e = thread_number(); e < P; e += threads_in_row()) {
        real sum = 0;
        for (int t = 0; t < T; ++t) sum += many[t * P + e];
        const real mean = sum / T;
        const real result = epsilon ? one[e] + rounded_product(step, mean - one[e]) : mean;
        one[e] = result;
        if (!(result - result == 0))  // NaN or infinite
            atomicMin(diverged, (int)clock[1] + 1);
    }
}

// The next iteration.
extern "C" __global__ void tick(long long *clock) {
    clock[0] += 1;
    clock[1] += 1;
}

// phi *= rate: weight decay before a step.
extern "C" __global__ void decay(real *phi, real rate, long long size) {
    for (long long e = thread_number(); e < size; e += threads_in_row()) phi[e] *= rate;
}
