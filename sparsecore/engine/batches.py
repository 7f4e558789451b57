"""Order of the samples in an epoch: a pure function, so that nothing has to be stored to resume."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sparsecore._typing import FloatArray, Int64Array, UInt64Array
from sparsecore.errors import check_count

__all__ = ["Augmentation", "epoch_order", "epoch_words"]


class Augmentation(Protocol):
    """Changes training samples at random, as a function of one random word each."""

    def __call__(self, x: FloatArray, words: UInt64Array, /) -> FloatArray:
        """Return changed copies of samples `x`, float32, (n, n_features); `words` is uint64, (n,)."""
        ...


def epoch_order(n: int, *, seed: int, epoch: int) -> Int64Array:
    """Return a uniformly random order of `n` samples.

    Parameters
    ----------
    n : int
        Number of samples.
    seed : int
        Seed of the run, in [0, 2**64).
    epoch : int
        Which epoch; orders of different epochs are independent.

    Returns
    -------
    array, int64, (n,)
        A permutation of ``0..n-1``, the same on every machine and numpy version.

    Examples
    --------
    >>> sorted(epoch_order(4, seed=1, epoch=0).tolist())
    [0, 1, 2, 3]
    """
    # Sorting raw words: their stream is guaranteed by numpy, that of Generator.permutation is not.
    return np.argsort(_stream(seed, epoch).random_raw(n), kind="stable").astype(np.int64)


def epoch_words(n: int, *, seed: int, epoch: int) -> UInt64Array:
    """Return a random word for each of `n` samples in an epoch, uint64, (n,), independent of `epoch_order`."""
    words: UInt64Array = _stream(seed, epoch).jumped().random_raw(n)
    return words


def _stream(seed: int, epoch: int) -> np.random.Philox:
    check_count("seed", seed, "what all randomness of a run follows from", high=2**64 - 1)
    return np.random.Philox(key=np.array([seed, epoch], np.uint64))
