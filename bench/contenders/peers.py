"""Libraries of the field, each driven through its own modules (the optional extra ``peers``)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sparsecore.bench.contenders.network import Contender, Links, index, register, stack, training_step

__all__ = ["PEERS", "library", "peer_reports", "sparselab_linear"]

#: Distribution name to the module that must import.
PEERS = {"sparselab": "sparselab", "sparseprop": "sparseprop.modules", "torch-sparse": "torch_sparse"}


def library(name: str) -> Any:
    """Import a peer; whatever keeps it from importing is an ``ImportError`` that says why."""
    try:
        return importlib.import_module(PEERS[name])
    except ImportError:
        raise
    except Exception as error:  # a binary built for another torch or processor fails in its own ways
        raise ImportError(f"{type(error).__name__}: {error}") from error


def peer_reports() -> dict[str, str]:
    """Return for every peer ``"ok"`` or why it does not import."""
    reports = {}
    for name in PEERS:
        try:
            library(name)
        except ImportError as error:
            reports[name] = f"does not import: {error}"
        else:
            reports[name] = "ok"
    return reports


def sparselab_linear(layer: Links, padding: float = 0.0) -> nn.Module:
    """Return sparselab's layer with the same links and values.

    Without padding (its own option) every stored slot is a link: the fastest form for links that stay. Its values are
    a view of its matrix and are replaced together with it, as its own ``reset_parameters`` does.
    """
    lab: Any = library("sparselab")
    topology = layer.topology
    module = lab.SparseLinear(topology.n_in, topology.n_out, sparsity=1.0 - topology.density, padding_ratio=padding)
    module._csr = lab.PaddedCSR.from_torch_sparse_csr(layer.csr(), padding_ratio=padding)
    module._values = nn.Parameter(torch.from_numpy(module._csr.values))
    module.bias.data.copy_(layer.bias)
    made: nn.Module = module
    return made


@register("sparselab")
def _sparselab(layers: Sequence[Links]) -> Contender:
    model = stack(layers, sparselab_linear)
    return Contender("sparselab", model, training_step(model))


@register("SparseProp")
def _sparseprop(layers: Sequence[Links]) -> Contender:
    prop: Any = library("sparseprop")
    model = stack(layers, lambda layer: prop.SparseLinear(layer.dense(), nn.Parameter(layer.bias.clone())))
    return Contender("SparseProp", model, training_step(model))


class _TorchSparseLinear(nn.Module):
    def __init__(self, layer: Links) -> None:
        super().__init__()
        sparse: Any = library("torch-sparse")
        topology = layer.topology
        order = index(topology.row_order)
        self.matrix = sparse.SparseTensor(
            rowptr=index(topology.row_ptr), col=index(topology.row_cols), sparse_sizes=topology.shape, is_sorted=True
        )
        self.product = sparse.matmul
        self.values = nn.Parameter(layer.values[order])
        self.bias = nn.Parameter(layer.bias.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = self.product(self.matrix.set_value(self.values, layout="csr"), x.t()).t()
        return product + self.bias


@register("torch-sparse")
def _torch_sparse(layers: Sequence[Links]) -> Contender:
    model = stack(layers, _TorchSparseLinear)
    return Contender("torch-sparse", model, training_step(model))
