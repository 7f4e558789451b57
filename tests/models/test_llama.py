from __future__ import annotations

import pytest
import torch

import sparsecore as sc
from sparsecore.errors import UnknownNameError
from sparsecore.models.llama import SIZES, llama

transformers = pytest.importorskip("transformers", reason="the extra 'huggingface' is not installed")


@pytest.mark.parametrize(("size", "millions"), [("20m", 19.5), ("60m", 58.1), ("130m", 134.1), ("1b", 1339.1)])
def test_the_dense_model_has_as_many_parameters_as_its_name_says(size: str, millions: float) -> None:
    width, middle, heads, layers = SIZES[size]
    config = transformers.LlamaConfig(
        hidden_size=width, intermediate_size=middle, num_attention_heads=heads, num_hidden_layers=layers
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_a_model_of_links_learns_and_its_links_move() -> None:
    torch.manual_seed(0)
    model = llama("20m", density=0.05, n_tokens=100, use_cache=False)
    layers = sc.sparse_layers(model)
    assert len(layers) == 4 * 7
    assert not any(parameter.is_meta for parameter in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    dst = sc.CHTs(model, optimizer, every=3, steps=10, zeta=0.1)
    ids = torch.randint(100, (4, 16))
    losses, before = [], dst.topologies
    for _ in range(7):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        dst.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert dst.report().updates == 2
    assert losses[-1] < losses[0]
    assert all(new != old for new, old in zip(dst.topologies, before, strict=True))


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean '130m'"):
        llama("130", density=0.1)
