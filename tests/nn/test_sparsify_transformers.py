from __future__ import annotations

import math

import pytest
import torch
from hf_models import FAMILIES, IDS, SIZES, build, config_of, outputs, transformers
from torch import nn

from sparsecore.engine import PeakMemory
from sparsecore.errors import ConfigError
from sparsecore.nn import SparseLinear, sparse_layers, sparsify


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_on_the_meta_device_becomes_the_one_built_with_weights(family: str) -> None:
    builder, config = config_of(family)
    with torch.device("meta"):
        model = builder(config)
    torch.manual_seed(0)
    sparsify(model.eval(), density=0.2, seed=3)
    twin = sparsify(build(family), density=0.2, seed=3)
    assert model.state_dict().keys() == twin.state_dict().keys()
    for name, layer in sparse_layers(twin).items():
        assert model.get_submodule(name).topology == layer.topology
    for (name, a), (_, b) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert a.device.type == "cpu"
        assert math.isclose(float(a.detach().std()), float(b.detach().std()), rel_tol=0.25, abs_tol=1e-6), name
    for (name, a), (_, b) in zip(model.named_buffers(), twin.named_buffers(), strict=True):
        assert torch.equal(a, b), name
    head, twin_head = model.get_output_embeddings(), twin.get_output_embeddings()
    tied = [m.get_input_embeddings().weight is h.weight for m, h in ((model, head), (twin, twin_head))]
    assert tied[0] == tied[1]
    assert outputs(model).isfinite().all()


def test_empty_weights_of_accelerate_keep_ties_and_what_has_values() -> None:
    accelerate = pytest.importorskip("accelerate", reason="the extra 'huggingface' is not installed")
    builder, config = config_of("llama-tied")
    with accelerate.init_empty_weights():
        model = builder(config)
    turning = model.model.rotary_emb.inv_freq.clone()
    sparsify(model, density=0.2, seed=3)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.model.rotary_emb.inv_freq, turning)
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_no_dense_weight_is_built_on_the_way() -> None:
    sizes = {**SIZES, "hidden_size": 8192, "intermediate_size": 32768, "num_hidden_layers": 1}
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    dense_bytes = 4 * sum(p.numel() for p in model.parameters())
    memory = PeakMemory()
    sparsify(model, density=1e-4, seed=0)
    assert memory.rise_bytes() < dense_bytes / 30


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_and_head_stay_dense_and_the_rest_becomes_sparse(family: str) -> None:
    model = sparsify(build(family), density=0.2, seed=0)
    dense = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    head = {"bert": ["cls.predictions.transform.dense", "cls.predictions.decoder"]}
    assert dense == head.get(family, ["lm_head"])
    assert isinstance(model.get_input_embeddings(), nn.Embedding)


def test_a_model_without_a_head_becomes_sparse_as_a_whole() -> None:
    model = transformers.LlamaModel(transformers.LlamaConfig(**SIZES))
    sparsify(model, density=0.2, seed=0)
    assert not any(isinstance(module, nn.Linear) for module in model.modules())


def test_a_classifier_on_top_stays_dense() -> None:
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES))
    sparsify(model, density=0.2, seed=0)
    assert [name for name, m in model.named_modules() if isinstance(m, nn.Linear)] == ["classifier"]
    assert isinstance(model.bert.pooler.dense, SparseLinear)


def test_a_tied_head_is_refused_when_it_is_named() -> None:
    with pytest.raises(ConfigError, match="'lm_head', whose weight another module shares"):
        sparsify(build("llama-tied"), density=0.2, include=["*"])


def test_a_model_of_convolutions_that_act_as_linear_layers_says_why_not() -> None:
    config = transformers.GPT2Config(vocab_size=48, n_embd=32, n_layer=1, n_head=4, **IDS)
    with pytest.raises(ConfigError, match=r"Got none of: lm_head\. .* Only nn\.Linear has links"):
        sparsify(transformers.GPT2LMHeadModel(config), density=0.2)
    with pytest.raises(ConfigError, match="matches only Conv1D"):
        sparsify(transformers.GPT2LMHeadModel(config), density=0.2, include=["*c_attn"])
