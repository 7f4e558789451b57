"""Modules: the sparse linear layer, chains of them, conversion of existing models, and inference."""

from sparsecore.nn.chain import SparseSequential, density_of, sparse_layers
from sparsecore.nn.compact import Compaction, compact, stored_bytes
from sparsecore.nn.init import draw_values, link_std
from sparsecore.nn.joint import Circuit, End, Joint
from sparsecore.nn.linear import SparseLinear
from sparsecore.nn.sequence import Constant, SelectFeatures, steps_of
from sparsecore.nn.sparsify import sparsify
from sparsecore.nn.structure import Structure, find_chains, find_structure

__all__ = [
    "Circuit",
    "Compaction",
    "Constant",
    "End",
    "Joint",
    "SelectFeatures",
    "SparseLinear",
    "SparseSequential",
    "Structure",
    "compact",
    "density_of",
    "draw_values",
    "find_chains",
    "find_structure",
    "link_std",
    "sparse_layers",
    "sparsify",
    "steps_of",
    "stored_bytes",
]
