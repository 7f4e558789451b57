"""What a backend is, which ones exist, and which one runs where."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from sparsecore.errors import ConfigError, UnknownNameError
from sparsecore.storage import Topology

__all__ = ["Backend", "Layer", "available", "choose", "register_backend", "use"]

_log = logging.getLogger("sparsecore.kernels")


class Layer(NamedTuple):
    """One layer of a chain, as the kernels see it.

    Attributes
    ----------
    topology : Topology or None
        The links; ``None`` for a dense layer.
    values : Tensor, float, (n_links,)
        Value of every link, input-major; the weight, (n_out, n_in), of a dense layer.
    bias : Tensor, float, (n_out,), optional
        Added to the outputs.
    relu : bool
        Whether the outputs pass through a rectifier.
    """

    topology: Topology | None
    values: torch.Tensor
    bias: torch.Tensor | None
    relu: bool

    @property
    def n_out(self) -> int:
        """Number of output neurons."""
        return self.values.shape[0] if self.topology is None else self.topology.n_out

    @property
    def n_in(self) -> int:
        """Number of input neurons."""
        return self.values.shape[1] if self.topology is None else self.topology.n_in


class Backend(Protocol):
    """Forward and backward of a chain of layers, sparse ones and dense ones.

    ``dtypes`` are those in which it takes and keeps activations; others are converted to float32. ``forward`` returns
    outputs and whatever ``backward`` needs; ``backward`` returns the input gradient (``None`` when not wanted) and one
    ``(grad_values, grad_bias)`` pair per layer.
    """

    name: str
    dtypes: frozenset[torch.dtype]

    def forward(
        self, x: torch.Tensor, layers: Sequence[Layer], *, keep: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
        """Return outputs (B, n_out), tensors to save for backward, and plain notes."""
        ...

    def backward(
        self,
        grad: torch.Tensor,
        layers: Sequence[Layer],
        saved: Sequence[torch.Tensor],
        notes: Any,
        *,
        input_grad: bool,
    ) -> tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor | None]]]:
        """Return the gradients of inputs, values and biases."""
        ...


class PrimitiveBackend:
    """A backend made of three products; subclasses define them for plain ``(batch, features)`` tensors."""

    name = "primitive"
    dtypes = frozenset({torch.float32, torch.float64})

    def spmm(self, topology: Topology, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return ``x @ W.T``, (B, n_out)."""
        raise NotImplementedError

    def spmm_t(self, topology: Topology, values: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        """Return ``grad @ W``, (B, n_in)."""
        raise NotImplementedError

    def sddmm(self, topology: Topology, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the entries of ``grad.T @ x`` at the links, (n_links,)."""
        raise NotImplementedError

    def forward(
        self, x: torch.Tensor, layers: Sequence[Layer], *, keep: bool
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Any]:
        """Apply layer after layer; keeps every activation."""
        saved = [x]
        for layer in layers:
            values = layer.values.to(x.dtype)
            y = saved[-1] @ values.t() if layer.topology is None else self.spmm(layer.topology, values, saved[-1])
            if layer.bias is not None:
                y = y + layer.bias.to(x.dtype)
            saved.append(torch.relu(y) if layer.relu else y)
        return saved[-1], tuple(saved) if keep else (), None

    def backward(
        self,
        grad: torch.Tensor,
        layers: Sequence[Layer],
        saved: Sequence[torch.Tensor],
        notes: Any,
        *,
        input_grad: bool,
    ) -> tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor | None]]]:
        """Walk the chain back with one product of each kind per layer."""
        grads: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        for index in range(len(layers) - 1, -1, -1):
            layer, x, y = layers[index], saved[index], saved[index + 1]
            if layer.relu:
                grad = torch.where(y > 0, grad, torch.zeros_like(grad))
            links, values = layer.topology, layer.values.to(grad.dtype)
            dvalues = grad.t() @ x if links is None else self.sddmm(links, grad, x)
            dbias = None if layer.bias is None else grad.sum(0).to(layer.bias.dtype)
            grads.append((dvalues.to(layer.values.dtype), dbias))
            if index or input_grad:
                grad = grad @ values if links is None else self.spmm_t(links, values, grad)
        return (grad if input_grad else None), grads[::-1]


_backends: dict[str, Backend] = {}
_preferred: dict[str, str] = {}
_finders: dict[str, Callable[[], Backend]] = {}
_forced: str | None = None


def register_backend(backend: Backend, *, devices: Sequence[str] = ()) -> None:
    """Add a backend and make it the choice for `devices` (``"cpu"``, ``"cuda"``)."""
    _backends[backend.name] = backend
    for device in devices:
        _preferred[device] = backend.name


def register_finder(device: str, find: Callable[[], Backend]) -> None:
    """Let `find` name the backend of a device when it is first needed; its library is not loaded before."""
    _finders[device] = find


def available() -> tuple[str, ...]:
    """Return the names of all backends."""
    return tuple(sorted(_backends))


def choose(device: torch.device) -> Backend:
    """Return the backend for a device.

    Raises
    ------
    ConfigError
        If no backend runs on `device`.
    """
    name = _forced or _preferred.get(device.type)
    if name is None and device.type in _finders:
        name = _preferred[device.type] = _finders[device.type]().name
    if name is None:
        known = ", ".join(sorted({*_preferred, *_finders}))
        raise ConfigError(f"Expected a tensor on one of: {known}. Got device {device}.")
    return _backends[name]


@contextlib.contextmanager
def use(name: str) -> Iterator[Backend]:
    """Force one backend inside a ``with`` block, e.g. ``with sparsecore.kernels.use("reference"):``."""
    global _forced
    if name not in _backends:
        raise UnknownNameError("backend", name, _backends)
    before, _forced = _forced, name
    _log.info("backend %s, because it was asked for", name)
    try:
        yield _backends[name]
    finally:
        _forced = before
