// CUDA on the CPU, for tests: enough of the language for kernels/*.cu to be compiled by g++ and run
// under the address sanitizer. Blocks run one after another, in an order that varies as that of
// their threads does. A block's threads are fibers that give way at barriers and shuffles only.
// The order is ascending, descending, or shuffled at every turn; in the first two a warp runs on as
// far as it can, in the third it may fall behind. Where a barrier is missing, some order reads what
// is not yet written. Shared memory is NaN (bytes 0xff) when a block begins.
//
// What it cannot show: limits of a real card, races between threads that no order of whole
// stretches between barriers brings about, and those that a shuffle hides, which is a barrier here.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#define CUDA_ON_CPU
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static __attribute__((section("block_shared")))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

using std::exp;
using std::fabs;
using std::isfinite;
using std::isnan;
using std::log;
using std::pow;
using std::sqrt;
using std::tanh;
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
template <class T> T rsqrt(T x) { return 1 / sqrt(x); }
inline int atomicMin(int *at, int value) {
    const int old = *at;
    if (value < old) *at = value;
    return old;
}

// An index along one axis, which notes that it was read: a launch has no threads or blocks along an
// axis that its kernel never looks at, since they would all do the same.
template <unsigned axis> struct Index {
    unsigned value;
    operator unsigned() const;
};

template <unsigned first> struct Indices {
    Index<first> x;
    Index<first + 1> y;
    Index<first + 2> z;
};

struct dim3 {
    unsigned x, y, z;
};

// ------------------------------------------------------- blocks, warps and threads: cuda_cpu.cpp

#pragma GCC visibility push(hidden)
namespace cuda_cpu {

const unsigned LANES = 32;  // of a warp

enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Site {  // a line of a kernel
    const char *file;
    int line;
};

struct Thread {
    Indices<3> index;
    unsigned number;
    State state;
    Site site;            // where it waits
    const void *carried;  // what a shuffle hands over
    void *stack;          // its top, while others run
};

extern dim3 grid, block;
extern Indices<0> block_number;
extern Thread *threads;  // of the block
extern Thread *current;
extern bool read[6];  // which of the axes of blockIdx and threadIdx

// Give way until the others of the block or of the warp are here too.
void wait(State barrier, Site site);

// Call a function for every thread of every block, with the sizes of grid and block; nullptr, or
// why some threads of a block never go on.
const char *run(void (*call)(void *), void *with, const unsigned *sizes, unsigned long long order);

}  // namespace cuda_cpu
#pragma GCC visibility pop

template <unsigned axis> Index<axis>::operator unsigned() const {
    cuda_cpu::read[axis] = true;
    return value;
}

#define threadIdx (cuda_cpu::current->index)
#define blockIdx (cuda_cpu::block_number)
#define blockDim (cuda_cpu::block)
#define gridDim (cuda_cpu::grid)

// A default argument knows the line of the call.
#define CALLERS_LINE cuda_cpu::Site site = {__builtin_FILE(), __builtin_LINE()}

inline void __syncthreads(CALLERS_LINE) { cuda_cpu::wait(cuda_cpu::AT_BLOCK, site); }
inline void __syncwarp(unsigned = ~0u, CALLERS_LINE) { cuda_cpu::wait(cuda_cpu::AT_WARP, site); }

namespace cuda_cpu {

template <class T> const T &carried_by(unsigned lane) {
    return *static_cast<const T *>(threads[current->number / LANES * LANES + lane % LANES].carried);
}

template <class T> T shuffle(T value, unsigned from, Site site) {
    current->carried = &value;
    wait(AT_WARP, site);
    const T got = carried_by<T>(from);
    wait(AT_WARP, site);
    return got;
}

}  // namespace cuda_cpu

template <class T> T __shfl_sync(unsigned, T value, int lane, CALLERS_LINE) {
    return cuda_cpu::shuffle(value, lane, site);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int lanes, CALLERS_LINE) {
    return cuda_cpu::shuffle(value, cuda_cpu::current->number % 32 ^ lanes, site);
}

// ------------------------------------------------------------- tensor cores, as in device.cuh

inline unsigned to_tf32(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return (bits + 0x1000) & 0xffffe000;  // 10 bits of mantissa, to nearest, ties away from zero
}

inline float from_bits(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline void mma_tf32(float *c, const unsigned *a, const unsigned *b, CALLERS_LINE) {
    struct Operands {
        unsigned a[4], b[2];
    };
    const Operands mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    cuda_cpu::current->carried = &mine;
    cuda_cpu::wait(cuda_cpu::AT_WARP, site);
    const int lane = cuda_cpu::current->number % 32, g = lane / 4, i = lane % 4;
    for (int k = 0; k < 8; ++k)
        for (int e = 0; e < 4; ++e) {  // c(g + 8 (e / 2), 2 i + e % 2)
            const unsigned row = 4 * g + k % 4, column = 4 * (2 * i + e % 2) + k % 4;
            c[e] += from_bits(cuda_cpu::carried_by<Operands>(row).a[k / 4 * 2 + e / 2]) *
                    from_bits(cuda_cpu::carried_by<Operands>(column).b[k / 4]);
        }
    cuda_cpu::wait(cuda_cpu::AT_WARP, site);
}

// ------------------------------------------------------------------- calls from cuda_on_cpu.py

namespace cuda_cpu {

// A parameter's type as NumPy writes it: f4, i8, V52 for a struct; *f4 for an address.
template <class T> void name_type(char *&at, char *end) {
    using Value = std::remove_cv_t<std::remove_pointer_t<T>>;
    const char kind = std::is_floating_point<Value>::value ? 'f'
                      : !std::is_integral<Value>::value    ? 'V'
                      : std::is_signed<Value>::value       ? 'i'
                                                           : 'u';
    const char *star = std::is_pointer<T>::value ? "*" : "";
    at += std::snprintf(at, end - at, "%s%c%zu ", star, kind, sizeof(Value));
}

template <class... A> const char *signature(void (*)(A...)) {
    static char text[400];
    char *at = text;
    (name_type<A>(at, text + sizeof text), ...);
    return text;
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A *>(arguments[I])...);
}

template <class... A>
const char *launch(void (*kernel)(A...), const unsigned *sizes, unsigned long long order,
                   void **arguments) {
    struct Call {
        void (*kernel)(A...);
        void **arguments;
    } one = {kernel, arguments};
    return run([](void *with) {
        const Call &c = *static_cast<Call *>(with);
        call(c.kernel, c.arguments, std::index_sequence_for<A...>());
    }, &one, sizes, order);
}

}  // namespace cuda_cpu
