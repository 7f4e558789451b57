"""The encoder-decoder Transformer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sparsecore.errors import ShapeError, check_count, check_fraction
from sparsecore.models.translation.attention import Attention, KeyValues
from sparsecore.models.translation.dropout import Dropout
from sparsecore.models.translation.tokenizer import PAD
from sparsecore.nn import SparseSequential

__all__ = ["Sizes", "Transformer", "sinusoids"]

#: Keys and values of one decoder layer: of what has been said, and of the source.
LayerState = tuple[KeyValues, KeyValues]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a Transformer; the defaults are the papers' for Multi30k.

    Attributes
    ----------
    width, hidden : int
        Features of a position, and of the middle of the feed-forward blocks.
    heads, layers : int
        Heads of every attention; layers of the encoder and of the decoder.
    dropout, attention_dropout : float
        Share of activations and of attention weights that training drops.
    positions : int
        Longest sentence.
    """

    width: int = 512
    hidden: int = 1024
    heads: int = 8
    layers: int = 6
    dropout: float = 0.1
    attention_dropout: float = 0.1
    positions: int = 512

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work."""
        for name in ("width", "hidden", "heads", "layers", "positions"):
            check_count(name, getattr(self, name), "a size of the Transformer", low=1)
        for name in ("dropout", "attention_dropout"):
            check_fraction(name, getattr(self, name), "the share that training drops")


class Transformer(nn.Module):
    """Encoder-decoder Transformer, layers normalised at their inputs, one table for all embeddings and the output.

    Parameters
    ----------
    n_tokens : int
        Size of the joint vocabulary; id `PAD` is padding.
    sizes : Sizes
        Everything else.

    Notes
    -----
    Source: Vaswani et al., "Attention is all you need" (2017), with normalisation before every block and after the
    last one, as the translation code of Cannistraci-Hebb training has it. Weights start by Glorot, biases at 0.
    """

    def __init__(self, n_tokens: int, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embedding = nn.Embedding(n_tokens, sizes.width, padding_idx=PAD)
        self.register_buffer("positions", sinusoids(sizes.positions, sizes.width), persistent=False)
        self.dropout = Dropout(sizes.dropout)
        self.encoder = nn.ModuleList(_EncoderLayer(sizes) for _ in range(sizes.layers))
        self.encoder_norm = nn.LayerNorm(sizes.width)
        self.decoder = nn.ModuleList(_DecoderLayer(sizes) for _ in range(sizes.layers))
        self.decoder_norm = nn.LayerNorm(sizes.width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.embedding.weight, std=sizes.width**-0.5)

    def forward(self, source: torch.Tensor, target_in: torch.Tensor) -> torch.Tensor:
        """Return the decoder's features at every position, float, (B, T, width); `scores` turns them into scores.

        Parameters
        ----------
        source, target_in : Tensor, int64, (B, S) and (B, T)
            Padded behind.
        """
        mask = visible(source)
        memory = self.encode(source)
        x = self._embed(target_in, 0)
        for layer in self._decoder_layers:
            x, _ = layer(x, layer.source_attention.read(memory), mask)
        features: torch.Tensor = self.decoder_norm(x)
        return features

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """Return the features of source sentences, float, (B, S, width)."""
        mask, x = visible(source), self._embed(source, 0)
        for layer in self.encoder:
            x = layer(x, mask)
        features: torch.Tensor = self.encoder_norm(x)
        return features

    def begin(self, source: torch.Tensor) -> list[LayerState]:
        """Return the state of a decoder that has said nothing about `source`, int64, (B, S)."""
        memory, states = self.encode(source), []
        for layer in self._decoder_layers:
            of_source = layer.source_attention.read(memory)
            states.append((KeyValues(*(part[:, :, :0] for part in of_source)), of_source))
        return states

    def say(
        self, tokens: torch.Tensor, states: Sequence[LayerState], mask: torch.Tensor
    ) -> tuple[torch.Tensor, list[LayerState]]:
        """Go on by one token per sentence.

        Parameters
        ----------
        tokens : Tensor, int64, (B,)
            Last token of every sentence.
        states : sequence of LayerState
            From `begin` or the last call.
        mask : Tensor, bool, (B, 1, 1, S)
            `visible` of the source.

        Returns
        -------
        scores : Tensor, float, (B, n_tokens)
            Scores of the next token.
        states : list of LayerState
            With this position.
        """
        x = self._embed(tokens[:, None], states[0][0].keys.shape[2])
        following: list[LayerState] = []
        for layer, (said, of_source) in zip(self._decoder_layers, states, strict=True):
            x, said = layer(x, of_source, mask, said)
            following.append((said, of_source))
        return self.scores(self.decoder_norm(x[:, 0])), following

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Return the scores of all tokens, float, (..., n_tokens), from features (..., width)."""
        return features @ self.embedding.weight.T

    @property
    def _decoder_layers(self) -> list[_DecoderLayer]:
        return [layer for layer in self.decoder if isinstance(layer, _DecoderLayer)]

    def _embed(self, ids: torch.Tensor, start: int) -> torch.Tensor:
        end = start + ids.shape[1]
        if end > self.sizes.positions:
            raise ShapeError(
                f"Expected sentences of at most {self.sizes.positions} tokens. Got {end}. Make positions larger."
            )
        scaled = self.embedding(ids) * math.sqrt(self.sizes.width)
        embedded: torch.Tensor = self.dropout(scaled + self.get_buffer("positions")[start:end])
        return embedded


class _EncoderLayer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention_norm, self.hidden_norm = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
        self.attention = Attention(sizes.width, sizes.heads, sizes.attention_dropout)
        self.hidden = _feed_forward(sizes)
        self.dropout = Dropout(sizes.dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, self.attention.read(normed), mask))
        following: torch.Tensor = x + self.dropout(self.hidden(self.hidden_norm(x)))
        return following


class _DecoderLayer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention_norm, self.source_norm, self.hidden_norm = (nn.LayerNorm(sizes.width) for _ in range(3))
        self.attention = Attention(sizes.width, sizes.heads, sizes.attention_dropout)
        self.source_attention = Attention(sizes.width, sizes.heads, sizes.attention_dropout)
        self.hidden = _feed_forward(sizes)
        self.dropout = Dropout(sizes.dropout)

    def forward(
        self, x: torch.Tensor, of_source: KeyValues, mask: torch.Tensor, said: KeyValues | None = None
    ) -> tuple[torch.Tensor, KeyValues]:
        """Return features and keys and values of all positions; `said` holds those of the positions before `x`."""
        normed = self.attention_norm(x)
        read = self.attention.read(normed)
        read = read if said is None else said.followed_by(read)
        # Padding lies behind every sentence, so that no position that counts looks at it.
        x = x + self.dropout(self.attention(normed, read, causal=said is None))
        x = x + self.dropout(self.source_attention(self.source_norm(x), of_source, mask))
        return x + self.dropout(self.hidden(self.hidden_norm(x))), read


def visible(source: torch.Tensor) -> torch.Tensor:
    """Return which positions of `source`, int64, (B, S), are words: bool, (B, 1, 1, S)."""
    return (source != PAD)[:, None, None]


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Return the features of positions, float32, (positions, width): sine at even, cosine at odd features.

    Notes
    -----
    ``sin(p / 10000^(2i / width))``, Vaswani et al. (2017), section 3.5.
    """
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(positions)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


def _feed_forward(sizes: Sizes) -> SparseSequential:
    return SparseSequential(
        nn.Linear(sizes.width, sizes.hidden),
        nn.ReLU(),
        Dropout(sizes.dropout),
        nn.Linear(sizes.hidden, sizes.width),
    )
