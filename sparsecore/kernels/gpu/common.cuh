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
