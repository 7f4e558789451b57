"""A model's sizes, and what its backward pass keeps, found without memory for a single weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from sparsecore.errors import ConfigError, check_count
from sparsecore.nn.targets import find_targets

__all__ = ["Outline", "outline_mlp", "outline_model"]

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Outline:
    """Sizes of a model whose linear layers may become links.

    Attributes
    ----------
    shapes : tuple of (int, int)
        ``(n_out, n_in)`` of every layer that may become links.
    other_weights : int
        Parameters that stay dense: biases, heads, embeddings, norms.
    batch : int
        Samples of one step; rows of the inputs of linear layers are `rows`.
    rows : int
        Samples, or samples times tokens.
    dense_bytes, links_bytes : int
        Inputs and activations that the backward pass finds where weights are dense (masked or not), and on links.
    widest : int
        Largest sum of inputs and outputs of a layer.
    chained : bool
        Whether the layers run as one chain, in which sums over samples exist for all layers at once.
    """

    shapes: tuple[tuple[int, int], ...]
    other_weights: int
    batch: int
    rows: int
    dense_bytes: int
    links_bytes: int
    widest: int
    chained: bool

    @property
    def possible(self) -> int:
        """Weights of the dense layers that may become links."""
        return sum(n_out * n_in for n_out, n_in in self.shapes)


def outline_mlp(sizes: Sequence[int], batch: int) -> Outline:
    """Return the outline of an MLP with rectified hidden layers, of which all but the last may become links.

    Parameters
    ----------
    sizes : sequence of int
        Neurons of every layer, inputs first, at least three.
    batch : int
        Samples of one step.

    Raises
    ------
    ConfigError
        If there are fewer than three sizes or one is not positive.
    """
    if len(sizes) < 3:
        raise ConfigError(f"Expected the sizes of inputs, hidden layers and outputs. Got {list(sizes)}.")
    for size in sizes:
        check_count("size", size, "the number of neurons of a layer", low=1)
    check_count("batch", batch, "the number of samples of one step", low=1)
    pairs = list(zip(sizes[1:], sizes[:-1], strict=True))
    dense = FLOAT_BYTES * batch * sum(sizes)  # what a linear layer reads is what the rectifier below it wrote
    return Outline(
        shapes=tuple(pairs[:-1]),
        other_weights=sum(sizes[1:]) + sizes[-1] * sizes[-2],
        batch=batch,
        rows=batch,
        dense_bytes=dense,
        links_bytes=dense + FLOAT_BYTES * batch * sizes[0],  # a copy of the inputs, in tiles
        widest=max(map(sum, pairs)),
        chained=True,
    )


def outline_model(
    build: Callable[[], nn.Module],
    run: Callable[[nn.Module], torch.Tensor],
    batch: int,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> Outline:
    """Return the outline of any torch or Hugging Face model, found by one forward pass over tensors without data.

    Parameters
    ----------
    build : callable
        Returns the dense model.
    run : callable
        Returns the loss of one step from the model.
    batch : int
        Samples of that step.
    include, exclude : sequence of str
        Which layers would become links, as in `sparsecore.sparsify`.

    Raises
    ------
    ConfigError
        As `sparsecore.sparsify` does.
    """
    with FakeTensorMode():
        model = build()
        targets = find_targets(model, include, exclude)
        rows: dict[int, int] = {}
        kept = [_kept_bytes(model, run, targets.values(), form, rows) for form in (_as_dense, _as_links)]
        weights = {id(p): p.numel() for p in model.parameters()}
    shapes = tuple((layer.out_features, layer.in_features) for layer in targets.values())
    possible = sum(n_out * n_in for n_out, n_in in shapes)
    return Outline(
        shapes=shapes,
        other_weights=sum(weights.values()) - possible,
        batch=batch,
        rows=max(rows.values()),
        dense_bytes=kept[0],
        links_bytes=kept[1],
        widest=max(map(sum, shapes)),
        chained=False,
    )


def _as_dense(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, layer.weight, layer.bias)


def _as_links(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x.clone(), layer.weight, layer.bias)  # the kernels keep their inputs in tiles of their own


def _kept_bytes(
    model: nn.Module,
    run: Callable[[nn.Module], torch.Tensor],
    targets: Any,
    form: Callable[[nn.Linear, torch.Tensor], torch.Tensor],
    rows: dict[int, int],
) -> int:
    """Return the bytes of all storages but those of parameters and buffers that backward would read."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    held: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            held[storage._cdata] = storage
        return tensor

    with _forwards(targets, form, rows), saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = run(model)
    del loss
    return sum(storage.nbytes() for storage in held.values())


@contextmanager
def _forwards(targets: Any, form: Any, rows: dict[int, int]) -> Iterator[None]:
    """Let layers run another way for a while, and note how many rows of inputs they get."""

    def replace(layer: nn.Linear) -> None:
        def forward(x: torch.Tensor) -> torch.Tensor:
            rows[id(layer)] = x.numel() // x.shape[-1]
            return form(layer, x)  # type: ignore[no-any-return]

        layer.forward = forward  # type: ignore[method-assign, assignment]

    chosen = list(targets)
    for layer in chosen:
        replace(layer)
    try:
        yield
    finally:
        for layer in chosen:
            del layer.forward
