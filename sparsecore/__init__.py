"""Sparse-storage-native dynamic sparse training: a layer is its list of links."""

from sparsecore import errors, generators, kernels, optim, predictors, removal, schedules, selection, storage
from sparsecore.averaging import AveragedModel
from sparsecore.evolution import (
    CHT,
    DSR,
    ESML,
    GMP,
    MEST,
    SET,
    SNFS,
    CHTs,
    CHTss,
    DeepR,
    Evolution,
    GraNet,
    Report,
    RigL,
    Rule,
    Static,
    TopKAST,
    methods,
)
from sparsecore.nn import SparseLinear, SparseSequential, find_chains, sparse_layers, sparsify
from sparsecore.storage import Topology, TopologyEdit

__version__ = "0.1.0"

__all__ = [
    "CHT",
    "DSR",
    "ESML",
    "GMP",
    "MEST",
    "SET",
    "SNFS",
    "AveragedModel",
    "CHTs",
    "CHTss",
    "DeepR",
    "Evolution",
    "GraNet",
    "Report",
    "RigL",
    "Rule",
    "SparseLinear",
    "SparseSequential",
    "Static",
    "TopKAST",
    "Topology",
    "TopologyEdit",
    "__version__",
    "errors",
    "find_chains",
    "generators",
    "kernels",
    "methods",
    "optim",
    "predictors",
    "removal",
    "schedules",
    "selection",
    "sparse_layers",
    "sparsify",
    "storage",
]
