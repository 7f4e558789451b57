"""Dense layers with MKL, oneDNN and bfloat16, and dense layers under a mask."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sparsecore.bench.contenders.network import Contender, Links, dense_linear, register, stack, training_step
from sparsecore.bench.gate import LOW_PRECISION

__all__ = ["MaskedLinear", "onednn_linear", "onednn_report"]


@register("dense")
def _dense(layers: Sequence[Links]) -> Contender:
    model = stack(layers, dense_linear)
    return Contender("dense", model, training_step(model), same_weights=False)


def onednn_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return ``x @ weight.T`` in float32 by oneDNN.

    Torch sends float32 products to MKL; this is the operation its compiler uses to send them to oneDNN. `onednn_report`
    tells what really ran.
    """
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return y


@cache
def onednn_report() -> str:
    """Return which oneDNN kernel `onednn_linear` runs on this machine, e.g. ``inner_product brg_matmul:avx512_core``.

    Raises
    ------
    ImportError
        If this torch has no oneDNN, or the product does not reach it in float32.
    """
    x, weight = torch.ones(64, 96), torch.ones(128, 96)
    if not torch.backends.mkldnn.is_available():
        raise ImportError("this torch is built without oneDNN")
    with _standard_output() as said, torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        try:
            onednn_linear(x, weight)
        except (AttributeError, RuntimeError, NotImplementedError) as error:
            raise ImportError(f"this torch has no oneDNN linear: {error}") from error
    found = re.search(r"exec,cpu,(\w+),([^,]+),[^,]*,src:f32", "".join(said))
    if found is None:
        raise ImportError("float32 products do not reach oneDNN in this torch")
    return f"{found[1]} {found[2]}"


@contextlib.contextmanager
def _standard_output() -> Iterator[list[str]]:
    """Collect what libraries write to the standard output of the process."""
    said: list[str] = []
    sys.stdout.flush()
    with tempfile.TemporaryFile("w+") as file:
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield said
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            said.append(file.read())


class _OneDnnProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        x, weight = ctx.saved_tensors
        grad_x = onednn_linear(grad, weight.t()) if ctx.needs_input_grad[0] else None
        return grad_x, onednn_linear(grad.t(), x.t())


class _OneDnnLinear(nn.Module):
    def __init__(self, layer: Links) -> None:
        super().__init__()
        self.linear = dense_linear(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = _OneDnnProduct.apply(x, self.linear.weight)  # type: ignore[no-untyped-call]
        return product + self.linear.bias


@register("dense, oneDNN")
def _onednn(layers: Sequence[Links]) -> Contender:
    onednn_report()
    model = stack(layers, _OneDnnLinear)
    return Contender("dense, oneDNN", model, training_step(model), same_weights=False)


@register("dense, bf16")
def _bf16(layers: Sequence[Links]) -> Contender:
    model = stack(layers, dense_linear)
    step = training_step(model, autocast=torch.bfloat16)
    return Contender("dense, bf16", model, step, tolerance=LOW_PRECISION, same_weights=False)


class MaskedLinear(nn.Module):
    """What the field does: a dense weight times a mask."""

    mask: torch.Tensor

    def __init__(self, layer: Links) -> None:
        super().__init__()
        self.linear = dense_linear(layer)
        self.register_buffer("mask", (layer.dense() != 0).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product with the masked weight."""
        return functional.linear(x, self.linear.weight * self.mask, self.linear.bias)


@register("masked dense")
def _masked(layers: Sequence[Links]) -> Contender:
    model = stack(layers, MaskedLinear)
    return Contender("masked dense", model, training_step(model))
