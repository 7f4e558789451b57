// Products of link lists with activations. Activations are feature-major: x[feature * batch + sample], so that a link
// reads and a neuron writes neighbouring numbers. No sum depends on the order in which blocks run.

static const int ROW_WARPS = 8;    // warps of a block that take a row each
static const int TILE_WARPS = 16;  // warps of a block that share a tile of x
static const int TILE_ROWS = 8;    // rows of each of them
static const int GROUP = 8;        // links whose gradients one warp sums together

template <typename A> struct alignas(2 * sizeof(A)) Link {
    A value;
    int at;
};

// One warp's next links, at most 32 of one row, where all its lanes can read them.
template <typename A>
__device__ __forceinline__ int stage(Link<A> *waiting, const int *cols, const A *values, i64 p, i64 end, int low,
                                     int high) {
    int lane = threadIdx.x & (WARP - 1);
    bool mine = p + lane < end;
    int col = mine ? cols[p + lane] : high;
    mine = mine && col < high;
    if (mine) {
        waiting[lane].value = values[p + lane];
        waiting[lane].at = col - low;
    }
    int n = __popc(__ballot_sync(ALL_LANES, mine));
    __syncwarp();
    return n;
}

// Adds the staged links: acc[k] += value * x[at * stride + k].
template <typename T, int V, typename A>
__device__ __forceinline__ void add_links(const Link<A> *waiting, int n, const T *x, i64 stride, A (&acc)[V]) {
#pragma unroll 4
    for (int k = 0; k < n; k++) {
        Link<A> link = waiting[k];
        A part[V];
        load<V>(x + link.at * stride, part);
#pragma unroll
        for (int v = 0; v < V; v++) acc[v] += link.value * part[v];
    }
}

// Bias, rectifier and gate of the rectifier below, then the result in storage precision.
template <typename T, int V, typename A>
__device__ __forceinline__ void finish(A (&acc)[V], i64 row, i64 at, const A *bias, const T *gate, i64 relu, T *y) {
    A open[V];
    if (gate) load<V>(gate + at, open);
#pragma unroll
    for (int v = 0; v < V; v++) {
        if (bias) acc[v] += bias[row];
        // A NaN passes, as in torch.
        if (relu && acc[v] < A(0)) acc[v] = A(0);
        if (gate && !(open[v] > A(0))) acc[v] = A(0);
    }
    store<V>(acc, y + at);
}

// y = relu(W x + bias) * (gate > 0), a warp per row, x read through the caches.
template <typename T, int V, typename A = typename Sum<T>::type>
__device__ void spmm_rows(i64 n_rows, i64 n_cols, const i64 *ptr, const int *cols, const A *values, const T *x,
                          i64 batch, const A *bias, const T *gate, i64 relu, T *y) {
    __shared__ Link<A> waiting[ROW_WARPS][WARP];
    int lane = threadIdx.x & (WARP - 1), warp = threadIdx.x / WARP;
    i64 row = (i64)blockIdx.x * ROW_WARPS + warp;
    if (row >= n_rows) return;
    i64 first = ptr[row], end = ptr[row + 1];
    for (i64 low = (i64)blockIdx.y * WARP * V; low < batch; low += (i64)gridDim.y * WARP * V) {
        i64 b = low + lane * V;
        A acc[V] = {};
        for (i64 p = first; p < end; p += WARP) {
            int n = stage(waiting[warp], cols, values, p, end, 0, (int)n_cols);
            if (b < batch) add_links<T, V>(waiting[warp], n, x + b, batch, acc);
            __syncwarp();
        }
        if (b < batch) finish<T, V>(acc, row, row * batch + b, bias, gate, relu, y);
    }
}

// The same, where the warps of a block read x from a tile in shared memory, `height` features at a time.
template <typename T, int V, typename A = typename Sum<T>::type>
__device__ void spmm_tile(i64 n_rows, i64 n_cols, const i64 *ptr, const int *cols, const A *values, const T *x,
                          i64 batch, const A *bias, const T *gate, i64 relu, T *y, i64 height) {
    __shared__ Link<A> waiting[TILE_WARPS][WARP];
    DYNAMIC_SHARED(shared);
    T *tile = reinterpret_cast<T *>(shared);
    int lane = threadIdx.x & (WARP - 1), warp = threadIdx.x / WARP;
    i64 top = ((i64)blockIdx.x * TILE_WARPS + warp) * TILE_ROWS;
    for (i64 low = (i64)blockIdx.y * WARP * V; low < batch; low += (i64)gridDim.y * WARP * V) {
        i64 b = low + lane * V, next[TILE_ROWS];
        A acc[TILE_ROWS][V] = {};
#pragma unroll
        for (int r = 0; r < TILE_ROWS; r++) next[r] = top + r < n_rows ? ptr[top + r] : 0;
        for (i64 from = 0; from < n_cols; from += height) {
            i64 to = from + height < n_cols ? from + height : n_cols;
            __syncthreads();  // the tile before is no longer read
            for (i64 f = from + warp; f < to; f += TILE_WARPS) {
                A part[V] = {};
                if (b < batch) load<V>(x + f * batch + b, part);
                store<V>(part, tile + ((f - from) * WARP + lane) * V);
            }
            __syncthreads();
#pragma unroll
            for (int r = 0; r < TILE_ROWS; r++) {
                i64 end = top + r < n_rows ? ptr[top + r + 1] : 0;
                for (int n = WARP; n == WARP && next[r] < end; next[r] += n) {
                    n = stage(waiting[warp], cols, values, next[r], end, (int)from, (int)to);
                    add_links<T, V>(waiting[warp], n, tile + lane * V, WARP * V, acc[r]);
                    __syncwarp();
                }
            }
        }
#pragma unroll
        for (int r = 0; r < TILE_ROWS; r++)
            if (top + r < n_rows && b < batch)
                finish<T, V>(acc[r], top + r, (top + r) * batch + b, bias, gate, relu, y);
    }
}

// grad_values[p] = sum over samples of g[row of p] * x[column of p]; a warp takes neighbouring links, most of which
// share their column, whose x it then loads once.
template <typename T, int V, typename A = typename Sum<T>::type>
__device__ void sddmm(i64 n_links, const int *rows, const int *cols, const T *g, const T *x, i64 batch, A *grads) {
    int lane = threadIdx.x & (WARP - 1);
    i64 first = ((i64)blockIdx.x * ROW_WARPS + threadIdx.x / WARP) * GROUP;
    if (first >= n_links) return;
    int n = n_links - first < GROUP ? (int)(n_links - first) : GROUP;
    const T *of_g[GROUP], *of_x[GROUP];
    A acc[GROUP] = {};
#pragma unroll
    for (int k = 0; k < GROUP; k++) {
        i64 p = first + (k < n ? k : 0);
        of_g[k] = g + (i64)rows[p] * batch;
        of_x[k] = x + (i64)cols[p] * batch;
    }
    for (i64 b = lane * V; b < batch; b += WARP * V) {
        A left[V], right[V];
#pragma unroll
        for (int k = 0; k < GROUP; k++) {
            if (k >= n) continue;
            if (k == 0 || of_x[k] != of_x[k > 0 ? k - 1 : 0]) load<V>(of_x[k] + b, right);
            load<V>(of_g[k] + b, left);
#pragma unroll
            for (int v = 0; v < V; v++) acc[k] += left[v] * right[v];
        }
    }
#pragma unroll
    for (int k = 0; k < GROUP; k++) {
        A total = warp_sum(acc[k]);
        if (lane == k && k < n) grads[first + k] = total;
    }
}

// g = grad * (y > 0), and its sum over the samples of every neuron; `sums` and `y` may be missing. A warp per neuron.
template <typename T, typename A = typename Sum<T>::type>
__device__ void gate_and_sum(i64 n_rows, i64 batch, const T *grad, const T *y, T *g, A *sums) {
    i64 row = (i64)blockIdx.x * ROW_WARPS + threadIdx.x / WARP;
    if (row >= n_rows) return;
    A acc = A(0);
    for (i64 b = threadIdx.x & (WARP - 1); b < batch; b += WARP) {
        i64 at = row * batch + b;
        A value = y && !(widened(y[at]) > A(0)) ? A(0) : widened(grad[at]);
        if (y) narrow(value, g[at]);
        acc += value;
    }
    acc = warp_sum(acc);
    if (sums && (threadIdx.x & (WARP - 1)) == 0) sums[row] = acc;
}

#define SPMM_ARGUMENTS(T, A)                                                                                          \
    i64 n_rows, i64 n_cols, const i64 *ptr, const int *cols, const A *values, const T *x, i64 batch, const A *bias,   \
        const T *gate, i64 relu, T *y
#define SPMM_NAMES n_rows, n_cols, ptr, cols, values, x, batch, bias, gate, relu, y

#define PRODUCTS(T, A, V, name)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) spmm_rows_##name(SPMM_ARGUMENTS(T, A)) {                        \
        spmm_rows<T, V>(SPMM_NAMES);                                                                                  \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(512, 1) spmm_tile_##name(SPMM_ARGUMENTS(T, A), i64 height) {            \
        spmm_tile<T, V>(SPMM_NAMES, height);                                                                          \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        sddmm_##name(i64 n_links, const int *rows, const int *cols, const T *g, const T *x, i64 batch, A *grads) {    \
        sddmm<T, V>(n_links, rows, cols, g, x, batch, grads);                                                         \
    }

PRODUCTS(float, float, 4, f32_v4)
PRODUCTS(float, float, 1, f32_v1)
PRODUCTS(bf16, float, 4, bf16_v4)
PRODUCTS(bf16, float, 1, bf16_v1)
PRODUCTS(double, double, 2, f64_v2)
PRODUCTS(double, double, 1, f64_v1)

#define GATES(T, A, name)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        gate_and_sum_##name(i64 n_rows, i64 batch, const T *grad, const T *y, T *g, A *sums) {                        \
        gate_and_sum<T>(n_rows, batch, grad, y, g, sums);                                                             \
    }

GATES(float, float, f32)
GATES(bf16, float, bf16)
GATES(double, double, f64)
