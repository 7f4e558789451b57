"""A backend in one file on torch's own sparse kernels: slower, but wherever torch runs."""

from __future__ import annotations

import numpy as np
import torch

from sparsecore.kernels.backend import PrimitiveBackend
from sparsecore.storage import Topology

__all__ = ["TorchBackend"]


def _csr(topology: Topology, values: torch.Tensor, *, transposed: bool) -> torch.Tensor:
    """Return W (or its transpose) as a torch CSR tensor."""
    if transposed:
        pointers, columns, shape = topology.col_ptr, topology.rows, (topology.n_in, topology.n_out)
    else:
        pointers, columns, shape = topology.row_ptr, topology.row_cols, topology.shape
        values = values[torch.tensor(topology.row_order, dtype=torch.int64, device=values.device)]
    ptr, col = (torch.tensor(a.astype(np.int64), device=values.device) for a in (pointers, columns))
    return torch.sparse_csr_tensor(ptr, col, values, size=shape, check_invariants=False)


class TorchBackend(PrimitiveBackend):
    """``torch.sparse`` products: CSR times dense, and sampled dense-dense."""

    name = "torch"

    def spmm(self, topology: Topology, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return ``(W @ x.T).T``."""
        return (_csr(topology, values, transposed=False) @ x.t()).t()

    def spmm_t(self, topology: Topology, values: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        """Return ``(W.T @ grad.T).T``."""
        return (_csr(topology, values, transposed=True) @ grad.t()).t()

    def sddmm(self, topology: Topology, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the entries of ``x.T @ grad`` at the links, in input-major order."""
        pattern = _csr(topology, grad.new_zeros(topology.n_links), transposed=True)
        sampled: torch.Tensor = torch.sparse.sampled_addmm(pattern, x.t().contiguous(), grad.contiguous())
        return sampled.values()
