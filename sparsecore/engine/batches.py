"""Order of the samples in an epoch: a pure function, so that nothing has to be stored to resume."""

from __future__ import annotations

import numpy as np

from sparsecore._typing import Int64Array
from sparsecore.errors import check_count

__all__ = ["epoch_order"]


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
    check_count("seed", seed, "what all randomness of a run follows from", high=2**64 - 1)
    stream = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    # Sorting raw words: their stream is guaranteed by numpy, that of Generator.permutation is not.
    return np.argsort(stream.random_raw(n), kind="stable").astype(np.int64)
