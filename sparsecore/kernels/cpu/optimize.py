"""Numba kernels of optimizers: one sweep over all float32 parameters of a group, in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.memory import load_scalar, store_scalar
from sparsecore.kernels.cpu.simd import GROUP, fma, load, splat, store

__all__ = ["momentum_sgd"]


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[misc]
def momentum_sgd(table: Any, rate: Any, momentum: Any, decay: Any) -> None:
    """Take one step of SGD with momentum and weight decay, as `torch.optim.SGD` does.

    ``table``, int64, (n, 4): addresses of parameter, gradient and momentum buffer, and the number of elements, negative
    where the buffer is new: it becomes the gradient. All numbers are float32.
    """
    for row in range(table.shape[0]):
        param, grad, buffer, n = table[row, 0], table[row, 1], table[row, 2], abs(table[row, 3])
        keep = np.float32(0.0) if table[row, 3] < 0 else momentum
        keeps, decays, minus = splat(keep, 16, 4), splat(decay, 16, 4), splat(-rate, 16, 4)
        for k in range(0, n - n % GROUP, GROUP):
            at = 4 * k
            p = load(param + at, 16, 4)
            g = fma(decays, p, load(grad + at, 16, 4))
            v = g if table[row, 3] < 0 else fma(keeps, load(buffer + at, 16, 4), g)
            store(buffer + at, v)
            store(param + at, fma(minus, v, p))
        for k in range(n - n % GROUP, n):
            at = 4 * k
            value = load_scalar(param + at, 4)
            slope = decay * value + load_scalar(grad + at, 4)
            speed = slope if table[row, 3] < 0 else keep * load_scalar(buffer + at, 4) + slope
            store_scalar(buffer + at, speed)
            store_scalar(param + at, value - rate * speed)
