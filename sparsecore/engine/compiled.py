"""Compiled steps: the plain training loop of a sparse network with a dense head, without Python between the steps.

For a chain of sparse layers and one dense layer trained by momentum SGD on cross-entropy, everything between two
updates of the links runs in one call of one kernel. Losses and parameters are those of the loop over autograd up to the
order of float additions; the optimizer's own state is read before and written after, so both ways can take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import nn

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.kernels.cpu import chain as columns
from sparsecore.kernels.cpu.epoch import epoch_kernel
from sparsecore.kernels.cpu.launch import Form, backward_tables, forward_tables, index_bytes
from sparsecore.kernels.cpu.plan import Plan, plan_batch
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.optim import SGD

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
        the CPU; the optimizer is SGD (torch's or `sparsecore.optim.SGD`) with momentum, without dampening, Nesterov or
        maximisation.
        """
        if not getattr(model, "is_chain", False) or not isinstance(optimizer, torch.optim.SGD):
            return None
        if type(optimizer) not in (torch.optim.SGD, SGD):
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
        forms: list[Form] = [(*layer.topology.shape, layer.topology, True) for layer in self._layers]
        forms.append((self._head.out_features, self._head.in_features, None, False))
        plan = plan_batch(batch, (forms[0][1], *(n_out for n_out, _, _, _ in forms)), 1, torch.float32)
        tensors = self._tensors()
        values, velocities = self._gather(tensors), self._gather(self._momenta())
        grads = np.zeros_like(values)
        room = _Room(plan, forms, values, grads, [tensor.numel() for tensor in tensors])
        group = self._optimizer.param_groups[0]
        loss: float = epoch_kernel(plan.lanes, index_bytes(forms))(
            x.numpy(),
            classes.numpy(),
            order.numpy(),
            batch,
            np.asarray(rates, np.float32),
            np.float32(group["momentum"]),
            np.float32(group["weight_decay"]),
            room.forward,
            room.backward,
            room.slots,
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
        """Return all parameters, layer by layer, values before bias."""
        tensors = [part for layer in self._layers for part in (layer.values.data, _bias(layer).data)]
        return [*tensors, self._head.weight.data, self._head.bias.data]

    def _momenta(self) -> list[torch.Tensor]:
        """Return the momentum buffers in the order of `_tensors`, made where the optimizer has none yet."""
        params = [part for layer in self._layers for part in (layer.values, _bias(layer))]
        buffers: list[torch.Tensor] = []
        for parameter in (*params, self._head.weight, self._head.bias):
            state = self._optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffers.append(state["momentum_buffer"])
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
        self, plan: Plan, forms: Sequence[Form], values: FloatArray, grads: FloatArray, sizes: Sequence[int]
    ) -> None:
        c, n = columns, len(forms)
        self.tiles = [_tiles(plan, width) for width in plan.widths]
        self.grads = [_tiles(plan, width) for width in plan.widths]
        starts = 4 * np.array(list(accumulate(sizes, initial=0))[:-1], np.int64)
        # Slot 0 is address 0, so that offsets from it are addresses; then values and bias of every layer.
        self.slots = np.concatenate([[0], values.ctypes.data + starts])
        x, dx = _addresses(self.tiles), _addresses(self.grads)
        pitch = np.array([plan.tile_bytes(index) for index in range(n + 1)])

        self.forward = forward_tables(forms, 1)[0]
        self.forward[:, c.F_VALUES], self.forward[:, c.F_BIAS] = 1 + 2 * np.arange(n), 2 + 2 * np.arange(n)
        self.forward[:, c.F_X_AT], self.forward[:, c.F_X_PITCH] = x[:-1], pitch[:-1]
        self.forward[:, c.F_Y_AT], self.forward[:, c.F_Y_PITCH] = x[1:], pitch[1:]

        self.backward = backward_tables(forms, 1)[0]
        self.backward[:, c.B_VALUES], self.backward[:, c.B_SUMS] = 1 + 2 * np.arange(n), 0
        self.backward[:, c.B_X_AT], self.backward[:, c.B_X_PITCH] = x[:-1], pitch[:-1]
        self.backward[:, c.B_DY_AT], self.backward[:, c.B_DY_PITCH] = dx[1:], pitch[1:]
        # A slot that is not 0 says that an input gradient is wanted; the first layer's is not.
        self.slots = np.append(self.slots, 1)
        self.backward[1:, c.B_DX], self.backward[1:, c.B_DX_AT] = self.slots.size - 1, dx[1:-1] - 1
        self.backward[1:, c.B_DX_PITCH] = pitch[1:-1]
        self.backward[:, c.B_DVALUES_AT] = grads.ctypes.data + starts[::2]
        self.backward[0, c.B_DBIAS_AT], self.backward[1:, c.B_DBIAS_AT] = -1, grads.ctypes.data + starts[1:-1:2]
        self._alive = list(forms)


def _tiles(plan: Plan, width: int) -> FloatArray:
    tiles: FloatArray = torch.zeros((plan.n_tiles, width, plan.lanes)).numpy()
    return tiles


def _addresses(arrays: Sequence[FloatArray]) -> Int64Array:
    return np.array([array.ctypes.data for array in arrays], np.int64)
