"""Models of the field's experiments, built on sparse layers."""

from sparsecore.models.mlp import MLP

__all__ = ["MLP"]
