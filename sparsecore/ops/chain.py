"""One autograd node for a chain of linear layers, bias and rectifier included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sparsecore import kernels
from sparsecore.errors import ConfigError, DtypeError, ShapeError, SignalError
from sparsecore.kernels import Layer
from sparsecore.storage import Topology

__all__ = ["sparse_chain", "sparse_linear"]


class _SparseChain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layers: Sequence[Layer], *params: torch.Tensor | None) -> torch.Tensor:
        backend = kernels.choose(x.device)
        y, saved, notes = backend.forward(x, layers, keep=True)
        # Values are saved although the layers hold them: torch then notices if they, or the links, are changed before
        # backward.
        ctx.save_for_backward(*saved, *params[::2])
        ctx.chain = (backend, layers, notes, len(saved), x.dtype)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _gradients_once(ctx, grad) if torch.is_grad_enabled() else _gradients(ctx, grad)


def _gradients(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    backend, layers, notes, n_saved, dtype = ctx.chain
    saved = ctx.saved_tensors[:n_saved]
    for layer in layers:
        topology = layer.topology
        if topology is not None and layer.values.shape[0] != topology.n_links:
            raise SignalError(
                f"Expected {topology.n_links} values in backward, as in forward. Got {layer.values.shape[0]}. "
                "Call the evolution step after backward, not between forward and backward."
            )
    if grad.dtype != dtype:
        grad = grad.to(dtype)
    grad_x, pairs = backend.backward(grad, layers, saved, notes, input_grad=ctx.needs_input_grad[0])
    return (grad_x, None, *[part for pair in pairs for part in pair])


#: For ``create_graph=True``: a second derivative raises instead of being silently zero.
_gradients_once = once_differentiable(_gradients)


def sparse_chain(x: torch.Tensor, layers: Sequence[Layer]) -> torch.Tensor:
    """Apply linear layers one after the other in a single autograd node.

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
        float32, or float64 for float64 inputs; activations are kept in the dtype of the outputs where the backend has
        it (bfloat16 on CUDA), else in float32.

    Raises
    ------
    ShapeError
        If the features of `x`, of neighbouring layers or of a bias do not fit.
    DtypeError
        If `x` is not a floating tensor.
    ConfigError
        If `x` and the layers are not on one device.
    """
    if not x.is_floating_point():
        raise DtypeError(f"Expected a floating tensor. Got {x.dtype}. Convert it with .float().")
    width = x.shape[-1] if x.ndim else 0
    for layer in layers:
        n_out, n_in = layer.values.shape if layer.topology is None else layer.topology.shape
        if n_in != width:
            raise ShapeError(f"Expected inputs with {n_in} features in the last axis. Got {width}.")
        if layer.topology is not None and layer.values.shape[0] != layer.topology.n_links:
            raise ShapeError(
                f"Expected {layer.topology.n_links} values, one per link. Got {layer.values.shape[0]}. "
                "Evaluate inside `with evolution.hold():` while another thread updates the links."
            )
        _require_fit(x, layer, n_out)
        width = n_out
    backend, dtype_out = kernels.choose(x.device), _dtype_out(x)
    dtype = dtype_out if dtype_out in backend.dtypes else torch.float32
    if x.dtype == torch.float64:
        dtype = torch.float64
    flat = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    flat = flat if flat.dtype == dtype else flat.to(dtype)
    params = [part for layer in layers for part in (layer.values, layer.bias)]
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (flat, *params)):
        y: torch.Tensor = _SparseChain.apply(flat, layers, *params)  # type: ignore[no-untyped-call]
    else:
        y, _, _ = backend.forward(flat, layers, keep=False)
    if dtype_out != dtype:
        y = y.to(dtype_out)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], width)


def _require_fit(x: torch.Tensor, layer: Layer, n_out: int) -> None:
    """Raise unless a layer is where its inputs are and its bias has its size: kernels get addresses, and trust them."""
    bias, device = layer.bias, x.device
    if layer.values.device != device or (bias is not None and bias.device != device):
        where = f"{layer.values.device}" if bias is None else f"{layer.values.device}, its bias on {bias.device}"
        raise ConfigError(
            f"Expected inputs and layers on one device. Got inputs on {device}, values on {where}. "
            "Move one of them with .to(device)."
        )
    if bias is not None and bias.shape != (n_out,):
        raise ShapeError(f"Expected a bias of shape ({n_out},). Got {tuple(bias.shape)}.")


def _dtype_out(x: torch.Tensor) -> torch.dtype:
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


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
