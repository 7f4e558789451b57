"""Modules: the sparse linear layer, chains of them, conversion of existing models, and inference."""

from sparsecore.nn.chain import SparseSequential, find_chains, sparse_layers
from sparsecore.nn.compact import Compaction, compact, stored_bytes
from sparsecore.nn.init import draw_values, link_std
from sparsecore.nn.linear import SparseLinear
from sparsecore.nn.sequence import Constant, SelectFeatures, steps_of
from sparsecore.nn.sparsify import sparsify

__all__ = [
    "Compaction",
    "Constant",
    "SelectFeatures",
    "SparseLinear",
    "SparseSequential",
    "compact",
    "draw_values",
    "find_chains",
    "link_std",
    "sparse_layers",
    "sparsify",
    "steps_of",
    "stored_bytes",
]
