"""LLaMA in the sizes of the papers, on links: built through the transformers library, never dense."""

from __future__ import annotations

from typing import Any

import torch

from sparsecore.errors import ConfigError, UnknownNameError
from sparsecore.nn import sparsify

__all__ = ["SIZES", "llama"]

#: Features, middle of the feed-forward blocks, heads and layers of every size.
SIZES: dict[str, tuple[int, int, int, int]] = {
    "20m": (256, 688, 4, 4),
    "60m": (512, 1376, 8, 8),
    "130m": (768, 2048, 12, 12),
    "1b": (2048, 5461, 32, 24),
}


def llama(
    size: str,
    *,
    density: float | None,
    n_tokens: int = 32_000,
    positions: int = 1024,
    topology: Any = None,
    seed: int = 0,
    **options: Any,
) -> Any:
    """Return a ``LlamaForCausalLM`` of which every linear layer but the head is links, or its dense twin.

    Parameters
    ----------
    size : {"20m", "60m", "130m", "1b"}
        Which one; the names count the parameters of the dense model with 32,000 tokens.
    density : float, optional
        Fraction of links in (0, 1]; ``None`` leaves every layer dense.
    n_tokens : int
        Size of the vocabulary.
    positions : int
        Longest sequence.
    topology : callable, optional
        Generator of the initial links; uniformly random when missing.
    seed : int
        Seed of links and their values; dense parts are drawn from torch's global generator.
    **options
        For ``LlamaConfig``.

    Raises
    ------
    UnknownNameError
        If there is no such size.
    ConfigError
        If the transformers library is not installed, or the density cannot work.

    Notes
    -----
    Source of the sizes: Lialin et al., "ReLoRA: High-rank training through low-rank updates" (2023), and Zhao et al.,
    "GaLore: Memory-efficient LLM training by gradient low-rank projection" (2024), as the papers use them.
    """
    if size not in SIZES:
        raise UnknownNameError("size of LLaMA", size, SIZES)
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise ConfigError(
            "Expected the transformers library. Got none. Install sparsecore-engine[huggingface]."
        ) from error
    width, middle, heads, layers = SIZES[size]
    config = LlamaConfig(
        vocab_size=n_tokens,
        hidden_size=width,
        intermediate_size=middle,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        max_position_embeddings=positions,
        **options,
    )
    if density is None:
        return LlamaForCausalLM(config)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    return sparsify(model, density=density, topology=topology, seed=seed)
