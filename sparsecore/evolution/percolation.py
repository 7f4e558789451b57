"""Percolation: links of neurons that signals cannot pass are removed, to the fixpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsecore._typing import BoolArray, IndexArray, Int64Array
from sparsecore.errors import ShapeError
from sparsecore.nn import End, Joint
from sparsecore.storage import Topology

__all__ = ["Activity", "active_neurons", "activity", "percolate"]


def percolate(
    topologies: Sequence[Topology], kept: Sequence[Int64Array], joints: Sequence[Joint] | None = None
) -> list[Int64Array]:
    """Return the kept links of a chain, or of layers that meet in `joints`, without those at inactive hidden neurons.

    A hidden neuron is active if it has a link on both sides. One backward sweep (a neuron without outputs loses its
    inputs) followed by one forward sweep (a neuron without inputs loses its outputs) is the exact fixpoint: the forward
    sweep only takes outputs of neurons without inputs, so it never takes the last output of a neuron that has inputs.

    Parameters
    ----------
    topologies : sequence of Topology
        The layers of a chain; the outputs of each are the inputs of the next.
    kept : sequence of array, int64
        Positions of the links that are left in every layer.
    joints : sequence of Joint, optional
        Where the layers meet, if not one after the other as in a chain. A unit that has no link on one side of a joint
        loses its links on the others, until nothing changes.

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
    if joints is not None:
        return _settled(topologies, kept, joints)
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


def _settled(topologies: Sequence[Topology], kept: Sequence[Int64Array], joints: Sequence[Joint]) -> list[Int64Array]:
    stay = list(kept)
    changed = True
    while changed:
        changed = False
        for joint in joints:
            touched = [
                _touched(_ids(topologies[end.layer], end)[stay[end.layer]], _size(topologies[end.layer], end))
                for end in joint.ends
            ]
            alive = _alive(joint, touched)
            for end in joint.ends:
                ids = _ids(topologies[end.layer], end)[stay[end.layer]]
                keep = _of_neurons(end, alive)[ids]
                if not keep.all():
                    stay[end.layer], changed = stay[end.layer][keep], True
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


@dataclass(frozen=True)
class Activity:
    """Which neurons of layers that meet in joints are active.

    Attributes
    ----------
    sides : list of (array, array), bool
        Active inputs and active outputs of every layer.
    n_active, n_neurons : int
        Of all neurons, those that layers have in common counted once.
    """

    sides: list[tuple[BoolArray, BoolArray]]
    n_active: int
    n_neurons: int


def activity(topologies: Sequence[Topology], joints: Sequence[Joint]) -> Activity:
    """Return which neurons are active: with a link, and where layers meet with links on all sides."""
    active = {(at, "in"): topology.in_degrees > 0 for at, topology in enumerate(topologies)}
    active |= {(at, "out"): topology.out_degrees > 0 for at, topology in enumerate(topologies)}
    touched = dict(active)
    alone = {side: np.ones(flags.size, np.bool_) for side, flags in active.items()}
    n_active = n_neurons = 0
    for joint in joints:
        alive = _alive(joint, [touched[end.layer, end.side] for end in joint.ends])
        for end in joint.ends:
            side = end.layer, end.side
            active[side] = active[side] & _of_neurons(end, alive)
            alone[side] &= False if end.unit is None else end.unit < 0
        n_active, n_neurons = n_active + int(alive.sum()), n_neurons + alive.size
    n_active += sum(int(np.count_nonzero(active[side] & flags)) for side, flags in alone.items())
    n_neurons += sum(int(np.count_nonzero(flags)) for flags in alone.values())
    return Activity([(active[at, "in"], active[at, "out"]) for at in range(len(topologies))], n_active, n_neurons)


def _alive(joint: Joint, touched: Sequence[BoolArray]) -> BoolArray:
    """Return which units have links on every side that needs them."""
    alive = np.ones(joint.n_units, np.bool_)
    for end, flags in zip(joint.ends, touched, strict=True):
        if not end.lives:
            units = np.flatnonzero(flags) if end.unit is None else end.unit[flags]
            alive &= _touched(units[units >= 0], joint.n_units)
    return alive


def _of_neurons(end: End, alive: BoolArray) -> BoolArray:
    """Return for every neuron of a side whether its unit is alive; neurons of no unit are."""
    return alive if end.unit is None else np.append(alive, True)[end.unit]


def _ids(topology: Topology, end: End) -> IndexArray:
    return topology.rows if end.side == "out" else topology.cols


def _size(topology: Topology, end: End) -> int:
    return topology.n_out if end.side == "out" else topology.n_in


def _touched(index: IndexArray, n: int) -> BoolArray:
    flags = np.zeros(n, np.bool_)
    flags[index] = True
    return flags
