"""Runs every kernel under the sanitizers of the host compiler; a process of its own, with their library preloaded."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from strategies import random_topology

from sparsecore.kernels.gpu.host import HostRuntime
from sparsecore.kernels.gpu.lists import lists_of
from sparsecore.kernels.gpu.products import accumulator, gate_and_sum, sddmm, spmm, spmm_t


def products(runtime):
    for n_out, n_in, batch, density in ((6, 30, 1032, 0.4), (40, 50, 33, 0.2), (130, 20, 4, 0.5), (3, 2, 1, 0.0)):
        topology = random_topology(n_out, n_in, density)
        lists = lists_of(topology, torch.device("cpu"))
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            values = torch.randn(topology.n_links, dtype=accumulator(dtype))
            x, grad = torch.randn(n_in, batch).to(dtype), torch.randn(n_out, batch).to(dtype)
            for tiled in (False, True):
                spmm(runtime, lists, values, x, values.new_ones(n_out), relu=True, tiled=tiled)
                spmm_t(runtime, lists, values, grad, x, tiled=tiled)
            sddmm(runtime, lists, grad, x)
            gate_and_sum(runtime, grad, grad, sums=True)


if __name__ == "__main__":
    products(HostRuntime(sanitize=True))
    sys.stdout.write("all kernels ran\n")
