"""Multi-head attention whose keys and values can be kept between the steps of a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from sparsecore.errors import ConfigError
from sparsecore.nn import SparseLinear

__all__ = ["Attention", "KeyValues"]


class KeyValues(NamedTuple):
    """What a position is looked up by, and what it gives.

    Attributes
    ----------
    keys, values : Tensor, float, (B, heads, T, width / heads)
        One row per position.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def followed_by(self, later: KeyValues) -> KeyValues:
        """Return these positions and `later` ones behind them."""
        return KeyValues(torch.cat([self.keys, later.keys], 2), torch.cat([self.values, later.values], 2))

    def rows(self, index: torch.Tensor) -> KeyValues:
        """Return the rows of the batch at `index`, int64, (n,), in that order."""
        return KeyValues(self.keys.index_select(0, index), self.values.index_select(0, index))


class Attention(nn.Module):
    """Scaled dot-product attention of several heads.

    Parameters
    ----------
    width : int
        Features; a multiple of `heads`.
    heads : int
        Parts that attend on their own.
    dropout : float
        Share of attention weights that training drops.

    Raises
    ------
    ConfigError
        If the heads do not divide the width.

    Notes
    -----
    Source: Vaswani et al., "Attention is all you need" (2017), section 3.2.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(f"Expected a width that {heads} heads divide. Got {width}. Change either.")
        self.heads, self.dropout = heads, dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def read(self, x: torch.Tensor) -> KeyValues:
        """Return keys and values of positions `x`, float, (B, S, width)."""
        return KeyValues(self._split(self.k_proj(x)), self._split(self.v_proj(x)))

    def forward(
        self, x: torch.Tensor, memory: KeyValues, mask: torch.Tensor | None = None, *, causal: bool = False
    ) -> torch.Tensor:
        """Return what positions `x`, float, (B, T, width), find in `memory`, of the same shape.

        Parameters
        ----------
        x : Tensor, float, (B, T, width)
            Who asks.
        memory : KeyValues
            Of `read`, (B, heads, S, width / heads).
        mask : Tensor, bool, broadcastable to (B, heads, T, S), optional
            Which positions may be seen.
        causal : bool
            Whether position t sees only the positions up to t.
        """
        found = functional.scaled_dot_product_attention(
            self._split(self.q_proj(x)),
            *memory,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        joined: torch.Tensor = self.out_proj(found.transpose(1, 2).flatten(2))
        return joined

    def sparse_chains(self) -> Sequence[Sequence[SparseLinear]]:
        """Return the layers that share neurons: every output of the values is an input of the output layer."""
        layers: tuple[nn.Module, ...] = (self.v_proj, self.out_proj)
        chain = [layer for layer in layers if isinstance(layer, SparseLinear)]
        return [chain] if len(chain) == 2 else []

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)
