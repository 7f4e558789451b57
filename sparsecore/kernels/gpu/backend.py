"""The backend of CUDA devices: one kernel per product, bias, rectifier and its gate inside."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from sparsecore.kernels.backend import Backend, Layer, choose, register_backend
from sparsecore.kernels.gpu.lists import lists_of
from sparsecore.kernels.gpu.products import FORMS, accumulator, gate_and_sum, sddmm, spmm, spmm_t
from sparsecore.kernels.gpu.runtime import Runtime, find_runtime
from sparsecore.kernels.torch_native import TorchBackend

__all__ = ["CudaBackend", "engine", "find_backend"]

_log = logging.getLogger("sparsecore.kernels")

Pair = tuple[torch.Tensor, torch.Tensor | None]


class CudaBackend:
    """Feature-major activations in float32, bfloat16 or float64; sums in float32 or float64; nothing is atomic.

    Parameters
    ----------
    runtime : Runtime
        Launches the kernels.
    name : str
        What the backend is called.
    """

    dtypes = frozenset(FORMS)

    def __init__(self, runtime: Runtime, name: str = "cuda") -> None:
        self.runtime, self.name = runtime, name

    def forward(
        self, x: torch.Tensor, layers: Sequence[Layer], *, keep: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
        """Return outputs (B, n_out), every activation as ``(features, B)`` if `keep`, and no notes."""
        wide = accumulator(x.dtype)
        saved = [_aligned(x.t())]
        for layer in layers:
            saved.append(self._forward(layer, saved[-1], wide))
            if not keep:
                saved = saved[-1:]
        return saved[-1].t(), tuple(saved) if keep else (), None

    def _forward(self, layer: Layer, x: torch.Tensor, wide: torch.dtype) -> torch.Tensor:
        if layer.topology is None:
            y = layer.values.to(x.dtype) @ x
            y = y if layer.bias is None else y + layer.bias.to(x.dtype)[:, None]
            return y.relu_() if layer.relu else y
        values = layer.values.detach().to(wide).contiguous()
        bias = None if layer.bias is None else layer.bias.detach().to(wide).contiguous()
        return spmm(self.runtime, lists_of(layer.topology, x.device), values, x, bias, relu=layer.relu)

    def backward(
        self,
        grad: torch.Tensor,
        layers: Sequence[Layer],
        saved: Sequence[torch.Tensor],
        notes: Any,
        *,
        input_grad: bool,
    ) -> tuple[torch.Tensor | None, list[Pair]]:
        """Return the gradients of inputs, values and biases; the gate of a rectifier is in the product above it."""
        grads: list[Pair] = []
        flow, gated = _aligned(grad.t()), False
        for index in range(len(layers) - 1, -1, -1):
            layer, x = layers[index], saved[index]
            gate = saved[index + 1] if layer.relu and not gated else None
            flow, sums = gate_and_sum(self.runtime, flow, gate, sums=layer.bias is not None)
            lists = None if layer.topology is None else lists_of(layer.topology, x.device)
            dvalues = flow @ x.t() if lists is None else sddmm(self.runtime, lists, flow, x)
            dbias = None if sums is None or layer.bias is None else sums.to(layer.bias.dtype)
            grads.append((dvalues.to(layer.values.dtype), dbias))
            if not (index or input_grad):
                break
            gated = lists is not None and index > 0 and layers[index - 1].relu
            if lists is None:
                flow = layer.values.detach().to(flow.dtype).t() @ flow
            else:
                values = layer.values.detach().to(accumulator(flow.dtype)).contiguous()
                flow = spmm_t(self.runtime, lists, values, flow, x if gated else None)
        return (flow.t() if input_grad else None), grads[::-1]


def find_backend() -> Backend:
    """Return the backend of CUDA devices; torch's own products, with a warning in the log, where kernels cannot run."""
    runtime, reason = find_runtime()
    if runtime is None:
        _log.warning("CUDA kernels are not used, torch.sparse is: %s", reason)
        return TorchBackend()
    backend = CudaBackend(runtime)
    register_backend(backend)
    return backend


def engine(device: torch.device) -> Runtime | None:
    """Return what launches the link kernels where tensors of `device` are evolved, or ``None`` for the host's."""
    backend = choose(device)
    return backend.runtime if isinstance(backend, CudaBackend) else None


def _aligned(x: torch.Tensor) -> torch.Tensor:
    """Return `x` contiguous, and so that vectors can be loaded from it."""
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone(memory_format=torch.contiguous_format)
