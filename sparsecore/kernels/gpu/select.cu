// Random keys, sums over sorted lists, and lists as bitsets.

static const double HALF_STEP = 5.551115123125783e-17;  // 2**-54
static const double ZERO_KEY = 8.988465674311579e307, ZERO_STEP = 1e300;

// Key log E - temperature * log weight of every id, E ~ Exp(1) a function of seed and id; weights of 0 lie above all
// others. The n smallest keys are a successive sample; as soft_keys of sparsecore.kernels.cpu.select.
extern "C" __global__ void __launch_bounds__(256)
    soft_keys(i64 n, const i64 *ids, const double *weights, double temperature, u64 seed, double *keys) {
    for (i64 k = thread_index(); k < n; k += n_threads()) {
        double u = uniform(next_state(stream(seed, ids[k])));
        double noise = log(u > 0.0 ? -log(1.0 - u) : HALF_STEP);
        double weight = weights[k];
        keys[k] = weight > 0.0 ? noise - temperature * log(weight) : ZERO_KEY + (noise + 64.0) * ZERO_STEP;
    }
}

// sums[i] = sum of values[order[p]] over p in ptr[i] .. ptr[i + 1] - 1, from the first to the last; `order` may be missing.
extern "C" __global__ void __launch_bounds__(256)
    list_sums(i64 n, const i64 *ptr, const i64 *order, const double *values, double *sums) {
    for (i64 i = thread_index(); i < n; i += n_threads()) {
        double sum = 0.0;
        for (i64 p = ptr[i]; p < ptr[i + 1]; p++) sum += values[order ? order[p] : p];
        sums[i] = sum;
    }
}

// Bitsets of the sorted lists of nodes first .. first + n - 1, `words` words each; a thread per word.
extern "C" __global__ void __launch_bounds__(256)
    list_bits(i64 first, i64 n, const i64 *ptr, const int *near, i64 words, i64 *bits) {
    for (i64 k = thread_index(); k < n * words; k += n_threads()) {
        i64 node = first + k / words, from = (k % words) << 6, low = ptr[node], high = ptr[node + 1];
        while (low < high) {
            i64 middle = (low + high) >> 1;
            if (near[middle] < from)
                low = middle + 1;
            else
                high = middle;
        }
        u64 word = 0;
        for (; low < ptr[node + 1] && near[low] < from + 64; low++) word |= 1ull << (near[low] - from);
        bits[k] = (i64)word;
    }
}

// 0, 1, 2, ...: whether kernels run at all.
extern "C" __global__ void __launch_bounds__(256) fill_iota(i64 *out, i64 n) {
    for (i64 k = thread_index(); k < n; k += n_threads()) out[k] = k;
}
