"""Initial values of links: variance follows the links a neuron really has."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from sparsecore.errors import UnknownNameError, check_positive
from sparsecore.storage import Topology

__all__ = ["draw_values", "kaiming", "kaiming_dense", "link_std", "swi"]


def swi(topology: Topology, gain: float = math.sqrt(2.0)) -> float:
    """Return the standard deviation of sparse weight initialisation, ``gain / sqrt(density · n_in)``.

    Source: Zhang et al., "Epitopological learning and Cannistraci-Hebb network shape intelligence" (ICLR 2024), SWI.
    """
    check_positive("gain", gain, "the factor of the standard deviation")
    return gain / math.sqrt(max(topology.density * topology.n_in, 1e-12))


def kaiming(topology: Topology, gain: float = math.sqrt(2.0)) -> torch.Tensor:
    """Return one standard deviation per link, ``gain / sqrt(links of its output neuron)``, float32, (n_links,)."""
    check_positive("gain", gain, "the factor of the standard deviation")
    fan_in = topology.out_degrees[topology.rows].astype(np.float32)
    return torch.from_numpy(gain / np.sqrt(fan_in))


def kaiming_dense(topology: Topology, gain: float = math.sqrt(2.0)) -> float:
    """Return the standard deviation of the layer without missing links, ``gain / sqrt(n_in)``.

    What masks on a dense weight start with, and published code of SET: sums shrink with the root of the density.
    """
    check_positive("gain", gain, "the factor of the standard deviation")
    return gain / math.sqrt(topology.n_in)


_SCHEMES: dict[str, Callable[[Topology], float | torch.Tensor]] = {
    "swi": swi,
    "kaiming": kaiming,
    "kaiming_dense": kaiming_dense,
}


def link_std(scheme: str, topology: Topology) -> float | torch.Tensor:
    """Return the standard deviation of new values under ``"swi"``, ``"kaiming"`` or ``"kaiming_dense"``."""
    if scheme not in _SCHEMES:
        raise UnknownNameError("value initialisation", scheme, _SCHEMES)
    return _SCHEMES[scheme](topology)


def draw_values(topology: Topology, scheme: str, generator: torch.Generator) -> torch.Tensor:
    """Return normal values for all links of a topology, float32, (n_links,)."""
    return torch.randn(topology.n_links, generator=generator) * link_std(scheme, topology)
