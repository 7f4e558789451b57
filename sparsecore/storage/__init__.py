"""Storage: frozen topologies, edits between them, and conversion."""

from sparsecore.storage.convert import from_scipy, from_torch, to_scipy, to_torch
from sparsecore.storage.edit import TopologyEdit
from sparsecore.storage.topology import Topology

__all__ = ["Topology", "TopologyEdit", "from_scipy", "from_torch", "to_scipy", "to_torch"]
