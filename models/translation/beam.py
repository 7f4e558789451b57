"""Beam search with kept keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsecore.errors import check_count
from sparsecore.models.translation.batches import Ids, in_order_of_length, pad
from sparsecore.models.translation.tokenizer import BOS, EOS, PAD
from sparsecore.models.translation.transformer import LayerState, Transformer, visible

__all__ = ["beam_search"]


@torch.no_grad()
def beam_search(
    model: Transformer, sources: Ids, *, width: int = 2, length_power: float = 1.0, batch: int = 64
) -> list[list[int]]:
    """Return the translation of every sentence as ids, without marks.

    Parameters
    ----------
    model : Transformer
        Put into evaluation mode for the search, and back.
    sources : sequence of sequence of int
        Sentences as ids, without marks.
    width : int
        Beginnings that are followed at one time; 1 is greedy search.
    length_power : float
        Translations are compared by log-probability over length to this power; 0 favours short ones.
    batch : int
        Sentences searched at one time.

    Raises
    ------
    ConfigError
        If `width` or `batch` is below 1.

    Notes
    -----
    A sentence ends when as many translations of it have ended as the beam is wide, or at twice the length of its source
    and ten tokens.
    """
    check_count("width", width, "the beginnings that are followed at one time", low=1)
    check_count("batch", batch, "the sentences that are searched at one time", low=1)
    found: list[list[int]] = [[] for _ in sources]
    training = model.training
    model.eval()
    try:
        for places in in_order_of_length(sources, batch):
            source = pad([[*sources[place], EOS] for place in places])
            for place, ids in zip(places, _Search(model, source, width, length_power).run(), strict=True):
                found[place] = ids
    finally:
        model.train(training)
    return found


class _Search:
    """The search for the translations of one batch; sentences that have ended leave it."""

    def __init__(self, model: Transformer, source: torch.Tensor, width: int, power: float) -> None:
        n = len(source)
        self._model, self._width, self._power = model, width, power
        self._best = [(-torch.inf, [0])] * n
        self._n_ended = [0] * n
        self._open = list(range(n))
        self._limits = (2 * (source != PAD).sum(1) + 10).clamp(max=model.sizes.positions).tolist()
        every = torch.arange(n).repeat_interleave(width)
        self._mask = visible(source)[every]
        self._states: Sequence[LayerState] = [
            (said.rows(every), of_source.rows(every)) for said, of_source in model.begin(source)
        ]
        self._said = torch.full((n * width, 1), BOS)
        self._totals = torch.full((n, width), -torch.inf)
        self._totals[:, 0] = 0.0

    def run(self) -> list[list[int]]:
        """Return the best translation of every sentence."""
        length = 0
        while self._open:
            length += 1
            self._go_on(length)
        return [ids for _, ids in self._best]

    def _go_on(self, length: int) -> None:
        """Say one more token in every beginning, keep the best ones, let go what has ended or is at its limit."""
        scores, self._states = self._model.say(self._said[:, -1], self._states, self._mask)
        scores[:, [PAD, BOS]] = -torch.inf
        n_tokens, n = scores.shape[1], len(self._open)
        totals = (self._totals.view(-1, 1) + scores.log_softmax(1)).view(n, -1)
        totals, places = totals.topk(2 * self._width)
        rows = places.div(n_tokens, rounding_mode="floor") + torch.arange(0, n * self._width, self._width)[:, None]
        tokens = places % n_tokens
        ends = tokens == EOS
        self._note_ends(ends[:, : self._width] & totals[:, : self._width].isfinite(), totals, rows, length)
        kept = ends.long().argsort(stable=True, dim=1)[:, : self._width]
        totals, rows, tokens = (part.gather(1, kept) for part in (totals, rows, tokens))
        goes = [self._n_ended[place] < self._width and length < self._limits[place] for place in self._open]
        for sentence, place in enumerate(self._open):
            if not goes[sentence] and self._n_ended[place] == 0:
                self._best[place] = 0.0, [*self._said[rows[sentence, 0], 1:].tolist(), int(tokens[sentence, 0])]
        going = torch.tensor(goes)
        self._open = [place for place, stays in zip(self._open, goes, strict=True) if stays]
        totals, rows, tokens = totals[going], rows[going], tokens[going]
        self._totals = totals
        self._said = torch.cat([self._said[rows.flatten()], tokens.view(-1, 1)], 1)
        self._reorder(rows.flatten(), bool(going.all()))

    def _note_ends(self, ends: torch.Tensor, totals: torch.Tensor, rows: torch.Tensor, length: int) -> None:
        for sentence, rank in ends.nonzero().tolist():
            place, score = self._open[sentence], float(totals[sentence, rank]) / length**self._power
            self._n_ended[place] += 1
            if score > self._best[place][0]:
                self._best[place] = score, self._said[rows[sentence, rank], 1:].tolist()

    def _reorder(self, rows: torch.Tensor, all_go_on: bool) -> None:
        """Bring the states into the order of `rows`; beginnings of one sentence have its source in common."""
        self._mask = self._mask[rows]
        self._states = [
            (said.rows(rows), of_source if all_go_on else of_source.rows(rows)) for said, of_source in self._states
        ]
