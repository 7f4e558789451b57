"""What stands in the place of a weight matrix that does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch

from sparsecore.errors import ConfigError

__all__ = ["NoWeight"]

#: What may be asked of it: nothing that reads or writes numbers.
_ASKED = frozenset({
    "__hash__", "__len__", "device", "dim", "dtype", "element_size", "is_complex", "is_cpu", "is_cuda",
    "is_floating_point", "is_leaf", "is_meta", "is_quantized", "is_sparse", "itemsize", "layout", "nbytes", "ndim",
    "ndimension", "nelement", "numel", "requires_grad", "shape", "size",
})  # fmt: skip


class NoWeight(torch.Tensor):
    """Shape, dtype and device of a matrix that is nowhere; whoever computes with it is told so.

    Models ask layers for ``weight.dtype`` or ``weight.device``, and some pass ``weight`` on to a function in place of
    calling the layer. A tensor without numbers would let these go on with whatever lies in memory.

    Examples
    --------
    >>> weight = NoWeight((6, 4), torch.float32, torch.device("cpu"))
    >>> weight.shape, weight.dtype
    (torch.Size([6, 4]), torch.float32)
    """

    #: Asked by `transformers`, whose models may draw the weights of their parts: links have drawn values already.
    _is_hf_initialized: ClassVar[bool] = True

    @staticmethod
    def __new__(cls, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> NoWeight:
        """Return the stand-in of a matrix of `shape`, (n_out, n_in)."""
        made: NoWeight = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=device)
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """Show shape and dtype."""
        return f"NoWeight({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer what needs no numbers, refuse the rest."""
        called = getattr(func, "__name__", str(func))
        name = getattr(getattr(func, "__self__", None), "__name__", called) if called == "__get__" else called
        if name in _ASKED:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        raise _refusal(name)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Refuse what comes another way, from compiled code."""
        raise _refusal(str(func))


def _refusal(name: str) -> ConfigError:
    return ConfigError(
        f"Expected a sparse layer to be called. Got {name} on its weight, a matrix that does not exist: its numbers "
        "are layer.values. Call the layer itself, or keep it dense with sparsify(..., exclude=[...])."
    )
