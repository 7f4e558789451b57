"""Batches of about equally many tokens, of sentences of about equal length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from sparsecore._typing import Int64Array
from sparsecore.errors import DataError, check_count
from sparsecore.models.translation.tokenizer import BOS, EOS, PAD

__all__ = ["Batch", "EncodedPairs", "TokenBatches", "in_order_of_length", "pad"]

Ids = Sequence[Sequence[int]]

#: Sentences that are sorted by length together; more give less padding and batches that are less mixed.
_POOL = 8192


@dataclass(frozen=True)
class EncodedPairs:
    """Sentence pairs as ids, without marks.

    Attributes
    ----------
    source, target : sequence of sequence of int
        As many of the one as of the other.
    """

    source: Ids
    target: Ids

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.source)


@dataclass(frozen=True)
class Batch:
    """Padded sentences of one step.

    Attributes
    ----------
    source : Tensor, int64, (B, S)
        Source sentences, each with its end.
    target_in, target_out : Tensor, int64, (B, T)
        What the decoder reads (after the beginning), and what it is to say (up to the end).
    """

    source: torch.Tensor
    target_in: torch.Tensor
    target_out: torch.Tensor

    @property
    def n_target(self) -> int:
        """Tokens to predict, the ends included."""
        return int((self.target_out != PAD).sum())


class TokenBatches:
    """Cuts sentence pairs into batches of at most so many tokens a side, padding counted in.

    Every epoch has an order of its own that depends on the seed alone, so that a run can go on at any batch. Sentences
    are shuffled, sorted by length in pools, cut, and the batches shuffled.

    Parameters
    ----------
    pairs : EncodedPairs
        Sentences.
    tokens : int
        Most tokens of a batch on either side, marks and padding included.
    seed : int
        Decides the order.

    Raises
    ------
    DataError
        If a sentence is longer than a batch.
    """

    def __init__(self, pairs: EncodedPairs, tokens: int, seed: int) -> None:
        self._pairs, self.tokens = pairs, check_count("tokens", tokens, "the most tokens of a batch", low=1)
        self._seed = check_count("seed", seed, "the seed of the order")
        sides = (pairs.source, pairs.target)
        self._lengths = np.array([[len(row) + 1 for row in side] for side in sides], np.int64)
        if self._lengths.max(initial=0) > tokens:
            raise DataError(
                f"Expected sentences of at most {tokens} tokens. Got one of {self._lengths.max()}. "
                "Leave it out, or make batches larger."
            )

    def epoch(self, number: int) -> list[Int64Array]:
        """Return the sentences of every batch of an epoch, in the order in which the batches are taken."""
        draw = np.random.default_rng([self._seed, number])
        order = draw.permutation(len(self._pairs))
        batches: list[Int64Array] = []
        for start in range(0, len(order), _POOL):
            pool = order[start : start + _POOL]
            source, target = self._lengths[:, pool]
            batches += self._cut(pool[np.lexsort((source, target))])
        return [batches[index] for index in draw.permutation(len(batches))]

    def in_order(self) -> Iterator[Batch]:
        """Yield all sentences once, by length: for evaluation."""
        source, target = self._lengths
        for rows in self._cut(np.lexsort((source, target))):
            yield self.take(rows)

    def take(self, rows: Int64Array) -> Batch:
        """Return sentences as one batch."""
        target = [self._pairs.target[row] for row in rows]
        return Batch(
            pad([[*self._pairs.source[row], EOS] for row in rows]),
            pad([[BOS, *ids] for ids in target]),
            pad([[*ids, EOS] for ids in target]),
        )

    def _cut(self, rows: Int64Array) -> list[Int64Array]:
        """Cut sorted sentences so that the longest times the number stays within the limit on both sides."""
        starts, longest = [0], 0
        for place, length in enumerate(self._lengths.max(axis=0)[rows]):
            longest = max(longest, int(length))
            if longest * (place + 1 - starts[-1]) > self.tokens:
                starts.append(place)
                longest = int(length)
        return [rows[first:last] for first, last in pairwise([*starts, len(rows)])]


def pad(rows: Ids) -> torch.Tensor:
    """Return lists of ids as one tensor, int64, (rows, longest), filled up with `PAD`."""
    block = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    for at, row in enumerate(rows):
        block[at, : len(row)] = row
    return torch.from_numpy(block)


def in_order_of_length(rows: Ids, size: int) -> Iterator[list[int]]:
    """Yield places of `rows`, `size` at a time, shortest first."""
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    for start in range(0, len(order), size):
        yield order[start : start + size]
