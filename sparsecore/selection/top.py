"""The rigid selection: the best ones, ties by position, link id or sub-ranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.errors import UnknownNameError
from sparsecore.kernels.cpu.rng import salted
from sparsecore.predictors import Predictor, Signals
from sparsecore.selection.best import Smallest, smallest
from sparsecore.selection.protocol import checked_growth, checked_importance, fill_uniformly, register
from sparsecore.selection.subrank import ShortestPathCorrelation, to_forty_bits
from sparsecore.storage import Topology

__all__ = ["Top"]


@register("top", paper="the field's hard rule", equation="the n of largest score; ties by id, or by SPcorr")
@dataclass(frozen=True)
class Top:
    """Keeps the most important links and grows those of highest score.

    Attributes
    ----------
    subrank : str
        Which of several missing links with the score at the threshold are grown: ``"id"``, those of smallest link id,
        or ``"spcorr"``, those whose neurons have the most similar shortest paths, see `ShortestPathCorrelation`.
    """

    subrank: str = "id"

    def __post_init__(self) -> None:
        """Check the sub-ranking."""
        if self.subrank not in ("id", "spcorr"):
            raise UnknownNameError("sub-ranking", self.subrank, ("id", "spcorr"))

    def keep(self, importance: FloatArray, n_keep: int, seed: int) -> Int64Array:
        """Return the positions of the `n_keep` most important links, increasing, int64; ties to the first.

        Raises
        ------
        ConfigError
            If an importance is negative or not finite, or `n_keep` exceeds their number.
        """
        values = checked_importance(importance, n_keep, seed)
        return smallest(-values, n_keep)

    def grow(
        self, predictor: Predictor, topology: Topology, n: int, seed: int, *, signals: Signals | None = None
    ) -> Int64Array:
        """Return the `n` missing links of highest score, best first, int64; then uniform ones where scores run out.

        Scores are compared to 40 significant bits (12 digits), so that rounding does not decide between equal ones.

        A predictor that cannot tell missing links apart would always give the first ones: with constant scores, as
        those of `Random`, use `Soft`.

        Raises
        ------
        ConfigError
            If the sub-ranking asks for scores of stored links and the predictor has none.
        """
        n = checked_growth(topology, n, seed)
        paths = ShortestPathCorrelation(topology, predictor) if self.subrank == "spcorr" else None
        best = Smallest(n)
        for block in predictor.stream(topology, signals=signals):
            best.add(block.ids, -to_forty_bits(block.scores))
        chosen = best.ids()
        if paths is not None and chosen.size == n > 0:
            chosen = _subranked(best, paths, predictor, topology, signals)
        return fill_uniformly(topology, chosen, n, salted(seed, 2))


def _subranked(
    best: Smallest, paths: ShortestPathCorrelation, predictor: Predictor, topology: Topology, signals: Signals | None
) -> Int64Array:
    """Return the best links, with those of the last score chosen by correlation from all that share it.

    The tied links may be far more than n, so they are not collected but streamed once more.
    """
    chosen, keys = best.ids(), best.keys()
    above = chosen[keys < keys[-1]]
    others = Smallest(chosen.size - above.size)
    for block in predictor.stream(topology, signals=signals):
        tied = block.ids[-to_forty_bits(block.scores) == keys[-1]]
        if tied.size:
            others.add(tied, -paths.of(*np.divmod(tied, topology.n_in)))
    return np.concatenate([above, others.ids()])
