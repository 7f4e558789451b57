"""One autograd node for a chain of sparse linear layers, bias and rectifier included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sparsecore import kernels
from sparsecore.errors import DtypeError, ShapeError, SignalError
from sparsecore.kernels import Layer
from sparsecore.storage import Topology

__all__ = ["sparse_chain", "sparse_linear"]


class _SparseChain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layers: Sequence[Layer], *params: torch.Tensor | None) -> torch.Tensor:
        backend = kernels.choose(x.device)
        keep = any(ctx.needs_input_grad)
        y, saved, notes = backend.forward(x, layers, keep=keep)
        if keep:
            ctx.save_for_backward(*saved, *params)
            ctx.chain = (backend, [(la.topology, la.relu) for la in layers], notes, len(saved), x.dtype)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        backend, patterns, notes, n_saved, dtype = ctx.chain
        tensors = ctx.saved_tensors
        params = tensors[n_saved:]
        layers = []
        for (topology, relu), values, bias in zip(patterns, params[::2], params[1::2], strict=True):
            if values.shape[0] != topology.n_links:
                raise SignalError(
                    f"Expected {topology.n_links} values in backward, as in forward. Got {values.shape[0]}. "
                    "Call the evolution step after backward, not between forward and backward."
                )
            layers.append(Layer(topology, values, bias, relu))
        grad_x, pairs = backend.backward(
            grad.to(dtype), layers, tensors[:n_saved], notes, input_grad=ctx.needs_input_grad[0]
        )
        return (grad_x, None, *(part for pair in pairs for part in pair))


def sparse_chain(x: torch.Tensor, layers: Sequence[Layer]) -> torch.Tensor:
    """Apply sparse linear layers one after the other in a single autograd node.

    Parameters
    ----------
    x : Tensor, float, (..., n_in)
        Inputs of the first layer.
    layers : sequence of Layer
        Each layer's ``n_in`` is the previous one's ``n_out``.

    Returns
    -------
    Tensor, float, (..., n_out)
        Outputs of the last layer, in the dtype of `x` (under autocast: the autocast dtype). Products are summed in
        float32, or float64 for float64 inputs.

    Raises
    ------
    ShapeError
        If the features of `x` or of neighbouring layers do not fit.
    DtypeError
        If `x` is not a floating tensor.
    """
    if not x.is_floating_point():
        raise DtypeError(f"Expected a floating tensor. Got {x.dtype}. Convert it with .float().")
    widths = [layer.topology.n_out for layer in layers]
    for layer, width in zip(layers, [x.shape[-1] if x.ndim else 0, *widths[:-1]], strict=True):
        if layer.topology.n_in != width:
            raise ShapeError(f"Expected inputs with {layer.topology.n_in} features in the last axis. Got {width}.")
    dtype_out = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    flat = x.reshape(-1, x.shape[-1]).to(dtype)
    params = [part for layer in layers for part in (layer.values, layer.bias)]
    y: torch.Tensor = _SparseChain.apply(flat, layers, *params)  # type: ignore[no-untyped-call]
    if dtype_out != dtype:
        y = y.to(dtype_out)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], widths[-1])


def sparse_linear(
    x: torch.Tensor,
    values: torch.Tensor,
    topology: Topology,
    bias: torch.Tensor | None = None,
    *,
    relu: bool = False,
) -> torch.Tensor:
    """Return ``x @ W.T + bias``, rectified if asked, where W holds `values` at the links of `topology`.

    Parameters
    ----------
    x : Tensor, float, (..., n_in)
        Inputs.
    values : Tensor, float, (n_links,)
        Value of every link in input-major order.
    topology : Topology
        The links.
    bias : Tensor, float, (n_out,), optional
        Added to the outputs.
    relu : bool
        Rectify the outputs inside the kernel.

    Examples
    --------
    >>> t = Topology.from_coo([0, 1], [1, 0], shape=(2, 2))
    >>> sparse_linear(torch.tensor([[1.0, 2.0]]), torch.tensor([10.0, 100.0]), t).tolist()
    [[200.0, 10.0]]
    """
    if tuple(values.shape) != (topology.n_links,):
        raise ShapeError(f"Expected values of shape ({topology.n_links},). Got {tuple(values.shape)}.")
    return sparse_chain(x, [Layer(topology, values, bias, relu)])
