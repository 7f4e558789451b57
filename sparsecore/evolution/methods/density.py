"""The density a model starts with, which decaying methods read."""

from __future__ import annotations

from torch import nn

from sparsecore.nn import sparse_layers

__all__ = ["density_of"]


def density_of(model: nn.Module) -> float:
    """Return links over possible links of all sparse layers of a model; 0 without sparse layers."""
    topologies = [layer.topology for layer in sparse_layers(model).values()]
    return sum(t.n_links for t in topologies) / max(1, sum(t.n_possible for t in topologies))
