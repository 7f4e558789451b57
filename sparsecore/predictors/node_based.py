"""Cannistraci-Hebb predictors that sum over nodes (L3n), and their exact sampler that computes no score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.errors import check_count
from sparsecore.kernels.cpu.paths import alias_table, input_weights, sample_node_based, score_row_node_based
from sparsecore.predictors.protocol import ScoreBlock, Signals, register
from sparsecore.predictors.rows import RowScorer
from sparsecore.storage import Topology

__all__ = ["CH2L3n", "CH3L3n", "CH31L3n"]

#: Most entries of a table of weights between active inputs: 16 MiB. Networks that have collapsed to a core stay below.
TABLE_LIMIT = 2**21

#: Density among active neurons above which proposals mostly hit existing links.
CROWDED = 0.25

_PAPER = "Zhang et al., Brain network science modelling of sparse neural networks (2025); Muscoloni et al. (2022)"


@dataclass(frozen=True)
class _NodeBased:
    """Scores, float64, of missing links; O(n_out + n_in) scratch per row."""

    rule: ClassVar[int]
    needs: ClassVar[frozenset[str]] = frozenset()

    def score_links(
        self, topology: Topology, rows: ArrayLike, cols: ArrayLike, *, signals: Signals | None = None
    ) -> Float64Array:
        """Return exact scores at chosen missing links, float64, (n,).

        Raises
        ------
        TopologyError
            If a pair is out of range or an existing link.
        """
        return self._scorer(topology).pairs(rows, cols)

    def stream(self, topology: Topology, *, signals: Signals | None = None) -> Iterator[ScoreBlock]:
        """Yield all missing links of positive score, in order of link id."""
        return self._scorer(topology).blocks()

    def _scorer(self, topology: Topology) -> RowScorer:
        active = np.flatnonzero(topology.in_degrees > 0)
        lists = topology.row_ptr, topology.row_cols, topology.col_ptr, topology.rows
        small = active.size**2 <= TABLE_LIMIT
        table = input_weights(*lists, active, self.rule) if small else np.zeros((0, 0))
        return RowScorer(score_row_node_based, topology, self.rule, active, table)


@dataclass(frozen=True)
class _Sampled(_NodeBased):
    """Node-based scores whose pairs of same-side nodes have a total that does not depend on their degrees.

    Attributes
    ----------
    proposals_per_link : int, optional
        Budget of the sampler, in proposals per wanted link, before the exact stream takes over. When missing, it
        is chosen by the layer: 0 on a small core crowded with links.
    """

    proposals_per_link: int | None = None
    weighted: ClassVar[bool]
    usual_budget: ClassVar[int]

    def __post_init__(self) -> None:
        """Check the budget."""
        if self.proposals_per_link is not None:
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
        budget = self.proposals_per_link
        if budget is None:
            budget = 0 if _is_small_core(topology) else self.usual_budget
        in_weight, out_weight = _two_paths(topology.in_degrees), _two_paths(topology.out_degrees)
        over_inputs, over_outputs = float(in_weight.sum()), float(out_weight.sum())
        if n <= 0 or budget == 0 or over_inputs + over_outputs == 0.0:
            return np.zeros(0, np.int64)
        nothing = np.ones(1), np.zeros(1, np.int32)
        drawn = np.empty(n, np.int64)
        table = np.full(1 << max(4, int(2 * n - 1).bit_length()), -1, np.int64)
        count = sample_node_based(
            topology.row_ptr,
            topology.row_cols,
            topology.col_ptr,
            topology.rows,
            alias_table(in_weight) if over_inputs else nothing,
            alias_table(out_weight) if over_outputs else nothing,
            over_inputs / (over_inputs + over_outputs),
            self.weighted,
            n,
            np.uint64(seed),
            budget * n + 1024,
            drawn,
            table,
        )
        return drawn[:count]


def _is_small_core(topology: Topology) -> bool:
    """Tell whether links crowd on few neurons: most proposals would fail, and the exact stream takes milliseconds."""
    n_in, n_out = np.count_nonzero(topology.in_degrees), np.count_nonzero(topology.out_degrees)
    return bool(n_in**2 <= TABLE_LIMIT and topology.n_links >= CROWDED * n_in * n_out)


def _two_paths(degrees: Int64Array) -> Float64Array:
    """Return the number of ordered pairs of neighbours of every node."""
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

    rule: ClassVar[int] = 2
    weighted: ClassVar[bool] = True
    usual_budget: ClassVar[int] = 4


@register(
    "ch3_l3n",
    paper=_PAPER,
    equation="S(u,v) = Σ_{z∈N(v)} 1/(eLCL+1) + Σ_{z∈N(u)} 1/(eLCL+1), nodes on 3-paths u-·-·-v",
)
@dataclass(frozen=True)
class CH3L3n(_Sampled):
    """Cannistraci-Hebb 3, node-based: minimal external links of local communities."""

    rule: ClassVar[int] = 3
    weighted: ClassVar[bool] = False
    usual_budget: ClassVar[int] = 64


@register(
    "ch31_l3n",
    paper=_PAPER,
    equation="as CH2-L3n with denominators (1+e)^(1+e/(1+e)), e = eLCL",
)
@dataclass(frozen=True)
class CH31L3n(_NodeBased):
    """Cannistraci-Hebb 3.1, node-based: a sharper penalty of external links."""

    rule: ClassVar[int] = 31
