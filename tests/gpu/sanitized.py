"""Runs every kernel under the sanitizers of the host compiler; a process of its own, with their library preloaded.

``python sanitized.py overrun`` writes one number behind a tensor instead, which has to end the process.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from strategies import random_topology

from sparsecore.kernels.gpu.host import HostRuntime
from sparsecore.kernels.gpu.lists import lists_of
from sparsecore.kernels.gpu.products import accumulator, gate_and_sum, sddmm, spmm, spmm_t
from sparsecore.kernels.gpu.sample import sample_by_nodes, sample_uniformly
from sparsecore.kernels.gpu.sample_paths import sample_around_links, sample_by_paths
from sparsecore.kernels.gpu.select import list_sums, soft_keys
from sparsecore.kernels.gpu.stream import score_tiles

HOST = torch.device("cpu")


def products(runtime):
    for n_out, n_in, batch, density in ((6, 30, 136, 0.4), (20, 25, 33, 0.2), (130, 9, 4, 0.5), (3, 2, 1, 0.0)):
        topology = random_topology(n_out, n_in, density)
        lists = lists_of(topology, HOST)
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            values = torch.randn(topology.n_links, dtype=accumulator(dtype))
            x, grad = torch.randn(n_in, batch).to(dtype), torch.randn(n_out, batch).to(dtype)
            for tiled in (False, True):
                spmm(runtime, lists, values, x, values.new_ones(n_out), relu=True, tiled=tiled)
                spmm_t(runtime, lists, values, grad, x, tiled=tiled)
            for tensor in (False, True):
                sddmm(runtime, lists, grad, x, tensor=tensor)
            gate_and_sum(runtime, grad, grad, sums=True)


def links(runtime):
    for n_out, n_in, density in ((30, 100, 0.05), (20, 70, 0.4), (1, 9, 0.5), (9, 1, 0.5), (5, 5, 0.9)):
        lists = lists_of(random_topology(n_out, n_in, density), HOST)
        n = n_out * n_in // 4
        for option in (False, True):
            sample_by_nodes(runtime, lists, n, 1, overlaps=option, budget=16 * n)
            sample_by_paths(runtime, lists, n, 1, overlaps=option, budget=16 * n)
            sample_around_links(runtime, lists, n, 1, by_degree=option, budget=16 * n)
        sample_uniformly(runtime, lists, n, 1)
        for rule, by_paths in ((2, False), (31, False), (3, True), (0, True)):
            list(score_tiles(runtime, lists, rule, by_paths=by_paths, tile=300))
        list_sums(runtime, lists, torch.rand(lists.n_links, dtype=torch.float64))
        soft_keys(runtime, lists.keys, torch.rand(lists.n_links, dtype=torch.float64), 2.0, 1)


def overrun(runtime):
    runtime.launch("select", "fill_iota", (1, 1), 256, torch.empty(5, dtype=torch.int64), 6)


if __name__ == "__main__":
    host = HostRuntime(sanitize=True)
    if "overrun" in sys.argv:
        overrun(host)
    else:
        products(host)
        links(host)
    sys.stdout.write("all kernels ran\n")
