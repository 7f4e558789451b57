"""Differentiable operations on link lists."""

from sparsecore.ops.chain import sparse_chain, sparse_linear

__all__ = ["sparse_chain", "sparse_linear"]
