from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra 'huggingface' is not installed")

import sparsecore as sc  # noqa: E402
from sparsecore.errors import CheckpointError, ConfigError  # noqa: E402
from sparsecore.integrations.pretrained import from_pretrained  # noqa: E402

SIZES = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 48}
IDS = torch.arange(16).reshape(2, 8)


def saved(folder: Path, task: str = "CausalLM", config: Any = None, *, include: Any = None, **options: Any) -> Any:
    torch.manual_seed(0)
    made = (config or transformers.LlamaConfig)(**SIZES, pad_token_id=0)
    model = getattr(transformers, f"AutoModelFor{task}").from_config(made, **options)
    sc.sparsify(model, density=0.2, include=include, seed=0).eval().save_pretrained(folder)
    return model


@pytest.mark.parametrize("include", [None, ["*proj", "lm_head"]], ids=["dense head", "sparse head"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_for_another_task_takes_the_base_and_a_new_head(tmp_path: Path, include: Any, dtype: Any) -> None:
    model = saved(tmp_path, include=include, dtype=dtype)
    for builder in (transformers.AutoModelForSequenceClassification, transformers.LlamaForSequenceClassification):
        with pytest.raises(CheckpointError, match=r"values of score\.weight .* new=\[...\]"):
            from_pretrained(builder, tmp_path)
        torch.manual_seed(3)
        twin = from_pretrained(builder, tmp_path, new=["score*"])
        expected = model.model(IDS).last_hidden_state
        assert torch.equal(twin.model(IDS).last_hidden_state, expected)
        assert twin.score.weight.dtype == dtype
        assert 0.01 < twin.score.weight.float().std() < 0.04  # the configuration's 0.02, not what memory held
        assert twin(IDS).logits.shape == (2, 2)
    twin.save_pretrained(tmp_path / "tuned")
    again = from_pretrained(builder, tmp_path / "tuned", new=["score*"])
    assert torch.equal(again.score.weight, twin.score.weight)


@pytest.mark.parametrize(
    ("task", "config", "inside", "outside"),
    [
        ("CausalLM", transformers.LlamaConfig, [], ["lm_head"]),
        ("MaskedLM", transformers.BertConfig, ["pooler"], ["cls"]),  # its decoder is tied
    ],
    ids=["llama", "bert"],
)
def test_a_base_model_comes_out_of_a_head_and_goes_below_one(
    tmp_path: Path, task: str, config: type, inside: list[str], outside: list[str]
) -> None:
    whole = saved(tmp_path / "whole", task, config, include=["*layer*"])
    base = from_pretrained(transformers.AutoModel, tmp_path / "whole", new=inside)
    expected = whole.base_model(IDS).last_hidden_state
    assert torch.equal(base(IDS).last_hidden_state, expected)
    assert len(sc.sparse_layers(base)) == len(sc.sparse_layers(whole))
    base.save_pretrained(tmp_path / "base")
    back = from_pretrained(type(whole), tmp_path / "base", new=outside)
    assert torch.equal(back.base_model(IDS).last_hidden_state, expected)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("bfloat16", torch.bfloat16), ("half", torch.float16), ("auto", torch.float64), (None, torch.float64)],
)
def test_types_have_the_names_that_transformers_takes(tmp_path: Path, dtype: str | None, kind: torch.dtype) -> None:
    saved(tmp_path, dtype=torch.float64)
    model = from_pretrained(transformers.AutoModelForCausalLM, tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {kind}
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32  # computed, not stored: positions need the digits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat17"}, "Got 'bfloat17'"),
        ({"dtype": torch.int8}, r"Got torch\.int8"),
        ({"new": "score*"}, r"Write \['score\*'\]"),
        ({"new": ["scores*"]}, "matches a module. Got 'scores"),
    ],
)
def test_options_that_cannot_work_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    saved(tmp_path)
    with pytest.raises(ConfigError, match=message):
        from_pretrained(transformers.AutoModelForSequenceClassification, tmp_path, **options)


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        ("BertForMaskedLM", "Expected BertForMaskedLM to be built from the LlamaConfig of .* Got AttributeError"),
        ("AutoModelForMaskedLM", "Got ValueError: Unrecognized configuration class"),
    ],
)
def test_a_class_of_another_architecture_is_refused(tmp_path: Path, builder: str, message: str) -> None:
    saved(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(getattr(transformers, builder), tmp_path)


def test_a_module_that_is_stored_in_part_does_not_start_anew(tmp_path: Path) -> None:
    saved(tmp_path)
    config = transformers.LlamaConfig(**SIZES, mlp_bias=True)
    with pytest.raises(CheckpointError, match=r"values of model\.layers\.0\.mlp\.down_proj\.bias"):
        from_pretrained(transformers.LlamaForCausalLM, tmp_path, config=config, new=["*mlp*"])


def test_the_class_that_wrote_the_files_leaves_no_links_out(tmp_path: Path) -> None:
    model = saved(tmp_path / "plain")
    model.extra = torch.nn.Linear(4, 4)
    sc.sparsify(model, density=0.5, include=["extra"], seed=0).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="linear layer 'extra'"):
        from_pretrained(transformers.LlamaForCausalLM, tmp_path)


def test_damaged_settings_of_generation_are_named(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="settings of generation in"):
        from_pretrained(transformers.LlamaForCausalLM, tmp_path)
    assert from_pretrained(transformers.LlamaModel, tmp_path).config.vocab_size == 48
