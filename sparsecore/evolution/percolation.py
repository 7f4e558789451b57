"""Percolation: links of neurons that signals cannot pass are removed, to the fixpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsecore._typing import BoolArray, IndexArray, Int64Array
from sparsecore.errors import ShapeError
from sparsecore.storage import Topology

__all__ = ["active_neurons", "percolate"]


def percolate(topologies: Sequence[Topology], kept: Sequence[Int64Array]) -> list[Int64Array]:
    """Return the kept links of a chain without those at inactive hidden neurons.

    A hidden neuron is active if it has a link on both sides. One backward sweep (a neuron without outputs loses its
    inputs) followed by one forward sweep (a neuron without inputs loses its outputs) is the exact fixpoint: the forward
    sweep only takes outputs of neurons without inputs, so it never takes the last output of a neuron that has inputs.

    Parameters
    ----------
    topologies : sequence of Topology
        The layers of a chain; the outputs of each are the inputs of the next.
    kept : sequence of array, int64
        Positions of the links that are left in every layer.

    Returns
    -------
    list of array, int64
        Positions that stay, in the same order.

    Raises
    ------
    ShapeError
        If neighbouring layers do not share their neurons.

    Notes
    -----
    O(links). Source: Zhang et al., "Epitopological learning and Cannistraci-Hebb network shape intelligence brain-
    inspired theory for ultra-sparse advantage in deep learning" (ICLR 2024), chain removal and percolation.
    """
    for below, above in zip(topologies[:-1], topologies[1:], strict=True):
        if below.n_out != above.n_in:
            raise ShapeError(f"Expected a chain of fitting layers. Got {below.n_out} outputs into {above.n_in} inputs.")
    stay = list(kept)
    for index in range(len(stay) - 2, -1, -1):
        alive = _touched(topologies[index + 1].cols[stay[index + 1]], topologies[index].n_out)
        stay[index] = stay[index][alive[topologies[index].rows[stay[index]]]]
    for index in range(1, len(stay)):
        alive = _touched(topologies[index - 1].rows[stay[index - 1]], topologies[index].n_in)
        stay[index] = stay[index][alive[topologies[index].cols[stay[index]]]]
    return stay


def active_neurons(topologies: Sequence[Topology]) -> list[BoolArray]:
    """Return which neurons of a chain are active, layer by layer, the inputs first.

    An input or output neuron of the chain is active with one link; a hidden neuron needs one on each side.

    Returns
    -------
    list of array, bool
        One array per neuron layer, ``len(topologies) + 1`` in all.
    """
    active = [topologies[0].in_degrees > 0]
    for below, above in zip(topologies[:-1], topologies[1:], strict=True):
        active.append((below.out_degrees > 0) & (above.in_degrees > 0))
    return [*active, topologies[-1].out_degrees > 0]


def _touched(index: IndexArray, n: int) -> BoolArray:
    flags = np.zeros(n, np.bool_)
    flags[index] = True
    return flags
