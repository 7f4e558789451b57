"""Removal rules that read values and their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsecore._typing import Float64Array
from sparsecore.errors import check_positive
from sparsecore.removal.protocol import Links, register

__all__ = ["Mest", "ReciprocalSensitivity", "Sensitivity", "Snip"]

_NEEDS = frozenset({"gradient"})


def _sizes(links: Links) -> tuple[Float64Array, Float64Array]:
    return np.abs(links.values.astype(np.float64)), np.abs(links.required_gradient().astype(np.float64))


@register("mest", paper="Yuan et al., MEST (NeurIPS 2021)", equation="|w| + λ·|g|")
@dataclass(frozen=True)
class Mest:
    """MEST importance: magnitude plus a share of the gradient.

    Attributes
    ----------
    weight : float
        λ, the share of the gradient.
    """

    weight: float = 0.01
    needs: ClassVar[frozenset[str]] = _NEEDS

    def __post_init__(self) -> None:
        """Check the share."""
        check_positive("weight", self.weight, "the factor of the gradient")

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return ``|w| + λ|g|``, float64, (n_links,)."""
        value, slope = _sizes(links)
        return value + self.weight * slope


@register("snip", paper="Lee et al., SNIP (ICLR 2019)", equation="|w·g|")
@dataclass(frozen=True)
class Snip:
    """SNIP saliency: first-order effect of a link on the loss."""

    needs: ClassVar[frozenset[str]] = _NEEDS

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return ``|w·g|``, float64, (n_links,)."""
        value, slope = _sizes(links)
        return value * slope


@register("sensitivity", paper="Naji et al. (2021), as used by Nowak et al. (NeurIPS 2023)", equation="|g| / |w|")
@dataclass(frozen=True)
class Sensitivity:
    """Gradient over magnitude."""

    needs: ClassVar[frozenset[str]] = _NEEDS

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return ``|g| / |w|``, float64, (n_links,); the largest float where only the weight is 0."""
        value, slope = _sizes(links)
        return _ratio(slope, value)


@register("reciprocal_sensitivity", paper="as used by Nowak et al. (NeurIPS 2023)", equation="|w| / |g|")
@dataclass(frozen=True)
class ReciprocalSensitivity:
    """Magnitude over gradient."""

    needs: ClassVar[frozenset[str]] = _NEEDS

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return ``|w| / |g|``, float64, (n_links,); the largest float where only the gradient is 0."""
        value, slope = _sizes(links)
        return _ratio(value, slope)


def _ratio(above: Float64Array, below: Float64Array) -> Float64Array:
    limit = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        ratio = np.divide(above, below, out=np.where(above > 0, limit, above), where=below != 0)
    return np.minimum(ratio, limit)
