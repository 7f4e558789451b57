from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sparsecore.errors import ConfigError
from sparsecore.planning import plan_model

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra huggingface)")

from sparsecore.integrations.outline import outline_pretrained  # noqa: E402

LLAMA = {
    "model_type": "llama",
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
}


def test_sizes_are_those_of_the_model_and_activations_what_backward_keeps() -> None:
    outline = outline_pretrained(LLAMA, 2, 16)
    model = transformers.LlamaForCausalLM(transformers.AutoConfig.for_model(**LLAMA))
    assert outline.possible == 2 * (4 * 64 * 64 + 3 * 64 * 96)
    assert outline.possible + outline.other_weights == sum(p.numel() for p in model.parameters())
    assert outline.rows == 32
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    held: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            held[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = model(input_ids=torch.zeros(2, 16, dtype=torch.long)).logits
        loss = torch.nn.functional.log_softmax(scores, -1).mean()
    assert loss.requires_grad
    assert outline.dense_bytes == sum(storage.nbytes() for storage in held.values())
    assert outline.links_bytes > outline.dense_bytes
    costs = plan_model(outline, density=0.05).costs
    assert costs["links"].step < costs["dense"].step < costs["masked"].step


def test_a_folder_a_file_and_an_encoder_decoder_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"architectures": ["LlamaForCausalLM"]}))
    assert outline_pretrained(tmp_path, 2, 16) == outline_pretrained(tmp_path / "config.json", 2, 16)
    t5 = {"model_type": "t5", "d_model": 32, "d_ff": 64, "d_kv": 8, "num_heads": 4, "num_layers": 1, "vocab_size": 50}
    found = outline_pretrained(t5 | {"architectures": ["T5ForConditionalGeneration"]}, 2, 8)
    assert found.possible == 3 * 4 * 32 * 32 + 2 * 2 * 32 * 64


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 65},
        {"num_attention_heads": 3},
        {"num_attention_heads": 0},
        {"hidden_size": "64"},
        {"num_hidden_layers": None},
        {"architectures": 3},
    ],
)
def test_sizes_that_do_not_fit_and_wrong_types_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^Expected a model that takes token ids\. Got llama, which fails"):
        outline_pretrained(LLAMA | changes, 1, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "a model_type"), ("[]", "an object"), ("{", "a configuration"), ('{"model_type": "vit"}', "token ids")],
)
def test_what_is_no_language_model_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        outline_pretrained(tmp_path, 1, 4)
