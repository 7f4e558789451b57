"""Sparse-storage-native dynamic sparse training: a layer is its list of links."""

from sparsecore import errors, generators, kernels, predictors, removal, schedules, selection, storage
from sparsecore.evolution import SET, CHTs, Evolution, Report, Rule, Static, methods
from sparsecore.nn import SparseLinear, SparseSequential, find_chains, sparse_layers, sparsify
from sparsecore.storage import Topology, TopologyEdit

__version__ = "0.1.0"

__all__ = [
    "SET",
    "CHTs",
    "Evolution",
    "Report",
    "Rule",
    "SparseLinear",
    "SparseSequential",
    "Static",
    "Topology",
    "TopologyEdit",
    "__version__",
    "errors",
    "find_chains",
    "generators",
    "kernels",
    "methods",
    "predictors",
    "removal",
    "schedules",
    "selection",
    "sparse_layers",
    "sparsify",
    "storage",
]
