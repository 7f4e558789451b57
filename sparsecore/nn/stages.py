"""Weight layers as `compact` edits them: neurons leave on either side, constants move into biases."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from sparsecore._typing import BoolArray, Float64Array, Int64Array
from sparsecore.nn.linear import SparseLinear
from sparsecore.storage import Topology

__all__ = ["PER_NEURON", "Stage", "acts_per_neuron", "kept_between", "signal_of", "stage_of"]

#: Modules that treat every neuron by itself in evaluation mode. Layer normalisation does not: it looks at all neurons.
PER_NEURON = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Dropout, nn.Identity,
    nn.BatchNorm1d,
)  # fmt: skip


def acts_per_neuron(module: nn.Module) -> bool:
    """Tell whether a module treats every neuron by itself in evaluation mode."""
    has_statistics = not isinstance(module, nn.BatchNorm1d) or module.running_mean is not None
    return type(module) in PER_NEURON and has_statistics


class Stage(Protocol):
    """One weight layer between two groups of neurons.

    Attributes
    ----------
    n_out, n_in, n_links : int
        Present sizes; a dense layer has every link.
    is_sparse : bool
        Whether it is a list of links.
    """

    is_sparse: bool
    n_out: int
    n_in: int

    @property
    def n_links(self) -> int:
        """Number of links."""
        ...

    def reads(self) -> BoolArray:
        """Tell for every input whether a link leaves it, (n_in,)."""
        ...

    def fed(self) -> BoolArray:
        """Tell for every output whether a link reaches it, (n_out,)."""
        ...

    def offsets(self) -> Float64Array:
        """Return the biases, zeros where there are none, (n_out,)."""
        ...

    def keep_outputs(self, keep: BoolArray) -> None:
        """Remove the other outputs and their links."""
        ...

    def keep_inputs(self, keep: BoolArray) -> None:
        """Remove the other inputs and their links."""
        ...

    def fold(self, dead: BoolArray, signal: Float64Array) -> None:
        """Add to the biases what inputs that are always `signal` contribute, where `dead`."""
        ...

    def build(self, dense_above: float) -> nn.Module:
        """Return the layer as a module without gradients."""
        ...


def stage_of(layer: nn.Module) -> Stage:
    """Return a `SparseLinear` or `nn.Linear` as a stage; the layer itself never changes."""
    return _Links(layer) if isinstance(layer, SparseLinear) else _Matrix(layer)  # type: ignore[arg-type]


class _Links:
    """A list of links, input-major."""

    is_sparse = True

    def __init__(self, layer: SparseLinear) -> None:
        topology = layer.topology
        self.n_out, self.n_in = topology.shape
        self._rows: Int64Array = topology.rows.astype(np.int64)
        self._cols: Int64Array = topology.cols.astype(np.int64)
        self._values = layer.values.detach()
        self._bias = _bias_of(layer.bias)

    @property
    def n_links(self) -> int:
        return int(self._rows.size)

    def reads(self) -> BoolArray:
        return np.bincount(self._cols, minlength=self.n_in) > 0

    def fed(self) -> BoolArray:
        return np.bincount(self._rows, minlength=self.n_out) > 0

    def offsets(self) -> Float64Array:
        return np.zeros(self.n_out) if self._bias is None else self._bias

    def keep_outputs(self, keep: BoolArray) -> None:
        self._take(keep[self._rows])
        self._rows = _renumbered(keep)[self._rows]
        self._bias = None if self._bias is None else self._bias[keep]
        self.n_out = int(keep.sum())

    def keep_inputs(self, keep: BoolArray) -> None:
        self._take(keep[self._cols])
        self._cols = _renumbered(keep)[self._cols]
        self.n_in = int(keep.sum())

    def fold(self, dead: BoolArray, signal: Float64Array) -> None:
        link = np.flatnonzero(dead[self._cols])
        weights = _as_float64(self._values)[link] * signal[self._cols[link]]
        self._bias = self.offsets() + np.bincount(self._rows[link], weights=weights, minlength=self.n_out)

    def build(self, dense_above: float) -> nn.Module:
        bias = _bias_like(self._bias, self._values)
        if self.n_links > dense_above * self.n_out * self.n_in:
            weight = self._values.new_zeros(self.n_out, self.n_in)
            at = (torch.from_numpy(self._rows), torch.from_numpy(self._cols))
            weight[tuple(index.to(weight.device) for index in at)] = self._values
            return _dense(weight, bias)
        topology = Topology.from_coo(self._rows, self._cols, shape=(self.n_out, self.n_in))
        layer = SparseLinear(self.n_in, self.n_out, bias is not None, topology=topology, seed=0)
        layer.values = nn.Parameter(self._values, requires_grad=False)
        layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        return layer.eval()

    def _take(self, link: BoolArray) -> None:
        self._rows, self._cols = self._rows[link], self._cols[link]
        self._values = self._values[torch.from_numpy(link).to(self._values.device)]


class _Matrix:
    """A dense weight matrix."""

    is_sparse = False

    def __init__(self, layer: nn.Linear) -> None:
        self.n_out, self.n_in = layer.weight.shape
        self._weight = layer.weight.detach()
        self._bias = _bias_of(layer.bias)

    @property
    def n_links(self) -> int:
        return self.n_out * self.n_in

    def reads(self) -> BoolArray:
        return np.full(self.n_in, self.n_out > 0)

    def fed(self) -> BoolArray:
        return np.full(self.n_out, self.n_in > 0)

    def offsets(self) -> Float64Array:
        return np.zeros(self.n_out) if self._bias is None else self._bias

    def keep_outputs(self, keep: BoolArray) -> None:
        self._weight = self._weight[torch.from_numpy(keep).to(self._weight.device)]
        self._bias = None if self._bias is None else self._bias[keep]
        self.n_out = int(keep.sum())

    def keep_inputs(self, keep: BoolArray) -> None:
        self._weight = self._weight[:, torch.from_numpy(keep).to(self._weight.device)]
        self.n_in = int(keep.sum())

    def fold(self, dead: BoolArray, signal: Float64Array) -> None:
        columns = self._weight[:, torch.from_numpy(dead).to(self._weight.device)]
        self._bias = self.offsets() + _as_float64(columns) @ signal[dead]

    def build(self, dense_above: float) -> nn.Module:
        return _dense(self._weight, _bias_like(self._bias, self._weight))


def kept_between(modules: Sequence[nn.Module], keep: BoolArray) -> list[nn.Module]:
    """Return per-neuron modules without the other neurons."""
    at = torch.from_numpy(np.flatnonzero(keep))
    return [_fewer_statistics(m, at) if isinstance(m, nn.BatchNorm1d) else m for m in modules]


def signal_of(stage: Stage, between: Sequence[nn.Module]) -> Float64Array:
    """Return what each output of a stage sends on when no link reaches it: its bias behind `between`, (n_out,)."""
    x = torch.tensor(stage.offsets())[None]  # a copy: modules with inplace=True write into it
    with torch.no_grad():
        for module in between:
            x = copy.deepcopy(module).cpu().double().eval()(x)
    signal: Float64Array = x[0].numpy()
    return signal


def _fewer_statistics(norm: nn.BatchNorm1d, at: torch.Tensor) -> nn.BatchNorm1d:
    fewer = copy.deepcopy(norm)
    fewer.num_features = at.numel()
    for name, tensor in (*norm.named_parameters(), *norm.named_buffers()):
        if tensor.ndim:
            part = tensor.detach()[at.to(tensor.device)]
            setattr(fewer, name, nn.Parameter(part, requires_grad=False) if name in ("weight", "bias") else part)
    return fewer


def _dense(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)  # type: ignore[assignment]
    return layer.eval()


def _renumbered(keep: BoolArray) -> Int64Array:
    """Return the new number of every neuron that stays."""
    return np.cumsum(keep, dtype=np.int64) - 1


def _as_float64(tensor: torch.Tensor) -> Float64Array:
    array: Float64Array = tensor.detach().cpu().double().numpy()
    return array


def _bias_of(bias: torch.Tensor | None) -> Float64Array | None:
    return None if bias is None else _as_float64(bias).copy()


def _bias_like(bias: Float64Array | None, weights: torch.Tensor) -> torch.Tensor | None:
    return None if bias is None else torch.from_numpy(bias).to(weights)
