"""Random keys for sampling without replacement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.rng import mix64, next_state, stream, uniform

__all__ = ["log_exponentials"]

#: Sets the seeds of keys apart from those of proposals.
KEYS = np.uint64(0x6B6579732121)


@njit(cache=True, nogil=True)  # type: ignore[misc]
def log_exponentials(seed: Any, ids: Any) -> Any:
    """Return the logarithm of one Exp(1) variable per id, float64, (n,); each is a function of seed and id alone."""
    out = np.empty(ids.size)
    # A sampler with the same seed has used the streams of this seed for its proposals: keys must not share them.
    seed = mix64(np.uint64(seed) ^ KEYS)
    for k in range(ids.size):
        # 1 - uniform lies in (0, 1]; the half step keeps the logarithm of the exponential finite.
        exponential = -np.log1p(-uniform(next_state(stream(seed, ids[k]))) - 5.6e-17)
        out[k] = np.log(max(exponential, 1e-300))
    return out
