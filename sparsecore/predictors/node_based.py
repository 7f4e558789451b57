"""Cannistraci-Hebb predictors that sum over nodes (L3n), and their exact sampler that computes no score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.errors import check_count
from sparsecore.kernels.cpu.propose import propose_by_pairs
from sparsecore.kernels.cpu.scores import CH2, CH3, CH31
from sparsecore.predictors.draws import active_nodes, alias_of, budget_of, sides, successive
from sparsecore.predictors.protocol import checked_draw, register
from sparsecore.predictors.three_paths import ThreePaths
from sparsecore.storage import Topology

__all__ = ["CH2L3n", "CH3L3n", "CH31L3n"]

_PAPER = "Zhang et al., Brain network science modelling of sparse neural networks (2025); Muscoloni et al. (2022)"


@dataclass(frozen=True)
class _Sampled(ThreePaths):
    """Node-based scores whose pairs of same-side nodes have a total that does not depend on their degrees.

    Attributes
    ----------
    proposals_per_link : int
        Budget of the sampler, in proposals per wanted link, before the exact stream takes over.
    """

    proposals_per_link: int = 16
    by_paths: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the budget."""
        check_count("proposals_per_link", self.proposals_per_link, "the budget of the sampler per wanted link")

    def sample(self, topology: Topology, n: int, seed: int) -> Int64Array:
        """Return up to `n` distinct missing links by successive sampling in proportion to the score.

        For two outputs i, j with UU common inputs, the missing links of i to the dU - UU inputs that j has and i lacks
        receive ``(UU + 1) / (dU - UU)`` each, which adds up to ``UU + 1`` for the pair: a uniform 2-path (mass UU) or a
        uniform connected pair (mass 1), followed by a uniform input, draws a link in proportion to its score. The same
        holds for pairs of inputs. Repeated draws are rejected, which is successive sampling.

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
        # 2-paths between outputs have an input in their middle, and the other way round.
        through = _two_paths(degrees[1]), _two_paths(degrees[0])
        mass = []
        actives = []
        for degree, weights in zip(degrees, through, strict=True):
            active = active_nodes(degree, weights.sum())
            once = active.size * (active.size - 1.0) if active.size else weights.sum()
            mass += [weights.sum() if self.rule == CH2 else 0.0, once]
            actives.append(active)
        budget = budget_of(self.proposals_per_link, n)
        if n == 0 or budget == 0 or sum(mass) == 0.0:
            return np.zeros(0, np.int64)
        limits = np.cumsum(mass) / np.sum(mass)
        outs, ins = sides(topology, bits=True)
        aliases = tuple(alias_of(weights) for weights in through)

        def propose(start: int, found: Int64Array) -> None:
            propose_by_pairs(outs, ins, aliases, tuple(actives), limits, np.uint64(seed), start, found)

        return successive(propose, topology.n_possible, n, budget)


def _two_paths(degrees: Int64Array) -> Float64Array:
    """Return the number of ordered pairs of neighbours of every node, float64."""
    degree = degrees.astype(np.float64)
    return degree * (degree - 1.0)


@register(
    "ch2_l3n",
    paper=_PAPER,
    equation="S(u,v) = Σ_{z∈N(v)} (iLCL+1)/(eLCL+1) + Σ_{z∈N(u)} (iLCL+1)/(eLCL+1), nodes on 3-paths u-·-·-v",
)
@dataclass(frozen=True)
class CH2L3n(_Sampled):
    """Cannistraci-Hebb 2, node-based: internal links of local communities over their external links."""

    rule: ClassVar[int] = CH2


@register(
    "ch3_l3n",
    paper=_PAPER,
    equation="S(u,v) = Σ_{z∈N(v)} 1/(eLCL+1) + Σ_{z∈N(u)} 1/(eLCL+1), nodes on 3-paths u-·-·-v",
)
@dataclass(frozen=True)
class CH3L3n(_Sampled):
    """Cannistraci-Hebb 3, node-based: minimal external links of local communities."""

    rule: ClassVar[int] = CH3


@register(
    "ch31_l3n",
    paper=_PAPER,
    equation="as CH2-L3n with denominators (1+e)^(1+e/(1+e)), e = eLCL",
)
@dataclass(frozen=True)
class CH31L3n(ThreePaths):
    """Cannistraci-Hebb 3.1, node-based: a sharper penalty of external links."""

    rule: ClassVar[int] = CH31
    by_paths: ClassVar[bool] = False
