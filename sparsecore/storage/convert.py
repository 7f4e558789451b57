"""Exchange with SciPy and torch sparse formats; nothing here passes through a dense array."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import torch

from sparsecore._typing import FloatArray
from sparsecore.errors import ShapeError
from sparsecore.storage.topology import Topology

__all__ = ["from_scipy", "from_torch", "to_scipy", "to_torch"]


def to_scipy(topology: Topology, values: FloatArray | None = None) -> Any:
    """Return a ``scipy.sparse.csc_array`` of shape (n_out, n_in).

    Parameters
    ----------
    topology : Topology
        The links.
    values : array, float, (n_links,), optional
        Value of every link in input-major order; ones (float32) when missing.
    """
    data = np.ones(topology.n_links, np.float32) if values is None else np.asarray(values)
    if data.shape != (topology.n_links,):
        raise ShapeError(f"Expected values of shape ({topology.n_links},). Got {data.shape}.")
    matrix = scipy.sparse.csc_array((data.copy(), topology.rows.copy(), topology.col_ptr.copy()), shape=topology.shape)
    matrix.has_sorted_indices = True
    return matrix


def from_scipy(matrix: Any) -> tuple[Topology, FloatArray]:
    """Return the topology and values, (n_links,), of any SciPy sparse matrix; stored zeros are links."""
    coo = scipy.sparse.coo_array(matrix)
    topology = Topology.from_coo(coo.row, coo.col, shape=coo.shape)
    order = np.lexsort((coo.row, coo.col))
    return topology, coo.data[order]


def to_torch(topology: Topology, values: torch.Tensor) -> torch.Tensor:
    """Return a torch sparse CSR tensor of shape (n_out, n_in) with the values of every link."""
    if tuple(values.shape) != (topology.n_links,):
        raise ShapeError(f"Expected values of shape ({topology.n_links},). Got {tuple(values.shape)}.")
    order = torch.from_numpy(topology.row_order.astype(np.int64)).to(values.device)
    return torch.sparse_csr_tensor(
        torch.from_numpy(topology.row_ptr.copy()).to(values.device),
        torch.from_numpy(topology.row_cols.astype(np.int64)).to(values.device),
        values[order],
        size=topology.shape,
        check_invariants=True,
    )


def from_torch(tensor: torch.Tensor) -> tuple[Topology, torch.Tensor]:
    """Return the topology and values, (n_links,), of a torch sparse COO, CSR or CSC tensor; duplicates add up.

    Raises
    ------
    ShapeError
        If it has not two dimensions, both of them sparse.
    """
    if tensor.ndim != 2 or tensor.dense_dim() > 0:
        raise ShapeError(
            f"Expected a matrix with one number per link. Got a tensor of shape {tuple(tensor.shape)} with "
            f"{tensor.dense_dim()} dense dimensions."
        )
    coo = tensor.to_sparse_coo().coalesce()
    rows, cols = coo.indices().cpu().numpy()
    topology = Topology.from_coo(rows, cols, shape=(tensor.shape[0], tensor.shape[1]))
    order = np.lexsort((rows, cols))
    return topology, coo.values()[torch.from_numpy(order).to(tensor.device)]
