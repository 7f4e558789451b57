"""What a removal rule is: an importance for every stored link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from numpy.typing import NDArray

from sparsecore._typing import Float64Array, FloatArray
from sparsecore.errors import ShapeError, SignalError
from sparsecore.registry import Registry
from sparsecore.storage import Topology

__all__ = ["Links", "Removal", "get", "names", "register", "registry"]


@dataclass(frozen=True, eq=False)
class Links:
    """Read-only view of the links of one layer.

    Attributes
    ----------
    topology : Topology
        Which links exist.
    values : array, float, (n_links,)
        Their values.
    gradient : array, float, (n_links,), optional
        Gradient of the values, for the rules that need it.
    signs : array, int8, (n_links,), optional
        Sign that every value must keep, for the rules that need it.
    """

    topology: Topology
    values: FloatArray
    gradient: FloatArray | None = None
    signs: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        """Check that every link has one value."""
        for name, array in (("values", self.values), ("gradient", self.gradient), ("signs", self.signs)):
            if array is not None and array.shape != (self.topology.n_links,):
                raise ShapeError(f"Expected {name} of shape ({self.topology.n_links},). Got {array.shape}.")

    def required_gradient(self) -> FloatArray:
        """Return the gradient, or raise `SignalError`."""
        if self.gradient is None:
            raise SignalError("Expected the gradient of the links. Got none. Call after backward, before zero_grad.")
        return self.gradient

    def required_signs(self) -> NDArray[Any]:
        """Return the signs, or raise `SignalError`."""
        if self.signs is None:
            raise SignalError("Expected the sign of every link. Got none. Use a rule whose companion keeps signs.")
        return self.signs


@runtime_checkable
class Removal(Protocol):
    """Importance of links: those of least importance are removed.

    Attributes
    ----------
    needs : frozenset of str
        ``{"gradient"}`` for rules that read the gradient, ``{"signs"}`` for those that read signs.
    """

    needs: ClassVar[frozenset[str]]

    def importance(self, links: Links, *, seed: int = 0) -> Float64Array:
        """Return a non-negative importance per link, float64, (n_links,)."""
        ...


registry: Registry[Removal] = Registry("removal rule")
register = registry.register
names = registry.names


def get(name: str, **options: Any) -> Removal:
    """Build the removal rule called `name`; raises `UnknownNameError` with the nearest match."""
    return registry.get(name, **options)
