"""Joints and circuits: which neurons of which sparse layers are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from sparsecore._typing import Int64Array
from sparsecore.errors import ShapeError
from sparsecore.nn.linear import SparseLinear

__all__ = ["Circuit", "End", "Joint", "in_a_row"]


@dataclass(frozen=True, eq=False)
class End:
    """One side of one layer, where it meets others.

    Attributes
    ----------
    layer : int
        Place of the layer in its circuit.
    side : {"out", "in"}
        Whether its outputs or its inputs take part.
    unit : array, int64, (neurons of that side,), optional
        The unit that each neuron belongs to, -1 for neurons that take no part; neuron i is unit i when missing.
    lives : bool
        Whether units work here without links too, as queries with a bias do.
    """

    layer: int
    side: Literal["out", "in"]
    unit: Int64Array | None = None
    lives: bool = False


@dataclass(frozen=True)
class Joint:
    """Sides of layers that meet in common units: a unit without links on one of the sides works on none.

    Attributes
    ----------
    ends : tuple of End
        At least one of them with ``lives`` false.
    n_units : int
        Units in common.
    """

    ends: tuple[End, ...]
    n_units: int


@dataclass(frozen=True)
class Circuit:
    """Sparse layers that hang together by joints.

    Attributes
    ----------
    layers : tuple of SparseLinear
        In the order in which they were found.
    joints : tuple of Joint
        Where they meet.
    """

    layers: tuple[SparseLinear, ...]
    joints: tuple[Joint, ...]

    @classmethod
    def chain(cls, layers: Sequence[SparseLinear]) -> Circuit:
        """Return layers of which each one's outputs are the next one's inputs.

        Raises
        ------
        ShapeError
            If neighbouring layers do not fit.
        """
        for below, above in pairwise(layers):
            if below.out_features != above.in_features:
                raise ShapeError(
                    f"Expected a chain of fitting layers. "
                    f"Got {below.out_features} outputs into {above.in_features} inputs."
                )
        return cls(tuple(layers), in_a_row([layer.out_features for layer in layers]))

    @property
    def is_chain(self) -> bool:
        """Whether the layers are joined one after the other, outputs to inputs, and in no other way."""
        plain = all(end.unit is None and not end.lives for joint in self.joints for end in joint.ends)
        met = [tuple((end.layer, end.side) for end in joint.ends) for joint in self.joints]
        return plain and met == [((index, "out"), (index + 1, "in")) for index in range(len(self.layers) - 1)]


def in_a_row(n_out: Sequence[int]) -> tuple[Joint, ...]:
    """Return the joints of a chain of layers with these numbers of outputs."""
    return tuple(Joint((End(index, "out"), End(index + 1, "in")), size) for index, size in enumerate(n_out[:-1]))
