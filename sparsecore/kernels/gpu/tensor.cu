// Gradient of the values on tensor cores: a block computes a tile of grad x inputs^T on the chip, keeps the entries where
// links are, and forgets the rest. bfloat16, summed in float32.

static const int SIDE = 64;         // outputs and inputs of a tile
static const int DEPTH = 64;        // samples staged at a time
static const int PITCH = DEPTH + 8; // of a staged row, in numbers: neighbouring rows lie in different banks
static const int QUARTER = SIDE / 2; // each of the four warps computes a quarter of the tile
static const int ALONG_M = QUARTER / 16, ALONG_N = QUARTER / 8;

#ifndef TENSOR_CORES
// c += a b for a 16 x 16 and b 16 x 8, both with the 16 samples side by side; PTX ISA, mma.m16n8k16.
__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// Samples low .. low + DEPTH - 1 of SIDE neurons from `first` on, zeros beyond the last neuron and sample.
__device__ __forceinline__ void stage_tile(const bf16 *from, i64 first, i64 n, i64 low, i64 batch, bf16 *to) {
    static const int V = 8;
    for (int k = threadIdx.x; k < SIDE * DEPTH / V; k += blockDim.x) {
        int row = k / (DEPTH / V), at = k % (DEPTH / V) * V;
        Vec<bf16, V> part = {};
        if (first + row < n && low + at < batch)
            part = *reinterpret_cast<const Vec<bf16, V> *>(from + (first + row) * batch + low + at);
        *reinterpret_cast<Vec<bf16, V> *>(to + row * PITCH + at) = part;
    }
}

__device__ __forceinline__ unsigned pair_at(const bf16 *tile, int row, int at) {
    return *reinterpret_cast<const unsigned *>(tile + row * PITCH + at);
}

// The first position in low .. high whose neuron is at least `wanted`.
__device__ __forceinline__ i64 first_from(const int *rows, i64 low, i64 high, i64 wanted) {
    while (low < high) {
        i64 middle = (low + high) >> 1;
        if (rows[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// grad_values[p] = sum over samples of g[row of p] * x[column of p]; `batch` is a multiple of 8, rows are 16-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 4)
    sddmm_tensor(i64 n_out, i64 n_in, const i64 *col_ptr, const int *rows, const bf16 *g, const bf16 *x, i64 batch,
                 float *grads) {
    DYNAMIC_SHARED(shared);
    bf16 *of_g = reinterpret_cast<bf16 *>(shared), *of_x = of_g + SIDE * PITCH;
    float *sums = reinterpret_cast<float *>(shared);
    int lane = threadIdx.x & (WARP - 1), warp = threadIdx.x / WARP, group = lane >> 2, pair = (lane & 3) * 2;
    int top = warp / 2 * QUARTER, left = warp % 2 * QUARTER;
    i64 first_out = (i64)blockIdx.x * SIDE;
    for (i64 first_in = (i64)blockIdx.y * SIDE; first_in < n_in; first_in += (i64)gridDim.y * SIDE) {
        float acc[ALONG_M][ALONG_N][4] = {};
        for (i64 low = 0; low < batch; low += DEPTH) {
            __syncthreads();  // what was staged before is no longer read
            stage_tile(g, first_out, n_out, low, batch, of_g);
            stage_tile(x, first_in, n_in, low, batch, of_x);
            __syncthreads();
#pragma unroll
            for (int k = 0; k < DEPTH; k += 16) {
                unsigned a[ALONG_M][4], b[ALONG_N][2];
#pragma unroll
                for (int m = 0; m < ALONG_M; m++) {
                    int row = top + 16 * m + group;
                    a[m][0] = pair_at(of_g, row, k + pair), a[m][1] = pair_at(of_g, row + 8, k + pair);
                    a[m][2] = pair_at(of_g, row, k + pair + 8), a[m][3] = pair_at(of_g, row + 8, k + pair + 8);
                }
#pragma unroll
                for (int n = 0; n < ALONG_N; n++) {
                    int row = left + 8 * n + group;
                    b[n][0] = pair_at(of_x, row, k + pair), b[n][1] = pair_at(of_x, row, k + pair + 8);
                }
#pragma unroll
                for (int m = 0; m < ALONG_M; m++)
#pragma unroll
                    for (int n = 0; n < ALONG_N; n++) multiply(acc[m][n], a[m], b[n]);
            }
        }
        __syncthreads();  // the sums take the place of what was staged
#pragma unroll
        for (int m = 0; m < ALONG_M; m++)
#pragma unroll
            for (int n = 0; n < ALONG_N; n++)
#pragma unroll
                for (int c = 0; c < 4; c++)
                    sums[(top + 16 * m + group + c / 2 * 8) * (SIDE + 1) + left + 8 * n + pair + c % 2] = acc[m][n][c];
        __syncthreads();
        for (int k = warp; k < SIDE && first_in + k < n_in; k += (int)blockDim.x / WARP) {
            i64 end = col_ptr[first_in + k + 1];
            i64 p = first_from(rows, col_ptr[first_in + k], end, first_out) + lane;
            for (; p < end && rows[p] < first_out + SIDE; p += WARP)
                grads[p] = sums[(int)(rows[p] - first_out) * (SIDE + 1) + k];
        }
    }
}
