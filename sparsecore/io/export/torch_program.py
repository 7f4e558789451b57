"""Models as `torch.export` programs that run wherever torch runs, sparsecore or not."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sparsecore.errors import CheckpointError
from sparsecore.io.export.program import describe, width_in
from sparsecore.nn import SparseLinear, steps_of

__all__ = ["read_torch", "write_torch"]

_INT32_MAX = 2**31 - 1


class _Bags(nn.Module):
    """A sparse layer as sums over bags of input neurons: a kernel of torch that needs no room per link and sample."""

    row_ptr: torch.Tensor
    row_cols: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layer: SparseLinear) -> None:
        super().__init__()
        topology = layer.topology
        index = torch.int32 if topology.n_links <= _INT32_MAX else torch.int64
        order = torch.from_numpy(topology.row_order.astype(np.int64))
        self.register_buffer("row_ptr", torch.from_numpy(topology.row_ptr.copy()).to(index))
        self.register_buffer("row_cols", torch.from_numpy(topology.row_cols.copy()).to(index))
        self.register_buffer("values", layer.values.detach()[order])
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())
        self.relu = layer.relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs, (B, n_out), of inputs (B, n_in)."""
        sums = functional.embedding_bag(
            self.row_cols, x.t().contiguous(), self.row_ptr, mode="sum",
            per_sample_weights=self.values, include_last_offset=True,
        )  # fmt: skip
        y = sums.t() if self.bias is None else sums.t() + self.bias
        return torch.relu(y) if self.relu else y


def write_torch(model: nn.Module, path: Path) -> None:
    """Write a program for inputs (B, n_in) with any B; half precision becomes float32.

    Raises
    ------
    ExportError
        If the model is not a sequence of known modules.
    """
    width = width_in(describe(model))
    steps = [copy.deepcopy(step).float() if _half(step) else step for _, step in steps_of(model) or ()]
    portable = nn.Sequential(*(_Bags(step) if isinstance(step, SparseLinear) else step for step in steps)).eval()
    dtype = next((p.dtype for p in (*portable.parameters(), *portable.buffers()) if p.is_floating_point()), None)
    example = torch.zeros(3, width, dtype=dtype or torch.float32)
    with torch.no_grad():
        program = torch.export.export(portable, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path)


def read_torch(path: Path) -> nn.Module:
    """Return the program of a file as a module.

    Raises
    ------
    CheckpointError
        If the file is damaged.
    """
    try:
        return torch.export.load(path).module()
    except Exception as error:  # torch raises whatever its archive reader, JSON and zip meet
        raise CheckpointError(f"Expected a torch.export program at {path}. Got a damaged file ({error}).") from error


def _half(module: nn.Module) -> bool:
    tensors = (*module.parameters(), *module.buffers())
    return any(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in tensors)
