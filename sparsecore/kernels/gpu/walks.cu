// Proposals of missing links: draws in proportion to a score that nobody computes, some of them rejected (-1). Proposal
// number t uses random stream t alone. The law is that of sparsecore.kernels.cpu.propose; docs/papers.md has the proofs.
// Where the CPU draws a middle node from an alias table, here a cumulative sum is searched: it is exact in integers, and
// no list has to be rewritten link by link.

static const int TRIES = 12;  // random tries for a neighbour before all of them are listed
static const int SKEW = 16;   // a list this many times shorter than another is looked up in it

// A topology seen from one of its sides: neighbours of this side's n nodes, of the other's m, and the former as bitsets
// of `words` words each, or null.
struct Side {
    const i64 *ptr;
    const int *near;
    const i64 *far_ptr;
    const int *far;
    const u64 *bits;
    i64 n, m, words;
};

__device__ __forceinline__ bool in_list(const int *near, i64 low, i64 high, i64 wanted) {
    i64 length = high - low;
    while (length > 1) {
        i64 half = length >> 1;
        low = near[low + half] <= wanted ? low + half : low;
        length -= half;
    }
    return length == 1 && near[low] == wanted;
}

__device__ __forceinline__ bool has_link(const Side &s, i64 i, i64 a) {
    if (s.bits) return (s.bits[i * s.words + (a >> 6)] >> (a & 63)) & 1;
    return in_list(s.near, s.ptr[i], s.ptr[i + 1], a);
}

// How many neighbours below `bound` nodes i and j share; with `any`, whether there is one.
__device__ i64 common_below(const Side &s, i64 i, i64 j, i64 bound, bool any) {
    i64 common = 0;
    if (s.bits) {
        for (i64 w = 0; w < s.words && (w << 6) < bound; w++) {
            u64 both = s.bits[i * s.words + w] & s.bits[j * s.words + w];
            if (bound - (w << 6) < 64) both &= (1ull << (bound - (w << 6))) - 1;
            common += __popcll(both);
            if (any && common) return 1;
        }
        return common;
    }
    i64 a = s.ptr[i], a_end = s.ptr[i + 1], b = s.ptr[j], b_end = s.ptr[j + 1];
    if (a_end - a > b_end - b) {
        i64 t = a;
        a = b, b = t, t = a_end, a_end = b_end, b_end = t;
    }
    bool look_up = (a_end - a) * SKEW < b_end - b;
    while (a < a_end && b < b_end) {
        i64 x = s.near[a], y = s.near[b];
        if (x >= bound) break;
        bool hit = look_up ? in_list(s.near, b, b_end, x) : x == y;
        common += hit;
        if (any && hit) return 1;
        a += look_up || x <= y;
        b += !look_up && y <= x;
    }
    return common;
}

// A uniform neighbour of j that i lacks, or -1.
__device__ i64 missing_neighbour(const Side &s, i64 i, i64 j, u64 &state) {
    i64 low = s.ptr[j], high = s.ptr[j + 1], lacking = 0;
    for (int k = 0; k < TRIES; k++) {
        state = next_state(state);
        i64 a = s.near[low + below(state, high - low)];
        if (!has_link(s, i, a)) return a;
    }
    for (i64 p = low; p < high; p++) lacking += !has_link(s, i, s.near[p]);
    if (lacking == 0) return -1;
    state = next_state(state);
    i64 left = below(state, lacking);
    for (i64 p = low; p < high; p++)
        if (!has_link(s, i, s.near[p]) && left-- == 0) return s.near[p];
    return -1;
}

// The first index whose cumulative weight exceeds a number drawn below the total.
__device__ i64 draw(const i64 *cumulative, i64 n, u64 &state) {
    state = next_state(state);
    i64 wanted = below(state, cumulative[n - 1]), low = 0, high = n - 1;
    while (low < high) {
        i64 middle = (low + high) >> 1;
        if (cumulative[middle] > wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

// Two different uniform members of a list.
__device__ void draw_pair(const int *list, i64 n, u64 &state, i64 &i, i64 &j) {
    state = next_state(state);
    i64 first = below(state, n);
    state = next_state(state);
    i64 second = below(state, n - 1);
    i = list[first];
    j = list[second + (second >= first)];
}

// A link i, a in proportion to the node-based score of one side: a pair i, j with mass UU, as a uniform 2-path, or with
// mass 1 if it is connected (`once`), then a uniform neighbour of j that i lacks.
__device__ i64 pair_then_end(const Side &s, const i64 *walks, const int *active, i64 n_active, bool once, u64 state,
                             i64 &i) {
    i64 j, bound = s.m;
    if (once && n_active > 0) {
        draw_pair(active, n_active, state, i, j);
    } else {
        bound = draw(walks, s.m, state);
        draw_pair(s.far + s.far_ptr[bound], s.far_ptr[bound + 1] - s.far_ptr[bound], state, i, j);
    }
    if (once && (common_below(s, i, j, bound, true) != 0) != (n_active > 0)) return -1;
    return missing_neighbour(s, i, j, state);
}

extern "C" __global__ void __launch_bounds__(256)
    propose_by_pairs(i64 n_out, i64 n_in, const i64 *row_ptr, const int *row_cols, const i64 *col_ptr, const int *rows,
                     const u64 *out_bits, const u64 *in_bits, const i64 *out_walks, const i64 *in_walks,
                     const int *out_active, i64 n_out_active, const int *in_active, i64 n_in_active, double limit_0,
                     double limit_1, double limit_2, u64 seed, i64 start, i64 n, i64 *found) {
    Side outs = {row_ptr, row_cols, col_ptr, rows, out_bits, n_out, n_in, (n_in + 63) >> 6};
    Side ins = {col_ptr, rows, row_ptr, row_cols, in_bits, n_in, n_out, (n_out + 63) >> 6};
    for (i64 t = thread_index(); t < n; t += n_threads()) {
        u64 state = next_state(stream(seed, start + t));
        double share = uniform(state);
        bool of_outs = share < limit_1, once = of_outs ? share >= limit_0 : share >= limit_2;
        i64 i, end = of_outs ? pair_then_end(outs, out_walks, out_active, n_out_active, once, state, i)
                             : pair_then_end(ins, in_walks, in_active, n_in_active, once, state, i);
        found[t] = end < 0 ? -1 : of_outs ? i * n_in + end : end * n_in + i;
    }
}

// A path i - m - j - a with density sqrt(weight of j * weight of m), as i and a; a node weighs 1 / free, or, where the
// most it can share (`bounds`) are given, (1 + common) / free; see sparsecore.kernels.cpu.propose.
__device__ i64 path(const Side &s, const Side &other, const i64 *walks, const int *nodes, const i64 *bounds, i64 n_links,
                    u64 state, i64 &i) {
    i64 link = draw(walks, n_links, state);
    i64 j = nodes[link], m = s.near[link];
    state = next_state(state);
    i = s.far[s.far_ptr[m] + below(state, s.far_ptr[m + 1] - s.far_ptr[m])];
    if (i == j) return -1;
    i64 of_j = common_below(s, i, j, s.m, false), free_of_j = s.ptr[j + 1] - s.ptr[j] - of_j;
    if (free_of_j == 0) return -1;
    if (bounds) {
        state = next_state(state);
        if (uniform(state) * (1.0 + (double)bounds[j]) >= 1.0 + (double)of_j) return -1;
    }
    i64 a = missing_neighbour(s, i, j, state);
    i64 of_m = common_below(other, a, m, other.m, false), free_of_m = other.ptr[m + 1] - other.ptr[m] - of_m;
    double x = 1.0 / (double)free_of_j, y = 1.0 / (double)free_of_m;
    if (bounds) x *= 1.0 + (double)of_j, y *= 1.0 + (double)of_m;
    state = next_state(state);
    return uniform(state) * (x + y) >= 2.0 * sqrt(x * y) ? -1 : a;
}

extern "C" __global__ void __launch_bounds__(256)
    propose_by_paths(i64 n_out, i64 n_in, i64 n_links, const i64 *row_ptr, const int *row_cols, const i64 *col_ptr,
                     const int *rows, const u64 *out_bits, const u64 *in_bits, const i64 *out_walks,
                     const i64 *in_walks, const int *out_nodes, const int *in_nodes, const i64 *out_bounds,
                     const i64 *in_bounds, double out_share, u64 seed, i64 start, i64 n, i64 *found) {
    Side outs = {row_ptr, row_cols, col_ptr, rows, out_bits, n_out, n_in, (n_in + 63) >> 6};
    Side ins = {col_ptr, rows, row_ptr, row_cols, in_bits, n_in, n_out, (n_out + 63) >> 6};
    for (i64 t = thread_index(); t < n; t += n_threads()) {
        u64 state = next_state(stream(seed, start + t));
        bool of_outs = uniform(state) < out_share;
        i64 i, end = of_outs ? path(outs, ins, out_walks, out_nodes, out_bounds, n_links, state, i)
                             : path(ins, outs, in_walks, in_nodes, in_bounds, n_links, state, i);
        found[t] = end < 0 ? -1 : of_outs ? i * n_in + end : end * n_in + i;
    }
}

// A path u - z1 - z2 - v with the weight of its middle link alone: a link z2 - z1 with its place among the output-major
// ones in proportion to `walks`, then a uniform neighbour of either end.
extern "C" __global__ void __launch_bounds__(256)
    propose_around_links(i64 n_in, i64 n_links, const i64 *row_ptr, const int *row_cols, const i64 *col_ptr,
                         const int *rows, const i64 *walks, const int *nodes, u64 seed, i64 start, i64 n, i64 *found) {
    for (i64 t = thread_index(); t < n; t += n_threads()) {
        u64 state = stream(seed, start + t);
        i64 link = draw(walks, n_links, state), z2 = nodes[link], z1 = row_cols[link];
        state = next_state(state);
        i64 u = rows[col_ptr[z1] + below(state, col_ptr[z1 + 1] - col_ptr[z1])];
        state = next_state(state);
        i64 v = row_cols[row_ptr[z2] + below(state, row_ptr[z2 + 1] - row_ptr[z2])];
        bool open = u != z2 && v != z1 && !in_list(row_cols, row_ptr[u], row_ptr[u + 1], v);
        found[t] = open ? u * n_in + v : -1;
    }
}

// The most neighbours that node j shares with another of its side, a block per node. `height` counters at a time.
extern "C" __global__ void __launch_bounds__(256)
    largest_overlaps(i64 n, const i64 *ptr, const int *near, const i64 *far_ptr, const int *far, i64 height,
                     i64 *largest) {
    __shared__ int top;
    DYNAMIC_SHARED(shared);
    int *counts = reinterpret_cast<int *>(shared);
    int lane = threadIdx.x & (WARP - 1), warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP, mine = 0;
    i64 j = blockIdx.x;
    if (threadIdx.x == 0) top = 0;
    for (i64 from = 0; from < n; from += height) {
        for (i64 k = threadIdx.x; k < height; k += blockDim.x) counts[k] = 0;
        __syncthreads();
        for (i64 p = ptr[j] + warp; p < ptr[j + 1]; p += n_warps) {
            i64 m = near[p];
            for (i64 q = far_ptr[m] + lane; q < far_ptr[m + 1]; q += WARP) {
                i64 at = far[q] - from;
                if (far[q] != j && at >= 0 && at < height) atomicAdd(counts + at, 1);
            }
        }
        __syncthreads();
        for (i64 k = threadIdx.x; k < height; k += blockDim.x) mine = counts[k] > mine ? counts[k] : mine;
    }
    atomicMax(&top, mine);
    __syncthreads();
    if (threadIdx.x == 0) largest[j] = top;
}

// Every missing link alike.
extern "C" __global__ void __launch_bounds__(256)
    propose_uniformly(i64 n_out, i64 n_in, const i64 *row_ptr, const int *row_cols, u64 seed, i64 start, i64 n,
                      i64 *found) {
    for (i64 t = thread_index(); t < n; t += n_threads()) {
        u64 state = next_state(stream(seed, start + t));
        i64 u = below(state, n_out), v = below(next_state(state), n_in);
        found[t] = in_list(row_cols, row_ptr[u], row_ptr[u + 1], v) ? -1 : u * n_in + v;
    }
}
