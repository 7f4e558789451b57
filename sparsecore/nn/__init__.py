"""Modules: the sparse linear layer, chains of them, and conversion of existing models."""

from sparsecore.nn.chain import SparseSequential, find_chains, sparse_layers
from sparsecore.nn.init import draw_values, link_std
from sparsecore.nn.linear import SparseLinear
from sparsecore.nn.sparsify import sparsify

__all__ = ["SparseLinear", "SparseSequential", "draw_values", "find_chains", "link_std", "sparse_layers", "sparsify"]
