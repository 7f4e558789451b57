"""Recording of inputs and output gradients, for rules that score missing links by gradient."""

from __future__ import annotations

from typing import Any

import torch

from sparsecore.nn import SparseLinear
from sparsecore.predictors import Signals

__all__ = ["Recorder"]


class Recorder:
    """Keeps what one sparse layer saw since `start`: its inputs and the gradients of its outputs.

    Only the step before an update pays for it. Several forward passes (gradient accumulation) are all kept.

    Parameters
    ----------
    layer : SparseLinear
        The layer to listen to.
    """

    def __init__(self, layer: SparseLinear) -> None:
        self._layer = layer
        self._handle: torch.utils.hooks.RemovableHandle | None = None
        self._pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def start(self) -> None:
        """Listen to every forward and backward pass from now on."""
        if self._handle is None:
            self._pairs = []
            self._handle = self._layer.register_forward_hook(self._listen)

    def stop(self) -> None:
        """Stop listening and forget what was heard."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._pairs = []

    def signals(self) -> Signals | None:
        """Return everything recorded, or ``None`` if no backward pass went through the layer."""
        if not self._pairs:
            return None
        inputs, grads = (torch.cat(parts) for parts in zip(*self._pairs, strict=True))
        return Signals(inputs.float().cpu().numpy(), grads.float().cpu().numpy())

    def _listen(self, layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if not output.requires_grad:
            return
        inputs = args[0].detach().reshape(-1, layer.in_features)
        fired = output.detach() > 0 if layer.relu else None

        def keep(grad: torch.Tensor) -> None:
            heard = grad.detach() if fired is None else grad.detach() * fired
            self._pairs.append((inputs, heard.reshape(-1, layer.out_features)))

        output.register_hook(keep)
