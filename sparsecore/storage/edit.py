"""The difference between two topologies of one layer, and how per-link arrays follow it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike

from sparsecore._typing import Int64Array
from sparsecore.errors import ShapeError, TopologyError
from sparsecore.storage.topology import Topology, checked_integers

__all__ = ["TopologyEdit"]

A = TypeVar("A", np.ndarray, torch.Tensor)


@dataclass(frozen=True, eq=False)
class TopologyEdit:
    """A planned change of one layer's links; nothing is moved until it is applied.

    Attributes
    ----------
    old, new : Topology
        Before and after; the same shape.
    source : array, int64, (new.n_links,)
        Position in the old values of every new link, or -1 for a link that is new. A link that was removed and
        regrown in the same update keeps its old position.

    Examples
    --------
    >>> old = Topology.from_coo([0, 1], [0, 1], shape=(2, 2))
    >>> edit = TopologyEdit.plan(old, kept=[1], grown=[1])
    >>> edit.new.link_ids.tolist(), edit.source.tolist()
    ([1, 3], [-1, 1])
    """

    old: Topology
    new: Topology
    source: Int64Array

    @classmethod
    def plan(cls, old: Topology, kept: ArrayLike, grown: ArrayLike) -> TopologyEdit:
        """Plan the change that keeps some links and adds others.

        Parameters
        ----------
        old : Topology
            The links before.
        kept : array, int64, (n_kept,)
            Distinct positions among ``old``'s links that stay.
        grown : array, int64, (n_grown,)
            Ids of links to add; none of them may be kept, a removed one may come back.

        Raises
        ------
        TopologyError
            If a position is no integer, out of range or repeated, or a grown link is kept, repeated or out of range.
        """
        stay, ids = checked_integers(kept, "kept"), checked_integers(grown, "grown")
        if stay.size and (stay.min() < 0 or stay.max() >= old.n_links):
            raise TopologyError(f"Expected kept positions in [0, {old.n_links}). Got {stay.min()} to {stay.max()}.")
        if ids.size and (ids.min() < 0 or ids.max() >= old.n_possible):
            raise TopologyError(f"Expected grown ids in [0, {old.n_possible}). Got {ids.min()} to {ids.max()}.")
        # Kept links are merged with grown ones, both in order.
        stay = np.sort(stay)
        rows, cols = np.divmod(ids, max(old.n_in, 1))
        extra = np.sort(cols * old.n_out + rows)
        keys = old.keys[stay]
        at = np.searchsorted(keys, extra) + np.arange(extra.size)
        own = np.ones(keys.size + extra.size, np.bool_)
        own[at] = False
        merged, source = np.empty(own.size, np.int64), np.empty(own.size, np.int64)
        merged[own], merged[at] = keys, extra
        source[own], source[at] = stay, old.find_keys(extra)
        return cls(old, Topology.from_keys(merged, old.shape), source)

    @classmethod
    def between(cls, old: Topology, new: Topology) -> TopologyEdit:
        """Plan the change from one topology to another of the same shape."""
        if old.shape != new.shape:
            raise ShapeError(f"Expected topologies of one shape. Got {old.shape} and {new.shape}.")
        return cls(old, new, old.find(new.link_ids))

    @cached_property
    def survivors(self) -> Int64Array:
        """Positions in the new values of links that existed before, int64."""
        return np.flatnonzero(self.source >= 0)

    @cached_property
    def fresh(self) -> Int64Array:
        """Positions in the new values of links that did not exist before, int64."""
        return np.flatnonzero(self.source < 0)

    @cached_property
    def retired(self) -> Int64Array:
        """Positions in the old values of links that are gone, int64."""
        gone = np.ones(self.old.n_links, np.bool_)
        gone[self.source[self.survivors]] = False
        return np.flatnonzero(gone)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.old.n_links == self.new.n_links and self.fresh.size == 0

    def remap(self, values: A, fill: float = 0.0) -> A:
        """Return per-link `values` in the new order; new links get `fill`.

        Parameters
        ----------
        values : array or Tensor, (old.n_links,)
            One number per old link.
        fill : float
            What new links start with.

        Returns
        -------
        array or Tensor, (new.n_links,)
            Same type, dtype and device as `values`.

        Raises
        ------
        ShapeError
            If `values` does not have one entry per old link.
        """
        if values.shape != (self.old.n_links,):
            raise ShapeError(f"Expected values of shape ({self.old.n_links},). Got {tuple(values.shape)}.")
        if isinstance(values, np.ndarray):
            return self._moved(values, fill)
        if values.is_cpu and values.itemsize in _BITS:
            # NumPy moves the numbers, whatever they mean: it knows no bfloat16, and wakes no threads for them.
            kind = _BITS[values.itemsize]
            nothing = torch.tensor(fill, dtype=values.dtype).view(kind).item()
            return torch.from_numpy(self._moved(values.detach().view(kind).numpy(), nothing)).view(values.dtype)
        moved = values.detach().index_select(0, torch.from_numpy(self.source.clip(0)).to(values.device))
        moved[torch.from_numpy(self.fresh).to(values.device)] = fill
        return moved

    def _moved(self, values: np.ndarray, fill: float) -> np.ndarray:
        if self.old.n_links == 0:
            return np.full(self.new.n_links, fill, values.dtype)
        out = values.take(self.source, mode="clip")
        out[self.fresh] = fill
        return out


#: Integers as wide as a number of so many bytes.
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
