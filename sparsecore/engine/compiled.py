"""Compiled steps: the plain training loop of a sparse network with a dense head, without Python between the steps.

For a chain of sparse layers and one dense layer trained by momentum SGD on cross-entropy, everything between two
updates of the links runs in one call of one kernel. Losses and parameters are those of the loop over autograd up to the
order of float additions; the optimizer's own state is read before and written after, so both ways can take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import nn

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.kernels.cpu.chain import (
    B_DBIAS_IN,
    B_DVALUES,
    B_DX,
    B_DX_PITCH,
    B_DY,
    B_DY_PITCH,
    B_GATE,
    B_X,
    B_X_PITCH,
    BACKWARD_COLUMNS,
    F_X,
    F_X_PITCH,
    F_Y,
    F_Y_PITCH,
    FORWARD_COLUMNS,
)
from sparsecore.kernels.cpu.epoch import epoch_kernel
from sparsecore.kernels.cpu.plan import Plan, plan_batch
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.storage import Topology

__all__ = ["CompiledSteps"]


class CompiledSteps:
    """Runs optimizer steps of one model in a compiled loop.

    Parameters
    ----------
    layers : sequence of SparseLinear
        The hidden layers, each rectified.
    head : Linear
        The dense output layer.
    optimizer : SGD
        Holds exactly these parameters in one group.
    """

    def __init__(self, layers: Sequence[SparseLinear], head: nn.Linear, optimizer: torch.optim.SGD) -> None:
        self._layers, self._head, self._optimizer = list(layers), head, optimizer

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer) -> CompiledSteps | None:
        """Return the compiled steps of `model`, or ``None`` if it has another form.

        The form: ``model.hidden`` is a `SparseSequential` of sparse layers with biases, each followed by ReLU,
        ``model.head`` a dense layer, ``model.is_chain`` says that nothing else happens; all parameters are float32 on
        the CPU; the optimizer is `torch.optim.SGD` with momentum, without dampening, Nesterov or maximisation.
        """
        if not getattr(model, "is_chain", False) or type(optimizer) is not torch.optim.SGD:
            return None
        hidden, head = model.hidden, model.head
        if not isinstance(hidden, SparseSequential) or not isinstance(head, nn.Linear) or head.bias is None:
            return None
        layers = [
            module for module in list(hidden)[::2] if isinstance(module, SparseLinear) and module.bias is not None
        ]
        rectifiers = [module for module in list(hidden)[1::2] if isinstance(module, nn.ReLU)]
        if not len(layers) == len(rectifiers) == len(hidden) / 2:
            return None
        params = list(model.parameters())
        group = optimizer.param_groups[0]
        plain = not (group["nesterov"] or group["maximize"] or group["dampening"]) and group["momentum"] > 0
        fits = len(optimizer.param_groups) == 1 and {id(p) for p in group["params"]} == {id(p) for p in params}
        simple = all(p.dtype == torch.float32 and p.device.type == "cpu" and p.requires_grad for p in params)
        return cls(layers, head, optimizer) if plain and fits and simple else None

    def run(
        self, x: torch.Tensor, classes: torch.Tensor, order: torch.Tensor, batch: int, rates: Sequence[float]
    ) -> float:
        """Take one step per rate and return the sum of the losses of all samples.

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
        """
        topologies = [layer.topology for layer in self._layers]
        topologies.append(Topology.full((self._head.out_features, self._head.in_features)))
        plan = plan_batch(batch, (topologies[0].n_in, *(t.n_out for t in topologies)), 1, torch.float32)
        values, velocities = self._gather(self._tensors()), self._gather(self._momenta())
        grads = np.zeros_like(values)
        offsets = list(accumulate((t.n_links + t.n_out for t in topologies), initial=0))
        room = _Room(plan, topologies, values, grads, offsets)
        group = self._optimizer.param_groups[0]
        loss: float = epoch_kernel(plan.lanes)(
            x.numpy(),
            classes.numpy(),
            order.numpy(),
            batch,
            np.asarray(rates, np.float32),
            np.float32(group["momentum"]),
            np.float32(group["weight_decay"]),
            room.forward,
            room.backward,
            room.tiles[0],
            room.tiles[-1],
            room.grads[-1],
            values,
            grads,
            velocities,
        )
        self._scatter(values, self._tensors())
        self._scatter(velocities, self._momenta())
        return loss

    def _tensors(self) -> list[torch.Tensor]:
        """Return all parameters, layer by layer, values before bias; the head's weight input-major, (n_in, n_out)."""
        tensors = [part for layer in self._layers for part in (layer.values.data, _bias(layer).data)]
        return [*tensors, self._head.weight.data.t(), self._head.bias.data]

    def _momenta(self) -> list[torch.Tensor]:
        """Return the momentum buffers in the order of `_tensors`, made where the optimizer has none yet."""
        params = [part for layer in self._layers for part in (layer.values, _bias(layer))]
        buffers: list[torch.Tensor] = []
        for parameter in (*params, self._head.weight, self._head.bias):
            state = self._optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffers.append(state["momentum_buffer"])
        buffers[-2] = buffers[-2].t()
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


def _bias(layer: SparseLinear) -> nn.Parameter:
    assert layer.bias is not None
    return layer.bias


class _Room:
    """Activations, gradients and the tables that point at them, for one thread."""

    def __init__(
        self, plan: Plan, topologies: Sequence[Topology], values: FloatArray, grads: FloatArray, offsets: Sequence[int]
    ) -> None:
        self.tiles = [_tiles(plan, width) for width in plan.widths]
        self.grads = [_tiles(plan, width) for width in plan.widths]
        n = len(topologies)
        starts = np.array([(low, high - t.n_out) for (low, high), t in zip(pairwise(offsets), topologies, strict=True)])
        value_at, grad_at = values.ctypes.data + 4 * starts, grads.ctypes.data + 4 * starts
        x, dx = _addresses(self.tiles), _addresses(self.grads)
        pitch = np.array([plan.tile_bytes(index) for index in range(n + 1)])

        self.forward = np.zeros((n, FORWARD_COLUMNS), np.int64)
        self.forward[:, :F_X] = [
            (t.n_out, *t.addresses[2:], at[0], at[1], index < n - 1)
            for index, (t, at) in enumerate(zip(topologies, value_at, strict=True))
        ]
        self.forward[:, F_X], self.forward[:, F_X_PITCH] = x[:-1], pitch[:-1]
        self.forward[:, F_Y], self.forward[:, F_Y_PITCH] = x[1:], pitch[1:]

        self.backward = np.zeros((n, BACKWARD_COLUMNS), np.int64)
        self.backward[:, :B_X] = [(t.n_in, *t.addresses[:2], at[0]) for t, at in zip(topologies, value_at, strict=True)]
        self.backward[:, B_X], self.backward[:, B_X_PITCH] = x[:-1], pitch[:-1]
        self.backward[:, B_DY], self.backward[:, B_DY_PITCH] = dx[1:], pitch[1:]
        self.backward[1:, B_DX], self.backward[1:, B_DX_PITCH] = dx[1:-1], pitch[1:-1]
        self.backward[:, B_DVALUES] = grad_at[:, 0]
        self.backward[1:, B_DBIAS_IN] = grad_at[:-1, 1]
        self.backward[1:, B_GATE] = 1
        self._alive = topologies


def _tiles(plan: Plan, width: int) -> FloatArray:
    tiles: FloatArray = torch.zeros((plan.n_tiles, width, plan.lanes)).numpy()
    return tiles


def _addresses(arrays: Sequence[FloatArray]) -> Int64Array:
    return np.array([array.ctypes.data for array in arrays], np.int64)
