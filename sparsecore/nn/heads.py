"""Neurons of attention heads: which outputs of queries, keys and values belong together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsecore._typing import Int64Array

__all__ = ["HeadForm", "head_size", "spread", "within_head"]

_SIZES = ("head_dim", "attention_head_size", "key_value_proj_dim", "head_size")


@dataclass(frozen=True)
class HeadForm:
    """How the features of one head of queries meet those of its keys.

    Attributes
    ----------
    unit : array, int64, (head_size,)
        Unit of every feature, -1 where features are left alone. Products of features in different units never add to
        a score.
    n_units : int
        Units of a head.
    """

    unit: Int64Array
    n_units: int


def head_size(attention: nn.Module) -> int | None:
    """Return the features of one head, or ``None`` if the module does not say."""
    sizes = (getattr(attention, name, None) for name in _SIZES)
    return next((size for size in sizes if isinstance(size, int)), None)


def spread(form: HeadForm, n_heads: int, heads_per_group: int) -> Int64Array:
    """Return the unit of every feature of `n_heads` heads, of which groups share their units, int64, (features,)."""
    group = np.arange(n_heads)[:, None] // heads_per_group
    return np.where(form.unit < 0, -1, group * form.n_units + form.unit).ravel()


def within_head(attention: nn.Module, size: int, *, biased: bool) -> HeadForm:
    """Return the form of the heads of an attention of the `transformers` library.

    Without rotary positions every feature is a unit. With them, features that are rotated together are: which ones
    these are is read off the library's own ``rotate_half``. Where that cannot be read, a whole head is one unit.
    Keys with a bias turn with the position, so rotated features are left alone if `biased`.

    Source: Su et al., "RoFormer: Enhanced transformer with rotary position embedding" (2021), section 3.2.
    """
    if not _is_rotary(attention):
        return HeadForm(np.arange(size), size)
    partner = _partners(attention, size)
    if partner is None:
        return HeadForm(np.full(size, -1 if biased else 0), 1)
    rotated = np.arange(size) < partner.size
    first = np.arange(size)
    first[rotated] = np.minimum(partner, first[rotated])
    if biased:
        first[rotated] = -1
    kept = np.unique(first[first >= 0])
    return HeadForm(np.where(first < 0, -1, np.searchsorted(kept, first)), max(1, kept.size))


def _is_rotary(attention: nn.Module) -> bool:
    config = getattr(attention, "config", None)
    named = any("Rotary" in type(module).__name__ for module in attention.modules())
    by_config = any(getattr(config, name, None) for name in ("rope_parameters", "rotary_dim", "rope_theta"))
    return named or by_config or getattr(config, "position_embedding_type", None) == "rotary"


def _partners(attention: nn.Module, size: int) -> Int64Array | None:
    """Return the feature that each rotated feature is rotated with, int64, (rotated,), if the library tells."""
    n = _rotated(attention, size)
    rotate = getattr(sys.modules[type(attention).__module__], "rotate_half", None)
    if n is None or rotate is None or any("Rotary" in type(module).__name__ for module in attention.modules()):
        return None
    partner = rotate(torch.arange(1.0, n + 1.0)).abs().long().numpy() - 1
    paired = np.array_equal(partner[partner], np.arange(n))
    return partner if paired else None


def _rotated(attention: nn.Module, size: int) -> int | None:
    """Return how many features of a head are rotated, the first ones, or ``None`` if the module does not say."""
    ropes: list[dict[str, Any]] = list(_dicts(getattr(getattr(attention, "config", None), "rope_parameters", None)))
    if len(ropes) != 1:
        return None
    n = getattr(attention, "rotary_ndims", None)
    return int(n) if n is not None else int(size * ropes[0].get("partial_rotary_factor", 1.0))


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _dicts(part)
