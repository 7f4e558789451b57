"""Predictors that sum over three-step paths (L3p) and the baselines CN-L3 and RA-L3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array
from sparsecore.kernels.cpu.paths import score_row_path_based
from sparsecore.predictors.protocol import ScoreBlock, Signals, register
from sparsecore.predictors.rows import RowScorer
from sparsecore.storage import Topology

__all__ = ["CNL3", "RAL3", "CH2L3p", "CH3L3p", "CH31L3p"]

_CH = "Muscoloni et al., Adaptive network automata modelling of complex networks (2022)"


@dataclass(frozen=True)
class _PathBased:
    """Scores, float64, of missing links; O(n_out + n_in) scratch per row, no path is stored."""

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
        return RowScorer(score_row_path_based, topology, self.rule).pairs(rows, cols)

    def stream(self, topology: Topology, *, signals: Signals | None = None) -> Iterator[ScoreBlock]:
        """Yield all missing links of positive score, in order of link id."""
        return RowScorer(score_row_path_based, topology, self.rule).blocks()


@register("cn_l3", paper="Kovács et al., Nature Communications 10 (2019), as baseline", equation="number of 3-paths")
@dataclass(frozen=True)
class CNL3(_PathBased):
    """Number of three-step paths."""

    rule: ClassVar[int] = 0


@register("ra_l3", paper="Kovács et al., Nature Communications 10 (2019)", equation="Σ_paths 1/sqrt(d_z1·d_z2)")
@dataclass(frozen=True)
class RAL3(_PathBased):
    """Three-step paths, weighted down by the degrees of their inner nodes."""

    rule: ClassVar[int] = 1


@register("ch2_l3p", paper=_CH, equation="Σ_paths sqrt((1+i_z1)(1+i_z2) / ((1+e_z1)(1+e_z2)))")
@dataclass(frozen=True)
class CH2L3p(_PathBased):
    """Cannistraci-Hebb 2, path-based."""

    rule: ClassVar[int] = 2


@register("ch3_l3p", paper=_CH, equation="Σ_paths 1/sqrt((1+e_z1)(1+e_z2))")
@dataclass(frozen=True)
class CH3L3p(_PathBased):
    """Cannistraci-Hebb 3, path-based."""

    rule: ClassVar[int] = 3


@register("ch31_l3p", paper=_CH, equation="as CH2-L3p with (1+e)^(1+e/(1+e)) for 1+e")
@dataclass(frozen=True)
class CH31L3p(_PathBased):
    """Cannistraci-Hebb 3.1, path-based."""

    rule: ClassVar[int] = 31
