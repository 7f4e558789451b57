"""Compiled steps: the plain training loop of a chain of layers, without Python between the steps.

For a chain of rectified layers and a dense head trained by momentum SGD on cross-entropy, everything between two
updates of the links runs in one call of one kernel. Losses and parameters are those of the loop over autograd up to the
order of float additions; the optimizer's own state is read before and written after, so both ways can take turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
from torch import nn

from sparsecore._typing import FloatArray
from sparsecore.errors import ConfigError, ShapeError
from sparsecore.evolution.finite import all_finite
from sparsecore.kernels.cpu.launch import Form
from sparsecore.kernels.cpu.steps import Steps
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.nn.chain import has_hooks
from sparsecore.optim import SGD, is_watched

__all__ = ["CompiledSteps"]

Hidden = SparseLinear | nn.Linear

#: Weights of a dense hidden layer up to which the compiled loop beats torch.
LARGEST_DENSE = 1 << 18


class CompiledSteps:
    """Runs optimizer steps of one model in a compiled loop.

    Parameters
    ----------
    layers : sequence of SparseLinear or Linear
        The hidden layers, each rectified.
    head : Linear
        The dense output layer.
    optimizer : SGD
        Holds exactly these parameters in one group.
    """

    def __init__(self, layers: Sequence[Hidden], head: nn.Linear, optimizer: torch.optim.SGD) -> None:
        self._layers, self._head, self._optimizer = list(layers), head, optimizer

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer) -> CompiledSteps | None:
        """Return the compiled steps of `model`, or ``None`` if it has another form.

        The form: ``model.hidden`` is a `SparseSequential` of layers with biases, each followed by ReLU, ``model.head``
        a dense layer, ``model.is_chain`` says that nothing else happens; all parameters are float32 on the CPU; the
        optimizer is SGD (torch's or `sparsecore.optim.SGD`) with momentum, without dampening, Nesterov or maximisation;
        no hook waits for a call that would not come. Dense hidden layers take part while they are small: large ones are
        faster in torch.
        """
        if not getattr(model, "is_chain", False) or not isinstance(optimizer, torch.optim.SGD):
            return None
        if type(optimizer) not in (torch.optim.SGD, SGD) or _is_watched(model, optimizer):
            return None
        hidden, head = model.hidden, model.head
        if not isinstance(hidden, SparseSequential) or not isinstance(head, nn.Linear) or head.bias is None:
            return None
        layers = [module for module in list(hidden)[::2] if _fits(module)]
        rectifiers = [module for module in list(hidden)[1::2] if isinstance(module, nn.ReLU)]
        if not len(layers) == len(rectifiers) == len(hidden) / 2:
            return None
        params = list(model.parameters())
        group = optimizer.param_groups[0]
        plain = not (group["nesterov"] or group["maximize"] or group["dampening"]) and group["momentum"] > 0
        fits = len(optimizer.param_groups) == 1 and {id(p) for p in group["params"]} == {id(p) for p in params}
        fits &= len(params) == 2 * len(layers) + 2  # nothing else, and nothing that stands twice
        simple = all(p.dtype == torch.float32 and p.device.type == "cpu" and p.requires_grad for p in params)
        return cls(layers, head, optimizer) if plain and fits and simple else None

    def run(
        self, x: torch.Tensor, classes: torch.Tensor, order: torch.Tensor, batch: int, rates: Sequence[float]
    ) -> float:
        """Take one step per rate and return the sum of the losses of all samples, or NaN with nothing changed.

        What is not finite once stays so under momentum SGD: losses, values and momentum of the end tell of all steps.

        Parameters
        ----------
        x : Tensor, float32, (n, n_features)
            Inputs, contiguous.
        classes : Tensor, int64, (n,)
            Their classes.
        order : Tensor, int64, (m,)
            Samples to visit, ``batch`` per step; the last step may have fewer.
        batch : int
            Samples per step.
        rates : sequence of float
            Learning rate of each step.

        Raises
        ------
        ConfigError
            If a class of a sample to visit is none of the head's.
        ShapeError
            If the optimizer's momentum is that of other links.
        """
        low, high = (int(end) for end in torch.aminmax(classes[order]))
        if low < 0 or high >= self._head.out_features:
            raise ConfigError(
                f"Expected classes from 0 to {self._head.out_features - 1}, the outputs of the head. "
                f"Got classes from {low} to {high}."
            )
        forms: list[Form] = [
            (layer.out_features, layer.in_features, layer.topology if isinstance(layer, SparseLinear) else None, True)
            for layer in self._layers
        ]
        forms.append((self._head.out_features, self._head.in_features, None, False))
        values, velocities = self._gather(self._tensors()), self._gather(self._momenta())
        group = self._optimizer.param_groups[0]
        steps = Steps(forms, batch, values, velocities, group["momentum"], group["weight_decay"])
        loss = steps.run(x.numpy(), classes.numpy(), order.numpy(), np.asarray(rates, np.float32))
        if not (math.isfinite(loss) and all(all_finite(torch.from_numpy(part)) for part in (values, velocities))):
            return math.nan
        self._scatter(values, self._tensors())
        self._scatter(velocities, self._momenta())
        return loss

    def _params(self) -> list[nn.Parameter]:
        """Return all parameters, layer by layer, values before bias."""
        return [part for layer in [*self._layers, self._head] for part in (_values(layer), _bias(layer))]

    def _tensors(self) -> list[torch.Tensor]:
        return [parameter.data for parameter in self._params()]

    def _momenta(self) -> list[torch.Tensor]:
        """Return the momentum buffers in the order of `_params`, made where the optimizer has none yet."""
        buffers: list[torch.Tensor] = []
        for parameter in self._params():
            state = self._optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffer = state["momentum_buffer"]
            if buffer.shape != parameter.shape:
                raise ShapeError(
                    f"Expected momentum of shape {tuple(parameter.shape)}, one number per parameter. "
                    f"Got {tuple(buffer.shape)}: the links were loaded without the optimizer that belongs to them. "
                    "Load its state dict too, or make a new optimizer."
                )
            buffers.append(buffer)
        return buffers

    @staticmethod
    def _gather(tensors: Sequence[torch.Tensor]) -> FloatArray:
        flat: FloatArray = torch.cat([tensor.reshape(-1) for tensor in tensors]).numpy()
        return flat

    @staticmethod
    def _scatter(flat: FloatArray, tensors: Sequence[torch.Tensor]) -> None:
        parts = torch.from_numpy(flat).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def _fits(module: nn.Module) -> TypeGuard[Hidden]:
    """Tell whether a hidden layer can take part."""
    if type(module) is SparseLinear:
        return module.bias is not None
    return type(module) is nn.Linear and module.bias is not None and module.weight.numel() <= LARGEST_DENSE


def _is_watched(model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether someone waits for calls or gradients of single steps."""
    return (
        is_watched(optimizer)
        or any(map(has_hooks, model.modules()))
        or any(parameter._backward_hooks or parameter._post_accumulate_grad_hooks for parameter in model.parameters())
    )


def _values(layer: Hidden) -> nn.Parameter:
    values = layer.values if isinstance(layer, SparseLinear) else layer.weight
    assert isinstance(values, nn.Parameter)
    return values


def _bias(layer: Hidden) -> nn.Parameter:
    assert layer.bias is not None
    return layer.bias
