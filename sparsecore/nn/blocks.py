"""Feed-forward blocks and attentions, known by the names of their layers: where these share neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from sparsecore._typing import Int64Array
from sparsecore.nn.heads import head_size, spread, within_head
from sparsecore.nn.linear import SparseLinear

__all__ = ["Block", "Meeting", "known_block"]

Linear: TypeAlias = nn.Linear | SparseLinear
Side: TypeAlias = tuple[Linear, Literal["out", "in"], Int64Array | None, bool]

#: Layers that write the middle of a feed-forward block, and the one that reads it. Of several writers, the products of
#: their outputs are read, the first one's behind the activation.
_FEED_FORWARD = (
    (("gate_proj", "up_proj"), "down_proj"), (("up_proj",), "down_proj"), (("wi_0", "wi_1"), "wo"), (("wi",), "wo"),
    (("w1", "w3"), "w2"), (("fc1",), "fc2"), (("fc_in",), "fc_out"), (("c_fc",), "c_proj"), (("lin1",), "lin2"),
    (("linear1",), "linear2"), (("dense_h_to_4h",), "dense_4h_to_h"), (("intermediate.dense",), "output.dense"),
)  # fmt: skip

#: Queries, keys, values and output of an attention.
_ATTENTION = (
    ("q_proj", "k_proj", "v_proj", "o_proj"), ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_proj", "k_proj", "v_proj", "dense"), ("q", "k", "v", "o"),
    ("q_lin", "k_lin", "v_lin", "out_lin"), ("self.query", "self.key", "self.value", "output.dense"),
    ("attention.query", "attention.key", "attention.value", "output.dense"),
)  # fmt: skip

#: Attentions whose one layer holds query, key and value of the first head, then those of the second, and so on.
_BY_HEAD = ("GPTNeoXAttention", "BloomAttention")

_ACTIVATIONS = ("act_fn", "act", "activation_fn", "activation")

#: Parts of an attention that leave its scores, and those that leave its values, as their layers give them.
_BESIDE_VALUES = (
    "q_norm",
    "k_norm",
    "q_layernorm",
    "k_layernorm",
    "sinks",
    "relative_attention_bias",
    "output.LayerNorm",
)
_BESIDE_SCORES = ("relative_attention_bias", "output.LayerNorm")


@dataclass(frozen=True, eq=False)
class Meeting:
    """One side of a layer that meets others; see `sparsecore.nn.joint.End`."""

    layer: SparseLinear
    side: Literal["out", "in"]
    unit: Int64Array | None = None
    lives: bool = False


@dataclass
class Block:
    """What is known of one module.

    Attributes
    ----------
    meetings : list of list of Meeting
        Sides that share their units.
    left : list of (SparseLinear, str)
        Layers whose neurons are not joined, and why.
    """

    meetings: list[list[Meeting]] = field(default_factory=list)
    left: list[tuple[SparseLinear, str]] = field(default_factory=list)


def known_block(module: nn.Module) -> Block:
    """Return where the layers of a feed-forward block or an attention meet; nothing if `module` is neither."""
    block = Block()
    for writers, reader in _FEED_FORWARD:
        found = _layers(module, (*writers, reader))
        if found is not None:
            _feed_forward(block, module, found[:-1], found[-1])
            break
    fused = _layers(module, ("gate_up_proj", "down_proj"))
    if fused is not None:
        _fused_gate(block, *fused)
    for names in _ATTENTION:
        found = _layers(module, names)
        if found is not None:
            _attention(block, module, names, found)
            break
    both = _layers(module, ("query_key_value", "dense"))
    if both is not None and type(module).__name__ in _BY_HEAD:
        _by_head(block, module, *both)
    stacked = _layers(module, ("qkv_proj", "o_proj"))
    if stacked is not None and not _others(module, ("qkv_proj", "o_proj")):
        _stacked(block, module, *stacked)
    return block


def _layers(module: nn.Module, names: Sequence[str]) -> list[Linear] | None:
    """Return the linear layers with these names if all are there and at least one is sparse."""
    found: list[Linear] = []
    for name in names:
        at: nn.Module | None = module
        for part in name.split("."):
            at = None if at is None else at._modules.get(part)
        if not isinstance(at, (SparseLinear, nn.Linear)):
            return None
        found.append(at)
    return found if any(isinstance(layer, SparseLinear) for layer in found) else None


def _join(block: Block, *sides: Side) -> None:
    """Note that sides meet; dense layers have every link and drop out, and it takes two to meet."""
    met = [Meeting(layer, at, unit, lives) for layer, at, unit, lives in sides if isinstance(layer, SparseLinear)]
    if len(met) > 1 and not all(side.lives for side in met):
        block.meetings.append(met)


def _feed_forward(block: Block, module: nn.Module, writers: Sequence[Linear], reader: Linear) -> None:
    sizes = {writer.out_features for writer in writers} | {reader.in_features}
    norm = _norm_between(module, reader)
    if len(sizes) > 1 or norm:
        reason = f"{norm} stands between them" if norm else "their sizes do not fit"
        block.left += [(layer, reason) for layer in (*writers, reader) if isinstance(layer, SparseLinear)]
        return
    lives = len(writers) > 1 and not _starts_at_zero(module)
    ends: list[Side] = [(writer, "out", None, lives and writer is writers[0]) for writer in writers]
    _join(block, *ends, (reader, "in", None, False))


def _norm_between(module: nn.Module, reader: Linear) -> str | None:
    """Return the name of a normalisation as wide as the middle of a block, which reads all its neurons at once."""
    if reader.in_features == reader.out_features:
        return None
    norms = {name: child for name, child in module.named_children() if "Norm" in type(child).__name__}
    widths = {name: sum(part.numel() for part in norm.parameters() if part.ndim) for name, norm in norms.items()}
    return next((name for name, width in widths.items() if width in (reader.in_features, 2 * reader.in_features)), None)


def _starts_at_zero(module: nn.Module) -> bool:
    """Tell whether the activation of a block gives 0 for 0; one that cannot be called does not."""
    activation: Callable[[torch.Tensor], torch.Tensor] | None
    activation = next((getattr(module, name) for name in _ACTIVATIONS if hasattr(module, name)), None)
    return callable(activation) and not bool(activation(torch.zeros(1)).any())


def _fused_gate(block: Block, both: Linear, reader: Linear) -> None:
    n = reader.in_features
    if both.out_features != 2 * n:
        return
    halves = [np.concatenate([np.arange(n), np.full(n, -1)]), np.concatenate([np.full(n, -1), np.arange(n)])]
    _join(block, *((both, "out", half, False) for half in halves), (reader, "in", None, False))


def _attention(block: Block, module: nn.Module, names: Sequence[str], layers: Sequence[Linear]) -> None:
    query, key, value, output = layers
    holder = module.get_submodule(names[0].rpartition(".")[0])
    others = _others(module, names)
    _join_values(block, holder, value, output, others)
    reason = _why_no_scores(holder, query, key, value, output, others)
    if reason is not None:
        block.left += [(layer, reason) for layer in (query, key) if isinstance(layer, SparseLinear)]
        return
    size = head_size(holder) or 1
    turning = key.bias is not None
    form = within_head(holder, size, biased=turning)
    n_query, n_key = query.out_features // size, key.out_features // size
    if (form.unit >= 0).any():
        _join(
            block,
            (query, "out", spread(form, n_query, n_query // n_key), query.bias is not None),
            (key, "out", spread(form, n_key, 1), False),
        )


def _join_values(block: Block, holder: nn.Module, value: Linear, output: Linear, others: Sequence[str]) -> None:
    beside = [name for name in others if name not in _BESIDE_VALUES]
    size = head_size(holder)
    grouped = output.in_features != value.out_features
    fits = not grouped or (size is not None and output.in_features % value.out_features == 0)
    if beside or not fits:
        reason = f"{beside[0]} is part of the attention" if beside else "values and output do not fit"
        block.left += [(layer, reason) for layer in (value, output) if isinstance(layer, SparseLinear)]
        return
    read = None
    if grouped and size is not None:
        read = _repeated(value.out_features, size, output.in_features // value.out_features)
    _join(block, (value, "out", None, False), (output, "in", read, False))


def _repeated(n: int, size: int, times: int) -> Int64Array:
    """Return features of value heads as groups of query heads read them, int64, (n · times,)."""
    return np.repeat(np.arange(n).reshape(-1, size), times, axis=0).ravel()


def _others(module: nn.Module, names: Sequence[str]) -> list[str]:
    """Return what has parameters of its own beside the four layers, or normalises, by name."""
    owners = {name.rpartition(".")[0] or name for name, _ in module.named_parameters()}
    owners |= {name for name, child in module.named_modules() if "Norm" in type(child).__name__}
    return sorted(owners - set(names))


def _why_no_scores(
    holder: nn.Module, query: Linear, key: Linear, value: Linear, output: Linear, others: Sequence[str]
) -> str | None:
    """Return why queries and keys are left alone, or ``None`` if they can be joined."""
    if not type(holder).__module__.startswith("transformers."):
        return "queries and keys of an attention outside the transformers library may meet in any way"
    beside = [name for name in others if name not in _BESIDE_SCORES]
    if beside:
        return f"{beside[0]} is part of the attention"
    size = head_size(holder)
    if size is None or query.out_features != output.in_features or key.out_features != value.out_features:
        return "their heads are not known"
    if query.out_features % key.out_features or key.out_features % size:
        return "their heads do not fit"
    if key.bias is not None and not (within_head(holder, size, biased=True).unit >= 0).any():
        return "keys with a bias turn with their position"
    return None


def _by_head(block: Block, module: nn.Module, both: Linear, output: Linear) -> None:
    """Join heads of which each has its query, key and value next to one another in one layer."""
    size, n = head_size(module), output.in_features
    if size is None or both.out_features != 3 * n:
        return
    form = within_head(module, size, biased=both.bias is not None)
    place = np.full((3, n // size, 3, size), -1)
    for part in (0, 1):
        place[part, :, part] = spread(form, n // size, 1).reshape(-1, size)
    place[2, :, 2] = np.arange(n).reshape(-1, size)
    query, key, value = place.reshape(3, -1)
    if (query >= 0).any():
        _join(block, (both, "out", query, both.bias is not None), (both, "out", key, False))
    _join(block, (both, "out", value, False), (output, "in", None, False))


def _stacked(block: Block, module: nn.Module, both: Linear, output: Linear) -> None:
    """Join heads of an attention that has all queries, then all keys, then all values in one layer."""
    size, n = head_size(module), output.in_features
    n_key = (both.out_features - n) // 2
    if size is None or both.out_features != n + 2 * n_key or n_key < 1 or n % n_key or n_key % size:
        return
    parts = np.cumsum([0, n, n_key, n_key])
    if type(module).__module__.startswith("transformers."):
        form = within_head(module, size, biased=both.bias is not None)
        units = spread(form, n // size, n // n_key), spread(form, n_key // size, 1)
        query, key = (_rows(both, unit, at) for unit, at in zip(units, parts[:2], strict=True))
        if (query >= 0).any():
            _join(block, (both, "out", query, both.bias is not None), (both, "out", key, False))
    value = _rows(both, np.arange(n_key), parts[2])
    _join(block, (both, "out", value, False), (output, "in", _repeated(n_key, size, n // n_key), False))


def _rows(layer: Linear, unit: Int64Array, at: int) -> Int64Array:
    """Return the units of a layer's outputs, of which those from `at` on take part."""
    every = np.full(layer.out_features, -1, np.int64)
    every[at : at + unit.size] = unit
    return every
