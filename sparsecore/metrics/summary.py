"""All measures of a network at once, as plain rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sparsecore.errors import SparseCoreError
from sparsecore.metrics.communities import Communities, find_communities
from sparsecore.metrics.consistency import structural_consistency
from sparsecore.metrics.credit import credit_paths, hub_share
from sparsecore.metrics.degrees import degree_power_law
from sparsecore.metrics.distances import characteristic_path_length
from sparsecore.metrics.network import Layers, Network
from sparsecore.metrics.separability import angular_separability
from sparsecore.metrics.training import anp, anp_per_layer
from sparsecore.storage import Topology

__all__ = ["Measure", "chains_of", "measure_layers", "measure_network"]


@dataclass(frozen=True)
class Measure:
    """One measure of one network.

    Attributes
    ----------
    name : str
        What was measured.
    value : float, optional
        Its value; ``None`` where it is not defined.
    note : str
        How it was measured, or why not.
    """

    name: str
    value: float | None
    note: str = ""


def chains_of(layers: Mapping[str, Topology]) -> list[dict[str, Topology]]:
    """Return named layers grouped into chains, in their order.

    A layer follows the one before it if both are numbered members of one container (``hidden.0``, ``hidden.2``) and it
    has as many inputs as that has outputs. Names alone cannot tell more: a model itself knows its chains, see
    `sparsecore.find_chains`.

    Parameters
    ----------
    layers : mapping of str to Topology
        In the order of the model, as `RunFolder.topologies` gives them.

    Examples
    --------
    >>> parts = {"hidden.0": Topology.full((4, 3)), "hidden.1": Topology.full((2, 4)), "head": Topology.full((5, 2))}
    >>> [list(chain) for chain in chains_of(parts)]
    [['hidden.0', 'hidden.1'], ['head']]
    """
    chains: list[dict[str, Topology]] = []
    previous: tuple[str, Topology] | None = None
    for name, topology in layers.items():
        if previous is None or not _follows(previous[0], name) or previous[1].n_out != topology.n_in:
            chains.append({})
        chains[-1][name] = topology
        previous = name, topology
    return chains


def _follows(first: str, second: str) -> bool:
    (home, _, number), (other, _, following) = first.rpartition("."), second.rpartition(".")
    return home == other and number.isdigit() and following.isdigit() and int(following) > int(number)


def measure_network(layers: Layers, *, seed: int = 0) -> list[Measure]:
    """Return every measure of one layer or of a chain, each with what it rests on.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.
    seed : int
        Of all that is drawn: communities, removed links, sources, landmarks, shuffles.

    Returns
    -------
    list of Measure
        A measure that is not defined here, or whose library is missing, has no value and says why.
    """
    network = Network.of(layers)
    groups: list[Communities] = []

    def path_length() -> Measure:
        found = characteristic_path_length(layers, seed=seed)
        share = found.n_nodes / network.n_nodes
        how = "all pairs" if found.exact else f"± {found.standard_error:.3f}, {found.n_sources} sources"
        return Measure("characteristic path length", found.mean, f"{how}; giant component: {share:.0%} of neurons")

    def exponent() -> Measure:
        law = degree_power_law(layers)
        note = f"± {law.standard_error:.2f}; {law.n_tail} degrees from {law.x_min} on, KS {law.ks_distance:.3f}"
        return Measure("degree exponent γ", law.gamma, note)

    def modules() -> Measure:
        groups.append(find_communities(layers, seed=seed))
        sizes = np.bincount(groups[0].labels)
        return Measure("modularity", groups[0].modularity, f"Leiden, {np.count_nonzero(sizes > 1)} communities")

    def consistency() -> Measure:
        found = structural_consistency(layers, seed=seed)
        kept = "all singular values" if found.rank is None else f"{found.rank} largest singular values"
        note = f"± {found.standard_error:.3f}; chance {found.chance:.4f}; {len(found.values)} draws of 10%, {kept}"
        return Measure("structural consistency", found.mean, note)

    def separability() -> Measure:
        labels = groups[0].labels if groups else None
        found = angular_separability(layers, labels, seed=seed)
        return Measure("angular separability", found.index, f"p = {found.p_value:.3f}; isomap, {found.n_groups} groups")

    measures: dict[str, Callable[[], Measure]] = {
        "ANP with inputs": lambda: Measure("ANP with inputs", anp(layers)),
        "ANP without inputs": lambda: Measure("ANP without inputs", anp(layers, inputs=False)),
        "log10 of credit-assignment paths": lambda: Measure(
            "log10 of credit-assignment paths", _finite(credit_paths(layers).log10_count), "input-to-output chains"
        ),
        "characteristic path length": path_length,
        "degree exponent γ": exponent,
        "modularity": modules,
        "structural consistency": consistency,
        "angular separability": separability,
    }
    return [_measured(name, measure) for name, measure in measures.items()]


def measure_layers(layers: Layers) -> list[tuple[int, float, float]]:
    """Return size, active fraction and hub share of every neuron layer of a chain, the inputs first.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.

    Returns
    -------
    list of (int, float, float)
        Neurons, `anp_per_layer`, and `hub_share` of a tenth of the neurons.
    """
    return list(zip(Network.of(layers).sizes, anp_per_layer(layers), hub_share(layers), strict=True))


def _measured(name: str, measure: Callable[[], Measure]) -> Measure:
    try:
        return measure()
    except SparseCoreError as error:
        return Measure(name, None, str(error))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
