"""Recording of inputs and output gradients, for rules that score missing links by gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sparsecore.evolution.history import History
from sparsecore.nn import SparseLinear
from sparsecore.predictors import Signals

__all__ = ["Recorder"]


class Recorder:
    """Keeps what one sparse layer saw in recent steps: its inputs and the gradients of its outputs.

    Only the steps that an update reads are listened to. Several forward passes in a step (gradient accumulation) are
    all kept.

    Parameters
    ----------
    layer : SparseLinear
        The layer to listen to.
    """

    def __init__(self, layer: SparseLinear) -> None:
        self._layer = layer
        self._handle: torch.utils.hooks.RemovableHandle | None = None
        self._step = 0
        self._heard: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def listen(self, step: int, window_steps: int = 1) -> None:
        """Listen to every pass of training step `step`; keep what the `window_steps - 1` steps before it gave."""
        self._step = step
        self._heard = [heard for heard in self._heard if step - heard[0] < window_steps]
        if self._handle is None:
            self._handle = self._layer.register_forward_hook(self._listen, with_kwargs=True)

    def stop(self) -> None:
        """Stop listening and forget what was heard."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._heard = []

    def heard(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return all inputs, (B, n_in), and gradients of outputs, (B, n_out), if there are any."""
        if not self._heard:
            return None
        return torch.cat([heard[1] for heard in self._heard]), torch.cat([heard[2] for heard in self._heard])

    def signals(self, history: History | None = None) -> Signals:
        """Return everything recorded, with the retired links that are missing now if their `history` is given.

        What has come back since counts by the value it has, not by the one it once went with.
        """
        retired: dict[str, Any] = {}
        if history is not None:
            gone = self._layer.topology.find(history.ids) < 0
            retired = {"retired_ids": history.ids[gone], "retired_values": history.values[gone]}
        heard_all = self.heard()
        if heard_all is None:
            return Signals(**retired)
        inputs, grads = heard_all
        ages = np.repeat([self._step - heard[0] for heard in self._heard], [len(heard[1]) for heard in self._heard])
        return Signals(
            inputs.float().cpu().numpy(),
            grads.float().cpu().numpy(),
            ages.astype(np.int64),
            **retired,
        )

    def state(self) -> list[dict[str, Any]]:
        """Return what was recorded, for a checkpoint between two steps of a window."""
        return [{"step": step, "inputs": inputs, "grads": grads} for step, inputs, grads in self._heard]

    def restore(self, heard: Sequence[tuple[int, torch.Tensor, torch.Tensor]]) -> None:
        """Go on from the steps, inputs and gradients that `state` gave."""
        device = self._layer.values.device
        self._heard = [(int(step), inputs.to(device), grads.to(device)) for step, inputs, grads in heard]

    def _listen(
        self, layer: Any, args: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor], output: torch.Tensor
    ) -> None:
        if not output.requires_grad:
            return
        entered = args[0] if args else named["input"]
        step, inputs = self._step, entered.detach().reshape(-1, layer.in_features)
        fired = output.detach() > 0 if layer.relu else None

        def keep(grad: torch.Tensor) -> None:
            heard = grad.detach() if fired is None else grad.detach() * fired
            self._heard.append((step, inputs, heard.reshape(-1, layer.out_features)))

        output.register_hook(keep)
