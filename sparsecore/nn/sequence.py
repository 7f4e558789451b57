"""Models that are one module after another, and two small modules that only inference needs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from sparsecore.errors import ShapeError
from sparsecore.nn.chain import SparseSequential

__all__ = ["Constant", "SelectFeatures", "has_hooks", "steps_of", "unrolled"]

_SEQUENCES = (nn.Sequential, SparseSequential)


class SelectFeatures(nn.Module):
    """Picks features of the last axis; stands before a layer whose unread inputs were dropped.

    Parameters
    ----------
    index : Tensor, int64, (n_kept,)
        Features to keep, in order.
    in_features : int
        Size of the last axis of the inputs.

    Examples
    --------
    >>> SelectFeatures(torch.tensor([2, 0]), 3)(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
    [[3.0, 1.0]]
    """

    index: torch.Tensor

    def __init__(self, index: torch.Tensor, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.register_buffer("index", index)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the kept features of `x`, (..., in_features), as (..., n_kept).

        Raises
        ------
        ShapeError
            If the last axis has another size.
        """
        _require_features(x, self.in_features)
        return x.index_select(-1, self.index)

    def extra_repr(self) -> str:
        """Show sizes."""
        return f"in_features={self.in_features}, out_features={self.index.numel()}"


class Constant(nn.Module):
    """Gives every sample the same outputs; stands for layers through which no signal passes.

    Parameters
    ----------
    value : Tensor, float, (n_out,)
        The outputs.
    in_features : int
        Size of the last axis of the inputs.

    Examples
    --------
    >>> Constant(torch.tensor([1.0, 2.0]), 5)(torch.zeros(3, 5)).tolist()
    [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    """

    value: torch.Tensor

    def __init__(self, value: torch.Tensor, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.register_buffer("value", value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs for `x`, (..., in_features), as (..., n_out) in the dtype of `x`.

        Raises
        ------
        ShapeError
            If the last axis has another size.
        """
        _require_features(x, self.in_features)
        return self.value.to(x.dtype).expand(*x.shape[:-1], self.value.numel())

    def extra_repr(self) -> str:
        """Show sizes."""
        return f"in_features={self.in_features}, out_features={self.value.numel()}"


def _require_features(x: torch.Tensor, in_features: int) -> None:
    if x.ndim == 0 or x.shape[-1] != in_features:
        got = x.shape[-1] if x.ndim else 0
        raise ShapeError(f"Expected inputs with {in_features} features in the last axis. Got {got}.")


def has_hooks(module: nn.Module) -> bool:
    """Tell whether calling the module runs anything besides its ``forward``."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def unrolled(sequence: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield name and module of every step of a sequence; sequences inside it are unrolled."""
    for name, module in sequence._modules.items():  # named_children() would skip a module that comes twice
        if module is None:
            continue
        if type(module) in _SEQUENCES and not has_hooks(module):
            yield from unrolled(module, f"{prefix}{name}.")
        else:
            yield prefix + name, module


def steps_of(model: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """Return a model as modules that are called one after the other, or ``None`` if it is something else.

    Parameters
    ----------
    model : Module
        An `nn.Sequential`, a `SparseSequential`, or a model like `sparsecore.models.MLP` whose ``is_chain`` says that
        it flattens its inputs and applies ``hidden`` and ``head``.

    Returns
    -------
    list of (str, Module), optional
        Names are those of `model`, ``"flatten"`` apart, which has no parameters.

    Examples
    --------
    >>> steps_of(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU())))
    [('0', Linear(in_features=2, out_features=3, bias=True)), ('1.0', ReLU())]
    """
    if has_hooks(model):
        return None
    if type(model) in _SEQUENCES:
        return list(unrolled(model))
    if getattr(model, "is_chain", False):
        parts = nn.ModuleDict({"hidden": model.hidden, "head": model.head})  # type: ignore[dict-item]
        return [("flatten", nn.Flatten(1)), *unrolled(parts)]
    return None
