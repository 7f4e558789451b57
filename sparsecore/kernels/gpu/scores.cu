// Exact scores of all missing links of a tile of outputs and inputs, from paths u - z1 - z2 - v. What inner nodes weigh
// is first written down for every end of the tile; a thread then adds up one score, always in the same order.

static const int CN = 0, RA = 1, CH2 = 2, CH3 = 3, CH31 = 31;

// Weight of an inner node of `degree` neighbours, `common` of which it shares with the end: in a sum over nodes, or, as
// one of two factors, in a sum over paths.
__device__ double node_weight(i64 rule, i64 common, i64 degree) {
    double free = (double)(degree - common);
    if (rule == CH3) return 1.0 / free;
    if (rule == CH31) return ((double)common + 1.0) / pow(free, 1.0 + (free - 1.0) / free);
    return ((double)common + 1.0) / free;
}
__device__ double path_weight(i64 rule, i64 common, i64 degree) {
    if (rule == CN) return 1.0;
    if (rule == RA) return 1.0 / sqrt((double)degree);
    return sqrt(node_weight(rule, common, degree));
}

// weights[e][z] of inner node z towards end first + e of the same side; 0 where they share no neighbour, or all of z's.
extern "C" __global__ void __launch_bounds__(256)
    end_weights(i64 first, i64 n_ends, i64 n, const i64 *ptr, const int *near, const i64 *bits, i64 words, i64 rule,
                i64 by_paths, double *weights) {
    for (i64 k = thread_index(); k < n_ends * n; k += n_threads()) {
        i64 e = k / n, z = k % n, common = 0, degree = ptr[z + 1] - ptr[z];
        const i64 *of_end = bits + e * words;
        for (i64 p = ptr[z]; p < ptr[z + 1]; p++) common += (of_end[near[p] >> 6] >> (near[p] & 63)) & 1;
        double weight = 0.0;
        if (z != first + e && common > 0 && common < degree)
            weight = by_paths ? path_weight(rule, common, degree) : node_weight(rule, common, degree);
        weights[k] = weight;
    }
}

// scores[u - first_u][v - first_v]; 0 where the link exists. `of_outs` are the weights of outputs z2 towards u, `of_ins`
// those of inputs z1 towards v, `bits` the inputs linked to u.
extern "C" __global__ void __launch_bounds__(256)
    score_tile(i64 first_u, i64 n_u, i64 first_v, i64 n_v, i64 n_out, i64 n_in, const i64 *row_ptr,
               const int *row_cols, const i64 *col_ptr, const int *rows, const i64 *bits, i64 words,
               const double *of_outs, const double *of_ins, i64 by_paths, double *scores) {
    for (i64 k = thread_index(); k < n_u * n_v; k += n_threads()) {
        i64 u = k / n_v, v = first_v + k % n_v;
        const i64 *linked = bits + u * words;
        const double *to_u = of_outs + u * n_out, *to_v = of_ins + (k % n_v) * n_in;
        double total = 0.0;
        if (((linked[v >> 6] >> (v & 63)) & 1) == 0) {
            for (i64 q = col_ptr[v]; q < col_ptr[v + 1]; q++) {
                i64 z2 = rows[q];
                double weight = to_u[z2];
                if (!by_paths || weight == 0.0) {
                    total += weight;
                    continue;
                }
                for (i64 p = row_ptr[z2]; p < row_ptr[z2 + 1]; p++) {
                    i64 z1 = row_cols[p];
                    if ((linked[z1 >> 6] >> (z1 & 63)) & 1) total += weight * to_v[z1];
                }
            }
            if (!by_paths)
                for (i64 p = row_ptr[first_u + u]; p < row_ptr[first_u + u + 1]; p++) total += to_v[row_cols[p]];
        }
        scores[k] = total;
    }
}
