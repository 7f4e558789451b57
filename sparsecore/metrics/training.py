"""Measures of how links and accuracy change while a network trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sparsecore.errors import ShapeError, check_fraction
from sparsecore.evolution import active_neurons
from sparsecore.evolution.history import History
from sparsecore.metrics.network import Layers, as_layers
from sparsecore.storage import Topology

__all__ = [
    "anp",
    "anp_per_layer",
    "area_across_epochs",
    "at_local_minimum",
    "itop_rate",
    "link_overlap",
    "regrown_share",
]


def anp_per_layer(layers: Layers) -> list[float]:
    """Return the active fraction of every neuron layer, the inputs first.

    An input or output neuron of the chain is active with one link, a hidden neuron with one on each side.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.

    Returns
    -------
    list of float
        One fraction in [0, 1] per neuron layer, ``n_layers + 1`` in all; 0 for a layer without neurons.

    Notes
    -----
    Source: Zhang et al., "Epitopological learning and Cannistraci-Hebb network shape intelligence brain-inspired theory
    for ultra-sparse advantage in deep learning" (ICLR 2024), active neuron post-percolation rate. O(links + neurons).

    Examples
    --------
    >>> anp_per_layer(Topology.from_coo([0, 0], [1, 2], shape=(2, 4)))
    [0.5, 0.5]
    """
    return [float(flags.mean()) if flags.size else 0.0 for flags in active_neurons(as_layers(layers))]


def anp(layers: Layers, *, inputs: bool = True) -> float:
    """Return active neurons over all neurons of a chain (ANP).

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain.
    inputs : bool
        Whether the input neurons of the chain count, as they do in `Report.anp` and in the published figures. Without
        them the measure is about the neurons that training may switch off.

    Returns
    -------
    float
        In [0, 1].

    Notes
    -----
    Source: as for `anp_per_layer`.

    Examples
    --------
    >>> layer = Topology.from_coo([0, 0], [1, 2], shape=(2, 4))
    >>> anp(layer), anp(layer, inputs=False)
    (0.5, 0.5)
    """
    flags = active_neurons(as_layers(layers))[0 if inputs else 1 :]
    return sum(int(np.count_nonzero(part)) for part in flags) / max(1, sum(part.size for part in flags))


def itop_rate(layers: Layers, histories: History | Sequence[History] | None = None) -> float:
    """Return the fraction of possible links that existed at any time (ITOP rate).

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or several; they need not form a chain.
    histories : History or sequence of History, optional
        What every layer retired so far; nothing when missing, so that the rate is the density.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ShapeError
        If there is not one history per layer.

    Notes
    -----
    Source: Liu et al., "Do we actually need dense over-parameterization? In-time over-parameterization in sparse
    training" (ICML 2021), the R_s of their equation 2. O(links ever held).

    Examples
    --------
    >>> itop_rate(Topology.from_coo([0, 0], [1, 2], shape=(2, 4)))
    0.25
    """
    parts = (layers,) if isinstance(layers, Topology) else tuple(layers)
    if histories is None:
        past = [History.empty()] * len(parts)
    else:
        past = [histories] if isinstance(histories, History) else list(histories)
    if len(past) != len(parts):
        raise ShapeError(f"Expected one history for each of {len(parts)} layers. Got {len(past)}.")
    explored = sum(history.explored(part) for part, history in zip(parts, past, strict=True))
    return explored / max(1, sum(part.n_possible for part in parts))


def regrown_share(removed: ArrayLike, grown: ArrayLike) -> float:
    """Return the share of grown links that the same update had removed: the overlap of an update.

    Parameters
    ----------
    removed, grown : array, int64, (n,)
        Distinct link ids.

    Returns
    -------
    float
        ``|removed ∩ grown| / |grown|``, in [0, 1]; 0 where nothing was grown.

    Notes
    -----
    `Report.overlap` and `LayerReport.overlap` are this number. Source: Zhang et al. (ICLR 2024), section 3.1.

    Examples
    --------
    >>> regrown_share([1, 2, 3], [3, 4])
    0.5
    """
    new = np.asarray(grown, np.int64)
    return float(np.isin(new, np.asarray(removed, np.int64)).mean()) if new.size else 0.0


def at_local_minimum(removed: ArrayLike, grown: ArrayLike, threshold: float = 0.9) -> bool:
    """Tell whether an update leaves a layer at an epitopological local minimum (ELM).

    There, what is removed is what the predictor grows: the topology has stopped to change, and CHT stops to evolve the
    layer (``early_stop`` of a `Rule`).

    Parameters
    ----------
    removed, grown : array, int64, (n,)
        Distinct link ids.
    threshold : float
        Least overlap, in [0, 1]; the paper's is 0.9.

    Raises
    ------
    ConfigError
        If `threshold` is out of range.

    Notes
    -----
    Source: Zhang et al. (ICLR 2024), section 3.1 and early stop of CHT.
    """
    check_fraction("threshold", threshold, "the overlap of removed and grown links of a local minimum")
    return np.size(grown) > 0 and regrown_share(removed, grown) >= threshold


def link_overlap(before: Layers, after: Layers) -> float:
    """Return the share of the links of `after` that `before` holds too.

    Parameters
    ----------
    before, after : Topology or sequence of Topology
        The same layers at two times.

    Returns
    -------
    float
        ``|before ∩ after| / |after|`` over all layers, in [0, 1]; 0 without links.

    Raises
    ------
    ShapeError
        If the layers differ in number or shape.

    Examples
    --------
    >>> link_overlap(Topology.from_ids([0, 1], (1, 4)), Topology.from_ids([1, 2], (1, 4)))
    0.5
    """
    old, new = ((part,) if isinstance(part, Topology) else tuple(part) for part in (before, after))
    if [part.shape for part in old] != [part.shape for part in new]:
        raise ShapeError(f"Expected the same layers twice. Got {[t.shape for t in old]} and {[t.shape for t in new]}.")
    shared = sum(int(np.count_nonzero(a.find(b.link_ids) >= 0)) for a, b in zip(old, new, strict=True))
    return shared / max(1, sum(part.n_links for part in new))


def area_across_epochs(accuracies: Sequence[float]) -> float:
    """Return the area under accuracy across epochs (AAE), scaled so that a constant curve gives its own value.

    Parameters
    ----------
    accuracies : sequence of float
        Accuracy of every epoch, a fraction.

    Returns
    -------
    float
        Trapezoids over epochs, divided by their number less one; the only value of a single epoch, 0 of none.

    Notes
    -----
    Source: Zhang et al. (ICLR 2024), the measure of learning speed.

    Examples
    --------
    >>> area_across_epochs([0.5, 1.0, 1.0])
    0.875
    """
    if len(accuracies) < 2:
        return float(accuracies[0]) if accuracies else 0.0
    inner = sum(accuracies[1:-1]) + (accuracies[0] + accuracies[-1]) / 2
    return inner / (len(accuracies) - 1)
