// What every CUDA kernel here starts from. A source is compiled once for each type of number:
// REAL is float or double. No kernel uses atomics on sums, so every result is the same twice.

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

const int WARP = 32;
const unsigned ALL = 0xffffffffu;  // the lanes that take part: all of them

// A window sliding over images; window.py and conv2d.md, section 1, say what the numbers mean.
struct Window {
    int B, H, W, C;            // input (B, H, W, C)
    int H_out, W_out, N;       // output (B, H_out, W_out, N)
    int rows, columns;         // of the window
    int stride_r, stride_c, pad_r, pad_c;
};

// The task that a block works on is the last dimension of the grid.
__device__ inline long long task_of_block() { return blockIdx.z; }

// From `at` on, an array that may be null: an output that nobody wants.
template <class T>
__device__ inline T *part(T *array, long long at) { return array ? array + at : 0; }

// A thread's number and the number of threads along the first dimension of the grid.
__device__ inline long long thread_number() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ inline long long threads_in_row() { return (long long)gridDim.x * blockDim.x; }

// a b, rounded before anything is added to it: the bits of a processor, where the compiler would fuse.
__device__ inline real rounded_product(real a, real b) {
#if defined(CUDA_ON_CPU)
    return a * b;
#elif defined(DOUBLE)
    return __dmul_rn(a, b);
#else
    return __fmul_rn(a, b);
#endif
}

// The sum of a value over the 32 lanes of a warp, in every lane.
__device__ inline real warp_sum(real value) {
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(ALL, value, lanes);
    return value;
}

// A float's bits with the 10 bits of mantissa that tensor cores read, rounded to nearest.
// c += a b on the tensor cores of a warp, a (16, 8), b (8, 8), c (16, 8). The lane 4 g + i holds
//   a[0..3] = a(g, i), a(g + 8, i), a(g, i + 4), a(g + 8, i + 4)
//   b[0..1] = b(i, g), b(i + 4, g)
//   c[0..3] = c(g, 2 i), c(g, 2 i + 1), c(g + 8, 2 i), c(g + 8, 2 i + 1)
// (PTX ISA, "Matrix fragments for mma.m16n8k8"). A stand-in for this header may bring its own.
#if !defined(DOUBLE) && !defined(CUDA_ON_CPU)
__device__ inline unsigned to_tf32(float value) {
    unsigned bits = 0;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
#endif
    return bits;
}

__device__ inline void mma_tf32(float *c, const unsigned *a, const unsigned *b) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    __trap();  // older cards have no such instruction
#endif
}
#endif
