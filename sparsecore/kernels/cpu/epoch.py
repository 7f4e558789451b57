"""Many optimizer steps in one call: chain forward, cross-entropy, chain backward, momentum update, without Python."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.chain import backward_kernel, forward_kernel, pack_kernel

__all__ = ["epoch_kernel", "momentum_step", "softmax_gradient"]


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


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[misc]
def momentum_step(value: Any, grad: Any, velocity: Any, rate: Any, momentum: Any, decay: Any) -> None:
    """Update values as ``torch.optim.SGD`` with momentum and weight decay does, all float32, (n,)."""
    for k in range(value.size):
        v = momentum * velocity[k] + (grad[k] + decay * value[k])
        velocity[k] = v
        value[k] -= rate * v


@cache
def epoch_kernel(lanes: int, index_bytes: int) -> Any:
    """Return the kernel that runs consecutive steps on float32 data.

    ``kernel(x, classes, order, batch, rates, momentum, decay, forward, backward, slots, tiles, scores, grad, params,
    grads, velocities)``: samples ``order`` in batches; one rate per step; tables of the chain, which share the
    ``slots``; ``tiles`` the inputs as
    tiles, (n_tiles, features, lanes); ``scores`` and ``grad`` the outputs and their gradient as tiles; ``params``,
    ``grads`` and ``velocities`` all parameters one behind the other, the biases of the last layer at the end. Returns
    the summed loss.
    """
    run_forward = forward_kernel(lanes, 4, index_bytes, index_bytes)
    run_backward, pack = backward_kernel(lanes, 4, index_bytes), pack_kernel(lanes, 4)

    @njit(nogil=True, error_model="numpy")  # type: ignore[misc]
    def epoch(
        x: Any, classes: Any, order: Any, batch: int, rates: Any, momentum: Any, decay: Any, forward: Any,
        backward: Any, slots: Any, tiles: Any, scores: Any, grad: Any, params: Any, grads: Any, velocities: Any,
    ) -> float:  # fmt: skip
        features, n_classes = x.shape[1], scores.shape[1]
        rows = np.empty((batch, features), np.float32)
        chosen = np.empty(batch, np.int64)
        losses = 0.0
        for step in range(rates.size):
            low = step * batch
            live = min(batch, order.size - low)
            for k in range(live):
                rows[k] = x[order[low + k]]
                chosen[k] = classes[order[low + k]]
            used = (live + lanes - 1) // lanes
            pack(rows.ctypes.data, features, 1, live, features, tiles.ctypes.data, 0, 0, 0, used)
            run_forward(forward, slots, 0, used)
            losses += softmax_gradient(scores[:used], chosen, grad, grads[grads.size - n_classes :], live)
            run_backward(backward, slots, 0, used)
            momentum_step(params, grads, velocities, rates[step], momentum, decay)
        return losses

    return epoch
