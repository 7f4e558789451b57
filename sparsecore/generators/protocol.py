"""What a generator is, and the checks that all of them share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sparsecore._typing import Shape
from sparsecore.errors import check_count
from sparsecore.registry import Registry
from sparsecore.storage import Topology
from sparsecore.storage.topology import checked_shape

__all__ = ["Generator", "check_request", "get", "names", "register", "registry"]


@runtime_checkable
class Generator(Protocol):
    """Anything that builds the first links of a layer.

    A generator is a frozen dataclass: its options are its fields, and what changes from layer to layer are the
    arguments of the call. It returns exactly the number of links asked for, the same ones for the same arguments, in
    O(n_links + n_out + n_in) memory.
    """

    def __call__(self, shape: Shape, n_links: int, seed: int) -> Topology:
        """Build a topology.

        Parameters
        ----------
        shape : tuple of int
            ``(n_out, n_in)``.
        n_links : int
            Number of links, in ``[0, n_out * n_in]``.
        seed : int
            In ``[0, 2**64)``.

        Raises
        ------
        ShapeError, ConfigError
            If an argument is out of range.
        """
        ...


registry: Registry[Generator] = Registry("generator")
register, get, names = registry.register, registry.get, registry.names


def check_request(shape: Shape, n_links: int, seed: int) -> tuple[int, int, int]:
    """Return ``(n_out, n_in, n_links)`` as plain integers.

    Raises
    ------
    ShapeError
        If `shape` is not a pair of integers >= 0 that index lists can number.
    ConfigError
        If `n_links` does not fit the shape or `seed` is not in ``[0, 2**64)``.
    """
    n_out, n_in = checked_shape(shape)
    check_count("seed", seed, "what the choice of links depends on", high=2**64 - 1)
    meaning = f"the number of links of a {n_out} x {n_in} layer"
    return n_out, n_in, check_count("n_links", n_links, meaning, high=n_out * n_in)
