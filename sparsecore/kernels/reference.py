"""The slow, obvious backend: one gather and one scatter per product, on any device and any float type."""

from __future__ import annotations

import torch

from sparsecore.kernels.backend import PrimitiveBackend
from sparsecore.storage import Topology

__all__ = ["ReferenceBackend"]


def _ends(topology: Topology, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.tensor(topology.rows, dtype=torch.int64, device=device)
    return rows, torch.tensor(topology.cols, dtype=torch.int64, device=device)


class ReferenceBackend(PrimitiveBackend):
    """Definitions written down link by link; the oracle of every other backend. Needs O(B · n_links) memory."""

    name = "reference"

    def spmm(self, topology: Topology, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return ``y[b, row] = Σ values · x[b, col]``."""
        rows, cols = _ends(topology, x.device)
        return x.new_zeros(x.shape[0], topology.n_out).index_add_(1, rows, x[:, cols] * values)

    def spmm_t(self, topology: Topology, values: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        """Return ``dx[b, col] = Σ values · grad[b, row]``."""
        rows, cols = _ends(topology, grad.device)
        return grad.new_zeros(grad.shape[0], topology.n_in).index_add_(1, cols, grad[:, rows] * values)

    def sddmm(self, topology: Topology, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return ``dvalues = Σ_b grad[b, row] · x[b, col]``."""
        rows, cols = _ends(topology, grad.device)
        return (grad[:, rows] * x[:, cols]).sum(0)
