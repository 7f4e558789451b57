"""The exponent of a power law in the degrees."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sparsecore.errors import TopologyError
from sparsecore.metrics.network import Layers, Network, library

__all__ = ["PowerLaw", "degree_power_law", "power_law"]

#: Exponents that are tried. A fit at the upper end says that there is no power law.
GAMMA_RANGE = (1.01, 10.0)


@dataclass(frozen=True)
class PowerLaw:
    """A discrete power law ``p(k) ∝ k^-γ`` fitted to the tail ``k >= x_min``.

    Attributes
    ----------
    gamma : float
        Exponent γ in [1.01, 10]; at 10 the tail falls faster than a power law.
    x_min : int
        Where the tail begins.
    ks_distance : float
        Kolmogorov-Smirnov distance of tail and fit, in [0, 1]; smaller fits better.
    standard_error : float
        Of `gamma`, from the likelihood.
    n_tail : int
        Values in the tail. A γ from few values says little.
    """

    gamma: float
    x_min: int
    ks_distance: float
    standard_error: float
    n_tail: int


def power_law(degrees: ArrayLike) -> PowerLaw:
    """Return the power law that fits positive `degrees` best; zeros are left out.

    Parameters
    ----------
    degrees : array, integer, (n,)
        Degrees.

    Returns
    -------
    PowerLaw
        γ by maximum likelihood, x_min by the smallest Kolmogorov-Smirnov distance.

    Raises
    ------
    TopologyError
        If there are fewer than two different positive degrees, or no exponent fits them.
    ConfigError
        If the package powerlaw is not installed.

    Notes
    -----
    Source: Clauset, Shalizi and Newman, "Power-law distributions in empirical data" (SIAM Review 51, 2009), equations
    3.5 and 3.9; from x_min = 10 on, the package takes their approximation 3.7. A small γ alone does not make a network
    scale free: read it with the Kolmogorov-Smirnov distance and the size of the tail.
    """
    data = np.asarray(degrees)
    data = data[data > 0]
    if np.unique(data).size < 2:
        raise TopologyError(f"Expected at least two different positive degrees. Got {np.unique(data).tolist()}.")
    fitting = library("powerlaw")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # it warns of its own outdated calls, and of every x_min that does not fit
        fit = fitting.Fit(data, discrete=True, verbose=0, parameter_ranges={"alpha": list(GAMMA_RANGE)})
        alpha, start, distance = float(fit.alpha), float(fit.xmin), float(fit.D)
    if not np.isfinite([alpha, start, distance]).all():
        raise TopologyError(f"Expected degrees that a power law can be fitted to. Got values up to {data.max()}.")
    x_min = int(start)
    n_tail = int(np.count_nonzero(data >= x_min))
    return PowerLaw(alpha, x_min, distance, (alpha - 1) / n_tail**0.5, n_tail)


def degree_power_law(layers: Layers) -> PowerLaw:
    """Return the power law of the degrees of all neurons that have links.

    Parameters
    ----------
    layers : Topology or sequence of Topology
        One layer, or the layers of a chain; a hidden neuron counts the links on both sides.

    Returns
    -------
    PowerLaw

    Raises
    ------
    TopologyError
        If all neurons that have links have equally many.
    ConfigError
        If the package powerlaw is not installed.

    Notes
    -----
    Source: as for `power_law`; as a measure of trained networks, Zhang et al. (ICLR 2024), γ <= 3 for a scale-free one.
    """
    return power_law(Network.of(layers).degrees)
