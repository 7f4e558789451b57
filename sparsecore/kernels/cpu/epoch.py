"""Many optimizer steps in one call: chain forward, cross-entropy, chain backward, momentum update, without Python."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.memory import invoke, store_i64
from sparsecore.kernels.cpu.stages import CLAIMED, ENDED

__all__ = ["epoch_kernel", "softmax_gradient"]


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[misc]
def softmax_gradient(scores: Any, classes: Any, grad: Any, bias_grad: Any, n_live: int) -> float:
    """Write the gradient of the mean cross-entropy by the scores and return the sum of the losses.

    ``scores`` and ``grad`` are tiles, (n_tiles, n_classes, lanes); ``classes`` are the ``n_live`` samples' classes, and
    lanes beyond them get zeros. ``bias_grad``, (n_classes,), receives the sum of the gradient over samples.
    """
    n_tiles, n_classes, lanes = scores.shape
    loss = 0.0
    bias_grad[:] = 0.0
    for tile in range(n_tiles):
        for lane in range(lanes):
            sample = tile * lanes + lane
            if sample >= n_live:
                for c in range(n_classes):
                    grad[tile, c, lane] = 0.0
                continue
            top = scores[tile, 0, lane]
            for c in range(1, n_classes):
                top = max(top, scores[tile, c, lane])
            total = 0.0
            for c in range(n_classes):
                share = np.exp(scores[tile, c, lane] - top)
                grad[tile, c, lane] = share
                total += share
            right = classes[sample]
            loss += np.log(total) - (scores[tile, right, lane] - top)
            for c in range(n_classes):
                slope = (grad[tile, c, lane] / total - (1.0 if c == right else 0.0)) / n_live
                grad[tile, c, lane] = slope
                bias_grad[c] += slope
    return loss


@cache
def epoch_kernel() -> Any:
    """Return the kernel that takes one step per rate and returns the summed loss.

    Samples ``order`` of ``x``, (n, features), are copied to ``rows``, (batch, features), which the job at address
    ``forward`` works on; the address ``live`` in it tells the samples. It fills ``scores``, (n_tiles, n_classes,
    lanes), and the job ``backward`` starts from ``grad``, of the same shape, and ends with the update, which reads
    learning rate, momentum and weight decay from ``hyper``. Jobs run on ``n_threads`` threads through ``fork``, if that
    is not 0, else on this one through ``drive``.
    """
    # Numbers of another file belong into the closure: numba's cache on disk does not see them change there.
    claimed, ended = 8 * CLAIMED, 8 * ENDED

    def run_epoch(
        x: Any, classes: Any, order: Any, rows: Any, rates: Any, forward: int, live: int, backward: int, scores: Any,
        grad: Any, bias_grad: Any, hyper: Any, drive: int, fork: int, n_threads: int,
    ) -> float:  # fmt: skip
        batch = rows.shape[0]
        chosen = np.empty(batch, np.int64)
        losses = 0.0
        for step in range(rates.size):
            low = step * batch
            n_live = min(batch, order.size - low)
            for k in range(n_live):
                rows[k] = x[order[low + k]]
                chosen[k] = classes[order[low + k]]
            store_i64(live, n_live)
            hyper[0] = rates[step]
            for job in (forward, backward):
                store_i64(job + claimed, 0)
                store_i64(job + ended, 0)
                if fork != 0:
                    invoke(fork, drive, job, n_threads, 0)
                else:
                    invoke(drive, job, 0, 0, 0)
                if job == forward:
                    losses += softmax_gradient(scores, chosen, grad, bias_grad, n_live)
        return losses

    return njit(nogil=True, cache=True, error_model="numpy")(run_epoch)
