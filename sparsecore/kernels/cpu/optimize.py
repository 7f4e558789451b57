"""Numba kernels of optimizers: one sweep over float32 parameters, called or as a stage of a job."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.memory import entry, load_scalar, store_scalar
from sparsecore.kernels.cpu.simd import GROUP, fma, load, splat, store
from sparsecore.kernels.cpu.stages import stage
from sparsecore.kernels.cpu.tiles import RUNS

__all__ = ["momentum_sgd", "momentum_stage"]


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[misc]
def _update(
    param: int, grad: int, buffer: int, begin: int, end: int, rate: Any, momentum: Any, decay: Any, fresh: bool
) -> None:
    """Update elements ``begin .. end - 1``; a `fresh` buffer becomes the gradient, whatever it holds."""
    keep = np.float32(0.0) if fresh else momentum
    keeps, decays, minus = splat(keep, 16, 4), splat(decay, 16, 4), splat(-rate, 16, 4)
    stop = end - (end - begin) % GROUP
    for k in range(begin, stop, GROUP):
        at = 4 * k
        p = load(param + at, 16, 4)
        g = fma(decays, p, load(grad + at, 16, 4))
        v = g if fresh else fma(keeps, load(buffer + at, 16, 4), g)
        store(buffer + at, v)
        store(param + at, fma(minus, v, p))
    for k in range(stop, end):
        at = 4 * k
        value = load_scalar(param + at, 4)
        slope = decay * value + load_scalar(grad + at, 4)
        speed = slope if fresh else keep * load_scalar(buffer + at, 4) + slope
        store_scalar(buffer + at, speed)
        store_scalar(param + at, value - rate * speed)


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[misc]
def momentum_sgd(table: Any, rate: Any, momentum: Any, decay: Any) -> None:
    """Take one step of SGD with momentum and weight decay, as `torch.optim.SGD` does.

    ``table``, int64, (n, 4): addresses of parameter, gradient and momentum buffer, and the number of elements, negative
    where the buffer is new: it becomes the gradient. All numbers are float32.
    """
    for row in range(table.shape[0]):
        n = table[row, 3]
        _update(table[row, 0], table[row, 1], table[row, 2], 0, abs(n), rate, momentum, decay, n < 0)


@cache
def momentum_stage() -> int:
    """Return the stage that takes such a step on one list of parameters.

    Units are `RUNS`. Arguments: ``param, grad, buffer, n, rates``: addresses of float32 arrays, (n,), and of learning
    rate, momentum and weight decay, float32, (3,).
    """

    def momentum(args: int, number: int, low: int, high: int) -> None:
        n, rates = entry(args, 3), entry(args, 4)
        rate, keep, decay = load_scalar(rates, 4), load_scalar(rates + 4, 4), load_scalar(rates + 8, 4)
        begin, end = n * low // RUNS, n * high // RUNS
        _update(entry(args, 0), entry(args, 1), entry(args, 2), begin, end, rate, keep, decay, False)

    return stage(momentum)
