"""Many optimizer steps of a chain of rectified sparse layers and a dense head, prepared as two jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.kernels.cpu.epoch import epoch_kernel
from sparsecore.kernels.cpu.launch import Form, Launch, plan_for
from sparsecore.kernels.cpu.optimize import momentum_stage
from sparsecore.kernels.cpu.passes import BACKWARD, FORWARD, Route, addresses, chunks_of
from sparsecore.kernels.cpu.stages import Phase, drive_address, fork_address
from sparsecore.kernels.cpu.tiles import RUNS

__all__ = ["Steps"]


class Steps:
    """Forward, cross-entropy, backward and momentum SGD of one chain at one batch size, float32.

    Parameters
    ----------
    forms : sequence of tuple
        ``(n_out, n_in, topology or None, rectified)`` of every layer.
    batch : int
        Samples of a step.
    values : array, float32, (n_params,)
        All parameters, layer by layer, values before bias; updated in place.
    velocities : array, float32, (n_params,)
        Their momentum, updated in place.
    momentum, decay : float
        Of the optimizer.
    """

    def __init__(
        self,
        forms: Sequence[Form],
        batch: int,
        values: FloatArray,
        velocities: FloatArray,
        momentum: float,
        decay: float,
    ) -> None:
        launch = self._launch = Launch(plan_for(batch, forms, torch.float32), forms)
        plan, n = launch.plan, len(forms)
        self._rows, block = torch.zeros(batch, plan.widths[0]), torch.zeros(plan.kept.n)
        self._scores, self._grad = torch.zeros_like(plan.tiles(n)), torch.zeros_like(plan.tiles(n))
        # The sums of the head's bias come from the loss, for all parts at once: those of further parts stay 0.
        self._sums, more = torch.zeros(launch.n_sums), torch.zeros(launch.n_sums * (plan.n_parts - 1))
        self._hyper = torch.tensor([0.0, momentum, decay])
        self._alive: list[Any] = [block, more, values, velocities]
        params = torch.from_numpy(values).split(launch.sizes)
        values_at = self._values_of(launch, params[::2])
        slots = [p for pair in zip(values_at, params[1::2], strict=True) for p in pair]
        update = [
            values.ctypes.data,
            self._sums.data_ptr(),
            velocities.ctypes.data,
            values.size,
            self._hyper.data_ptr(),
        ]
        last = Phase([(momentum_stage(), update)], chunks_of(values.size), RUNS)
        forward = Route(launch, FORWARD, keep=True, pack=True, unpack=False)
        self._forward = forward.job(
            addresses([block, block, self._scores, *slots]),
            pack=[self._rows.data_ptr(), *self._rows.stride(), block.data_ptr(), 0, 0, 0],
            gather=(addresses(params[::2]), addresses(values_at)),
        )
        self._live_at = forward.batch_at
        backward = Route(launch, BACKWARD, keep=True, pack=False, unpack=False, more=[last])
        self._backward = backward.job(
            addresses([block, block, None, self._grad, self._sums, more, *params[::2]]),
            reduce=addresses([self._sums, more]),
        )
        self._alive += [forward, backward]

    def _values_of(self, launch: Launch, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return where the forward pass finds the values of every layer, and keep that alive."""
        if not launch.by_output:
            return list(values)
        own = [v if order is None else torch.empty_like(v) for order, v in zip(launch.orders, values, strict=True)]
        self._alive += own
        return own

    def run(self, x: FloatArray, classes: Int64Array, order: Int64Array, rates: FloatArray) -> float:
        """Take one step per rate and return the sum of the losses of all samples.

        Parameters
        ----------
        x : array, float32, (n, n_features)
            Inputs, contiguous.
        classes : array, int64, (n,)
            Their classes.
        order : array, int64, (m,)
            Samples to visit, ``batch`` per step; the last step may have fewer.
        rates : array, float32, (n_steps,)
            Learning rate of each step.
        """
        forward, n_threads = self._forward.buffer_info()[0], self._launch.n_threads
        n_classes = self._launch.plan.widths[-1]
        loss: float = epoch_kernel()(
            x,
            classes,
            order,
            self._rows.numpy(),
            rates,
            forward,
            forward + 8 * self._live_at,
            self._backward.buffer_info()[0],
            self._scores.numpy(),
            self._grad.numpy(),
            self._sums.numpy()[-n_classes:],
            self._hyper.numpy(),
            drive_address(),
            fork_address() if n_threads > 1 else 0,
            max(n_threads, torch.get_num_threads()),
        )
        return loss
