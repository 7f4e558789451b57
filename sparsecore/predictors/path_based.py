"""Predictors that sum over three-step paths (L3p) and the baselines CN-L3 and RA-L3, with exact samplers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sparsecore._typing import Int64Array
from sparsecore.errors import check_count
from sparsecore.kernels.cpu.paths import Side, largest_overlaps
from sparsecore.kernels.cpu.propose import propose_around_links, propose_by_paths
from sparsecore.kernels.cpu.scores import CH2, CH3, CH31, CN, RA
from sparsecore.predictors.draws import alias_of, budget_of, sides, successive
from sparsecore.predictors.protocol import checked_draw, register
from sparsecore.predictors.three_paths import ThreePaths
from sparsecore.storage import Topology

__all__ = ["CNL3", "RAL3", "CH2L3p", "CH3L3p", "CH31L3p"]

_CH = "Muscoloni et al., Adaptive network automata modelling of complex networks (2022)"


@dataclass(frozen=True)
class _Sampled(ThreePaths):
    """Path-based scores with an exact sampler.

    Attributes
    ----------
    proposals_per_link : int
        Budget of the sampler, in proposals per wanted link, before the exact stream takes over.
    """

    proposals_per_link: int = 32
    by_paths: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the budget."""
        check_count("proposals_per_link", self.proposals_per_link, "the budget of the sampler per wanted link")


@dataclass(frozen=True)
class _AroundLinks(_Sampled):
    """Scores whose paths weigh as much as the link in their middle."""

    def sample(self, topology: Topology, n: int, seed: int) -> Int64Array:
        """Return up to `n` distinct missing links by successive sampling in proportion to the score.

        The weight w of a path u - z1 - z2 - v is that of its middle link. A link drawn in proportion to
        ``w · d_z1 · d_z2``, followed by a uniform neighbour of each end, draws a path in proportion to w; what is no
        path, or leads to an existing link, is rejected.

        Parameters
        ----------
        topology : Topology
            The links.
        n : int
            Wanted number of missing links.
        seed : int
            In [0, 2**64).

        Returns
        -------
        array, int64, (m,)
            Link ids in order of draw; ``m < n`` only when the budget of proposals has ended.
        """
        checked_draw(n, seed)
        z2 = _nodes(topology.out_degrees)
        out_degree = topology.out_degrees[z2].astype(np.float64)
        in_degree = topology.in_degrees[topology.row_cols].astype(np.float64)
        weights = np.where((out_degree > 1) & (in_degree > 1), out_degree * in_degree, 0.0)
        if self.rule == RA:
            weights = np.sqrt(weights)
        budget = budget_of(self.proposals_per_link, n)
        if budget == 0 or not weights.any():
            return np.zeros(0, np.int64)
        outs, _ = sides(topology, bits=True)
        alias = (*alias_of(weights), z2)

        def propose(start: int, found: Int64Array) -> None:
            propose_around_links(outs, alias, np.uint64(seed), start, found)

        return successive(propose, topology.n_possible, n, budget)


@dataclass(frozen=True)
class _BothEnds(_Sampled):
    """Scores whose paths weigh the geometric mean of what their inner nodes weigh."""

    def sample(self, topology: Topology, n: int, seed: int) -> Int64Array:
        """Return up to `n` distinct missing links by successive sampling in proportion to the score.

        A path weighs ``sqrt(x·y)``, at most ``(x + y) / 2``. Over all paths with given z1, z2 and v, x adds up to 1
        (CH3) or 1 + VV (CH2), so paths with density x are drawn as 2-paths and a uniform end, as in CH2-L3n; paths with
        density y from the other side. A path is accepted with probability ``2·sqrt(x·y) / (x + y)``. The mass 1 + VV is
        made by rejection from 1 + bound, the largest overlap of z1.

        Parameters
        ----------
        topology : Topology
            The links.
        n : int
            Wanted number of missing links.
        seed : int
            In [0, 2**64).

        Returns
        -------
        array, int64, (m,)
            Link ids in order of draw; ``m < n`` only when the budget of proposals has ended.
        """
        checked_draw(n, seed)
        degrees = topology.out_degrees, topology.in_degrees
        budget = budget_of(self.proposals_per_link, n)
        if budget == 0 or not topology.n_links:
            return np.zeros(0, np.int64)
        both = sides(topology, bits=True)
        bounds = tuple(self._bounds(side, degree) for side, degree in zip(both, degrees, strict=True))
        aliases, mass = [], []
        for side, own, other, bound in zip(both, degrees, degrees[::-1], bounds, strict=True):
            nodes = _nodes(own)
            weights = other[side.near].astype(np.float64)
            weights[weights == 1.0] = 0.0
            if bound.size:
                weights *= 1.0 + bound[nodes]
            aliases.append((*alias_of(weights), nodes))
            mass.append(float(weights.sum()))
        if sum(mass) == 0.0:
            return np.zeros(0, np.int64)
        share = mass[0] / sum(mass)

        def propose(start: int, found: Int64Array) -> None:
            propose_by_paths(*both, tuple(aliases), bounds, share, np.uint64(seed), start, found)

        return successive(propose, topology.n_possible, n, budget)

    def _bounds(self, side: Side, degrees: Int64Array) -> Int64Array:
        """Return the largest overlap of every node; nothing for CH3, whose weights do not grow with it."""
        if self.rule == CH3:
            return np.zeros(0, np.int64)
        if side.bits.size:
            # Overlaps of dense layers come near the degree, and would take all 2-paths to count.
            return np.maximum(degrees - 1, 0)
        return np.asarray(largest_overlaps(side), np.int64)


def _nodes(degrees: Int64Array) -> Any:
    """Return the node of every link of a side whose nodes have these degrees, int32, (n_links,)."""
    return np.repeat(np.arange(degrees.size, dtype=np.int32), degrees)


@register("cn_l3", paper="Kovács et al., Nature Communications 10 (2019), as baseline", equation="number of 3-paths")
@dataclass(frozen=True)
class CNL3(_AroundLinks):
    """Number of three-step paths."""

    rule: ClassVar[int] = CN


@register("ra_l3", paper="Kovács et al., Nature Communications 10 (2019)", equation="Σ_paths 1/sqrt(d_z1·d_z2)")
@dataclass(frozen=True)
class RAL3(_AroundLinks):
    """Three-step paths, weighted down by the degrees of their inner nodes."""

    rule: ClassVar[int] = RA


@register("ch2_l3p", paper=_CH, equation="Σ_paths sqrt((1+i_z1)(1+i_z2) / ((1+e_z1)(1+e_z2)))")
@dataclass(frozen=True)
class CH2L3p(_BothEnds):
    """Cannistraci-Hebb 2, path-based."""

    rule: ClassVar[int] = CH2


@register("ch3_l3p", paper=_CH, equation="Σ_paths 1/sqrt((1+e_z1)(1+e_z2))")
@dataclass(frozen=True)
class CH3L3p(_BothEnds):
    """Cannistraci-Hebb 3, path-based."""

    rule: ClassVar[int] = CH3


@register("ch31_l3p", paper=_CH, equation="as CH2-L3p with (1+e)^(1+e/(1+e)) for 1+e")
@dataclass(frozen=True)
class CH31L3p(ThreePaths):
    """Cannistraci-Hebb 3.1, path-based."""

    rule: ClassVar[int] = CH31
    by_paths: ClassVar[bool] = True
