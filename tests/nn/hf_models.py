"""Tiny models of the transformers library, of every structure that is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra 'huggingface' is not installed")

SIZES = {"vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
MARIAN = {
    "vocab_size": 48, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "pad_token_id": 0,
    "decoder_start_token_id": 0, "bos_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": 1,
}  # fmt: skip
T5 = {"vocab_size": 48, "d_model": 32, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 4}
OPT = {"vocab_size": 48, "hidden_size": 32, "ffn_dim": 40, "num_hidden_layers": 1, "num_attention_heads": 4}
IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}

#: Class and options of its configuration.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", SIZES),
    "llama-grouped": ("LlamaForCausalLM", {**SIZES, "num_key_value_heads": 2}),
    "llama-tied": ("LlamaForCausalLM", {**SIZES, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2ForCausalLM", {**SIZES, "num_key_value_heads": 2}),
    "qwen3": ("Qwen3ForCausalLM", {**SIZES, "num_key_value_heads": 2, "head_dim": 8}),
    "phi": ("PhiForCausalLM", {**SIZES, **IDS, "partial_rotary_factor": 0.5}),
    "phi-3": ("Phi3ForCausalLM", {**SIZES, **IDS, "num_key_value_heads": 2}),
    "cohere": ("CohereForCausalLM", {**SIZES, **IDS}),
    "bert": ("BertForMaskedLM", SIZES),
    "gpt-neox": ("GPTNeoXForCausalLM", {**SIZES, **IDS, "rotary_pct": 0.5}),
    "gpt-neox-plain": ("GPTNeoXForCausalLM", {**SIZES, **IDS, "rotary_pct": 0.5, "attention_bias": False}),
    "t5": ("T5ForConditionalGeneration", T5),
    "t5-gated": ("T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu"}),
    "marian": ("MarianMTModel", MARIAN),
    "opt": ("OPTForCausalLM", {**OPT, **IDS}),
}


def config_of(family: str) -> tuple[Callable[..., torch.nn.Module], Any]:
    name, options = FAMILIES[family]
    builder = getattr(transformers, name)
    return builder, builder.config_class(**options)


def build(family: str, seed: int = 0) -> torch.nn.Module:
    builder, config = config_of(family)
    torch.manual_seed(seed)
    return builder(config).eval()


def outputs(model: torch.nn.Module, seed: int = 0) -> torch.Tensor:
    ids = torch.randint(2, 48, (2, 7), generator=torch.Generator().manual_seed(seed))
    extra = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model(input_ids=ids, **extra).logits
