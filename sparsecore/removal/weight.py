"""Removal rules that read the values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsecore._typing import Float64Array
from sparsecore.errors import check_fraction
from sparsecore.removal.protocol import Links, register

__all__ = ["Magnitude", "Random", "RelativeImportance", "SetSigned", "SignKept"]


@register("magnitude", paper="Han et al. (NeurIPS 2015); WM of Zhang et al. (2025)", equation="|w|")
@dataclass(frozen=True)
class Magnitude:
    """Weight magnitude (WM)."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return ``|w|``, float64, (n_links,)."""
        return np.abs(links.values.astype(np.float64))


@register(
    "relative_importance",
    paper="Zhang et al., Plug-and-play (ICLR 2024); RI of Zhang et al. (2025)",
    equation="|w_ij| / Σ_j (|w_ij| + ε) + |w_ij| / Σ_i (|w_ij| + ε), ε = 0",
)
@dataclass(frozen=True)
class RelativeImportance:
    """Relative importance (RI): share of a link in the weight of both of its neurons.

    Attributes
    ----------
    epsilon : float
        ε, what every possible link of a neuron, stored or not, adds to its weight. Without it the links of a neuron
        share the same importance however small they have become, so that hardly a neuron is ever given up; the
        published code of image experiments has 1e-5.
    """

    epsilon: float = 0.0
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Check ε."""
        check_fraction("epsilon", self.epsilon, "what every possible link adds to the weight of its neurons")

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return the sum of the two shares, float64, (n_links,), in [0, 2]."""
        size = np.abs(links.values.astype(np.float64))
        topology = links.topology
        total = np.zeros(size.size)
        n_out, n_in = topology.shape
        for index, n, possible in ((topology.rows, n_out, n_in), (topology.cols, n_in, n_out)):
            sums = np.bincount(index, weights=size, minlength=n)[index] + self.epsilon * possible
            total += np.divide(size, sums, out=np.zeros_like(size), where=sums != 0)
        return total


@register(
    "set_signed",
    paper="Mocanu et al., Nature Communications 9 (2018)",
    equation="rank among weights of the same sign / their number",
)
@dataclass(frozen=True)
class SetSigned:
    """SET's rule: the ζ fraction of smallest positive and of largest negative weights go."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return the rank of each weight within its sign, over the number of that sign, float64, (n_links,), in (0, 1].

        Zero counts as positive. Keeping the most important links removes the same fraction of both signs, to one link.
        """
        values = links.values.astype(np.float64)
        importance = np.empty(values.size)
        for chosen in (np.flatnonzero(values >= 0), np.flatnonzero(values < 0)):
            order = np.argsort(np.abs(values[chosen]), kind="stable")
            importance[chosen[order]] = np.arange(1, chosen.size + 1) / max(1, chosen.size)
        importance[np.isnan(values)] = np.nan
        return importance


@register("sign_kept", paper="Bellec et al., DeepR (ICLR 2018)", equation="1 if s·w >= 0 else 0")
@dataclass(frozen=True)
class SignKept:
    """DeepR's rule: a link is worthless once its value has left the sign that it has to keep."""

    needs: ClassVar[frozenset[str]] = frozenset({"signs"})

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return 1 for every value of its own sign or 0, else 0, float64, (n_links,)."""
        signed = links.values.astype(np.float64) * links.required_signs()
        importance: Float64Array = (signed >= 0).astype(np.float64)
        importance[np.isnan(signed)] = np.nan
        return importance


@register("random", paper="baseline", equation="U(0, 1)")
@dataclass(frozen=True)
class Random:
    """Uniformly random importance."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return independent uniform numbers, float64, (n_links,)."""
        return np.random.Generator(np.random.Philox(seed)).random(links.topology.n_links)
