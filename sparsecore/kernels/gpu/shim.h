// Lets a host compiler build the kernels and run them thread by thread: every CUDA thread is a fiber, every barrier and
// warp exchange a switch between fibers. Blocks run one after the other. What hardware leaves undefined (a thread that
// never comes to a barrier, a warp exchange without all lanes) ends the launch with an error.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <functional>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define DYNAMIC_SHARED(name) unsigned char *name = shim::shared_memory

struct uint3_ {
    unsigned x, y, z;
};
static uint3_ threadIdx, blockIdx, blockDim, gridDim;

namespace shim {
static const size_t STACK = 1 << 18, SHARED = 1 << 18;
alignas(16) static unsigned char shared_memory[SHARED];

enum State { READY, AT_WARP, AT_BLOCK, DONE };
struct Fiber {
    ucontext_t context;
    State state;
    void *fake_stack;
};
static std::vector<Fiber> fibers;
static unsigned char *stacks = nullptr;
static size_t n_stacks = 0;
static ucontext_t home;
static void *home_fake = nullptr;
static const void *home_bottom = nullptr;
static size_t home_size = 0;
static unsigned current = 0;
static u_int64_t slots[1024];
static const std::function<void()> *body = nullptr;

static void to_fiber(unsigned k) {
    current = k;
    threadIdx = {k, 0, 0};
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&home_fake, stacks + k * STACK, STACK);
#endif
    swapcontext(&home, &fibers[k].context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(home_fake, nullptr, nullptr);
#endif
}

static void to_home(State state) {
    Fiber &fiber = fibers[current];
    fiber.state = state;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(state == DONE ? nullptr : &fiber.fake_stack, home_bottom, home_size);
#endif
    swapcontext(&fiber.context, &home);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#endif
}

static void entry() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &home_bottom, &home_size);
#endif
    (*body)();
    to_home(DONE);
}

// Runs one warp as far as it comes without the others: to a barrier of the block, or to its end.
static const char *run_warp(unsigned low, unsigned high, bool backwards) {
    while (true) {
        unsigned waiting = 0;
        for (unsigned i = 0; i < high - low; i++) {
            unsigned k = backwards ? high - 1 - i : low + i;
            if (fibers[k].state == READY) to_fiber(k);
        }
        for (unsigned k = low; k < high; k++) waiting += fibers[k].state == AT_WARP;
        if (!waiting) return nullptr;
        if (waiting != high - low) return "a warp exchange that not all lanes of the warp reach";
        for (unsigned k = low; k < high; k++) fibers[k].state = READY;
    }
}

static const char *run_block(unsigned n, bool backwards) {
    memset(slots, 0xee, sizeof slots);
    for (unsigned k = 0; k < n; k++) {
        fibers[k].state = READY;
        fibers[k].fake_stack = nullptr;
        getcontext(&fibers[k].context);
        fibers[k].context.uc_stack.ss_sp = stacks + k * STACK;
        fibers[k].context.uc_stack.ss_size = STACK;
        fibers[k].context.uc_link = nullptr;
        makecontext(&fibers[k].context, entry, 0);
    }
    unsigned n_warps = (n + 31) / 32, done = 0;
    while (done < n) {
        unsigned at_block = 0;
        for (unsigned i = 0; i < n_warps; i++) {
            unsigned low = 32 * (backwards ? n_warps - 1 - i : i), high = low + 32 < n ? low + 32 : n;
            if (const char *error = run_warp(low, high, backwards)) return error;
        }
        for (unsigned k = 0; k < n; k++) at_block += fibers[k].state == AT_BLOCK;
        done = n - at_block;
        if (at_block && done) return "a barrier that not all threads of the block reach";
        for (unsigned k = 0; k < n && at_block; k++) fibers[k].state = READY;
    }
    return nullptr;
}

static const char *run(unsigned gx, unsigned gy, unsigned threads, size_t shared, bool backwards,
                       const std::function<void()> &kernel) {
    if (shared > SHARED || threads == 0 || threads > 1024) return "more threads or shared memory than a block has";
    if (n_stacks < threads) {
        if (stacks) munmap(stacks, n_stacks * STACK);
        stacks = (unsigned char *)mmap(nullptr, threads * STACK, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        n_stacks = threads;
        fibers.resize(threads);
    }
    body = &kernel;
    blockDim = {threads, 1, 1};
    gridDim = {gx, gy, 1};
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(shared_memory, SHARED);
    ASAN_POISON_MEMORY_REGION(shared_memory + shared, SHARED - shared);
#endif
    for (unsigned y = 0; y < gy; y++)
        for (unsigned x = 0; x < gx; x++) {
            memset(shared_memory, 0xff, shared);  // NaN in every float type: nothing is zero by itself
            blockIdx = {x, y, 0};
            if (const char *error = run_block(threads, backwards)) return error;
        }
    return nullptr;
}

template <typename T> static T exchange(T mine, unsigned from) {
    unsigned base = current & ~31u;
    u_int64_t bits = 0;
    memcpy(&bits, &mine, sizeof mine);
    slots[current] = bits;
    to_home(AT_WARP);
    bits = slots[base + (from & 31u)];
    to_home(AT_WARP);
    memcpy(&mine, &bits, sizeof mine);
    return mine;
}
}  // namespace shim

static inline void __syncthreads() { shim::to_home(shim::AT_BLOCK); }
static inline void __syncwarp() { shim::to_home(shim::AT_WARP); }
template <typename T> static T __shfl_xor_sync(unsigned, T x, int step) {
    return shim::exchange(x, (shim::current & 31u) ^ (unsigned)step);
}
template <typename T> static T __shfl_sync(unsigned, T x, int lane) { return shim::exchange(x, (unsigned)lane); }
static inline unsigned __ballot_sync(unsigned, bool mine) {
    unsigned base = shim::current & ~31u, all = 0;
    shim::slots[shim::current] = mine;
    shim::to_home(shim::AT_WARP);
    for (unsigned lane = 0; lane < 32; lane++) all |= (unsigned)(shim::slots[base + lane] & 1) << lane;
    shim::to_home(shim::AT_WARP);
    return all;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// Tensor cores: every lane hands in its parts of both matrices and adds up its own part of the product.
#define TENSOR_CORES
namespace shim {
static unsigned fragments[1024][6];
static float half_of(unsigned pair, int which) {
    unsigned bits = (which ? pair >> 16 : pair & 0xffffu) << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
}  // namespace shim
static void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    unsigned base = shim::current & ~31u, lane = shim::current & 31u;
    memcpy(shim::fragments[shim::current], a, sizeof a);
    memcpy(shim::fragments[shim::current] + 4, b, sizeof b);
    shim::to_home(shim::AT_WARP);
    for (int part = 0; part < 4; part++) {
        unsigned row = lane / 4, col = lane % 4 * 2 + part % 2;
        for (int k = 0; k < 16; k++) {
            unsigned *of_a = shim::fragments[base + 4 * row + k % 8 / 2], *of_b = shim::fragments[base + 4 * col + k % 8 / 2];
            c[part] += shim::half_of(of_a[part / 2 + k / 8 * 2], k % 2) * shim::half_of(of_b[4 + k / 8], k % 2);
        }
    }
    shim::to_home(shim::AT_WARP);
}
template <typename T> static T atomicOr(T *at, T bits) {
    T old = *at;
    *at |= bits;
    return old;
}
template <typename T> static T atomicAdd(T *at, T more) {
    T old = *at;
    *at += more;
    return old;
}
template <typename T> static T atomicMax(T *at, T other) {
    T old = *at;
    *at = old > other ? old : other;
    return old;
}
