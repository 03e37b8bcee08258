// The blocks, warps and threads of cuda_cpu.h. Compiled without the sanitizer and linked to every
// library of kernels.

#include "cuda_cpu.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

// The linker's names for both ends of the section that holds every __shared__ array, if any.
extern "C" __attribute__((weak, visibility("hidden"))) char __start_block_shared[];
extern "C" __attribute__((weak, visibility("hidden"))) char __stop_block_shared[];

namespace cuda_cpu {

dim3 grid, block;
Indices<0> block_number;
Thread *threads, *current;
bool read[6];

namespace {

const size_t STACK = 1 << 17;
std::vector<Thread> all;
std::vector<std::unique_ptr<char[]>> stacks;
void *scheduler;           // its stack's top, while a thread runs
void (*body)(void *);
void *body_argument;
unsigned long long order;  // 0 ascending, 1 descending, more: the seed of a shuffle
std::string trouble;

// ---------------------------------------------------------------------------- threads as fibers

// Save what a function must preserve on this stack, and go on with what lies on the other one.
// ucontext.h does it anywhere, but with two system calls for every switch there and back, and the
// address sanitizer clears the shadow of a whole stack each time.
extern "C" __attribute__((visibility("hidden"))) void cuda_cpu_switch(void **save, void *load);
#if defined(__x86_64__)
asm(R"(
.text
.type cuda_cpu_switch, @function
cuda_cpu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size cuda_cpu_switch, . - cuda_cpu_switch
)");
const int RETURN = 6, FRAME = 8;  // words: the return address lies above six registers
#elif defined(__aarch64__)
asm(R"(
.text
.type cuda_cpu_switch, %function
cuda_cpu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size cuda_cpu_switch, . - cuda_cpu_switch
)");
const int RETURN = 11, FRAME = 20;  // words: the return address is x30, the twelfth
#else
#error "no switch between threads is known for this processor"
#endif

void run_thread() {
    body(body_argument);
    current->state = DONE;
    cuda_cpu_switch(&current->stack, scheduler);
}

// The first switch to a thread returns into `run_thread`, on an empty stack.
void prepare(Thread &thread, char *stack) {
    void **frame = reinterpret_cast<void **>(stack + STACK) - FRAME;
    std::fill_n(frame, FRAME, nullptr);
    frame[RETURN] = reinterpret_cast<void *>(run_thread);
    thread.stack = frame;
}

// -------------------------------------------------------------------------------------- turns

unsigned long long random_bits() {  // xorshift64*
    order ^= order >> 12, order ^= order << 25, order ^= order >> 27;
    return order * 2685821657736338717ull >> 33;
}

// 0, 1, ..., n - 1 in the order asked for.
void arrange(std::vector<unsigned> &turns, unsigned n) {
    turns.resize(n);
    std::iota(turns.begin(), turns.end(), 0u);
    if (order == 1) std::reverse(turns.begin(), turns.end());
    if (order > 1)
        for (unsigned i = n - 1; i > 0; --i) std::swap(turns[i], turns[random_bits() % (i + 1)]);
}

bool apart(const Thread &a, const Thread &b) {
    return a.state != b.state || a.site.line != b.site.line ||
           std::strcmp(a.site.file, b.site.file) != 0;
}

// These threads go on if every one of them waits, all at the same barrier.
bool release(unsigned first, unsigned end, State barrier) {
    for (unsigned i = first; i < end; ++i)
        if (all[i].state != barrier || apart(all[i], all[first])) return false;
    for (unsigned i = first; i < end; ++i) all[i].state = READY;
    return true;
}

void run_warp(unsigned first) {
    static std::vector<unsigned> lanes;
    const unsigned end = std::min<size_t>(first + LANES, all.size());
    do {
        arrange(lanes, end - first);
        for (unsigned lane : lanes) {
            current = &all[first + lane];
            if (current->state == READY) cuda_cpu_switch(&scheduler, current->stack);
        }
    } while (release(first, end, AT_WARP) && (order < 2 || random_bits() % 4));
}

bool any(State state) {
    return std::any_of(all.begin(), all.end(), [=](const Thread &t) { return t.state == state; });
}

std::string describe(const Thread &t) {
    const std::string who = "thread " + std::to_string(t.number);
    if (t.state == DONE) return who + " has ended";
    return who + " waits at " + t.site.file + ":" + std::to_string(t.site.line);
}

// Not memset, to which the sanitizer would object: between the arrays lies what nobody may touch.
__attribute__((optimize("no-tree-loop-distribute-patterns"))) void forget_shared_memory() {
    for (char *at = __start_block_shared; at != __stop_block_shared; ++at) *at = '\xff';
}

bool run_block() {
    const unsigned n = block.x * block.y * block.z;
    while (stacks.size() < n) stacks.emplace_back(new char[STACK]);
    all.assign(n, Thread());
    threads = all.data();
    for (unsigned i = 0; i < n; ++i) {
        all[i].index = {{i % block.x}, {i / block.x % block.y}, {i / block.x / block.y}};
        all[i].number = i;
        prepare(all[i], stacks[i].get());
    }
    forget_shared_memory();
    std::vector<unsigned> warps;
    do {
        arrange(warps, (n + LANES - 1) / LANES);
        for (unsigned warp : warps) run_warp(warp * LANES);
    } while (any(READY) || release(0, n, AT_BLOCK));
    const auto waits = [](const Thread &t) { return t.state != DONE; };
    const auto one = std::find_if(all.begin(), all.end(), waits);
    if (one == all.end()) return true;
    const auto other =
        std::find_if(all.begin(), all.end(), [&](const Thread &t) { return apart(t, *one); });
    trouble = "not all threads reach a barrier: " + describe(*one) +
              (other == all.end() ? "" : ", " + describe(*other));
    stacks.clear();  // the sanitizer's marks on them are those of functions that never returned
    return false;
}

}  // namespace

void wait(State barrier, Site site) {
    Thread *me = current;
    me->state = barrier, me->site = site;
    cuda_cpu_switch(&me->stack, scheduler);
}

const char *run(void (*call)(void *), void *with, const unsigned *sizes, unsigned long long seed) {
    grid = {sizes[0], sizes[1], sizes[2]}, block = {sizes[3], sizes[4], sizes[5]};
    body = call, body_argument = with, order = seed;
    std::vector<unsigned> blocks;
    arrange(blocks, grid.x * grid.y * grid.z);
    std::fill_n(read, 6, false);
    for (unsigned b : blocks) {
        block_number = {{b % grid.x}, {b / grid.x % grid.y}, {b / grid.x / grid.y}};
        if (!run_block()) return trouble.c_str();
    }
    for (int axis = 0; axis < 6; ++axis)
        if (sizes[axis] > 1 && !read[axis]) {
            trouble = std::string(axis < 3 ? "blocks" : "threads") + " along " + "xyz"[axis % 3] +
                      " all do the same";
            return trouble.c_str();
        }
    return nullptr;
}

}  // namespace cuda_cpu
