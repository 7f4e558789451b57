// What all kernels share: number types, vector loads, warp sums. No header is included, so that NVRTC, nvcc and, through
// shim.h, a host compiler take the same text.

typedef long long i64;
typedef unsigned long long u64;

static const int WARP = 32;
static const unsigned ALL_LANES = 0xffffffffu;

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

// bfloat16 as its bits: stored in 16 bits, computed with in float32.
struct bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ double widened(double x) { return x; }
__device__ __forceinline__ float widened(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

// To the nearest, ties to even, as torch does; NaN stays NaN.
__device__ __forceinline__ void narrow(float x, bf16 &to) {
    unsigned bits = __float_as_uint(x);
    to.bits = x != x ? 0x7fc0 : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
__device__ __forceinline__ void narrow(float x, float &to) { to = x; }
__device__ __forceinline__ void narrow(double x, double &to) { to = x; }

template <typename T> struct Sum {
    typedef float type;
};
template <> struct Sum<double> {
    typedef double type;
};

// V neighbouring numbers, loaded and stored at once.
template <typename T, int V> struct alignas(sizeof(T) * V) Vec {
    T at[V];
};

template <int V, typename T, typename A> __device__ __forceinline__ void load(const T *from, A (&to)[V]) {
    Vec<T, V> vec = *reinterpret_cast<const Vec<T, V> *>(from);
#pragma unroll
    for (int k = 0; k < V; k++) to[k] = widened(vec.at[k]);
}

template <int V, typename T, typename A> __device__ __forceinline__ void store(const A (&from)[V], T *to) {
    Vec<T, V> vec;
#pragma unroll
    for (int k = 0; k < V; k++) narrow(from[k], vec.at[k]);
    *reinterpret_cast<Vec<T, V> *>(to) = vec;
}

// The sum over the lanes of a warp, the same in every lane, always added in the same order.
template <typename A> __device__ __forceinline__ A warp_sum(A x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step >>= 1) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

// Random numbers as a pure function of seed and counter: the streams of sparsecore.kernels.cpu.rng, bit by bit.
static const u64 GOLDEN = 0x9E3779B97F4A7C15ull, FIRST = 0xBF58476D1CE4E5B9ull, SECOND = 0x94D049BB133111EBull;

__device__ __forceinline__ u64 mix64(u64 x) {
    x = (x ^ (x >> 30)) * FIRST;
    x = (x ^ (x >> 27)) * SECOND;
    return x ^ (x >> 31);
}
__device__ __forceinline__ u64 stream(u64 seed, i64 counter) { return mix64(seed ^ mix64((u64)counter * GOLDEN + FIRST)); }
__device__ __forceinline__ u64 next_state(u64 state) { return state + GOLDEN; }
__device__ __forceinline__ double uniform(u64 state) { return (double)(mix64(state) >> 11) * (1.0 / 9007199254740992.0); }
__device__ __forceinline__ i64 below(u64 state, i64 n) { return (i64)(uniform(state) * (double)n); }

// The index of this thread among all, and their number: for loops over more items than threads.
__device__ __forceinline__ i64 thread_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ i64 n_threads() { return (i64)gridDim.x * blockDim.x; }
