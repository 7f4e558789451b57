from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import matthews_corrcoef

transformers = pytest.importorskip("transformers", reason="the extra 'huggingface' is not installed")

import sparsecore as sc  # noqa: E402
from sparsecore.errors import ConfigError  # noqa: E402
from sparsecore.integrations.lm_eval import _zero_shot, evaluate, main, matthews  # noqa: E402
from sparsecore.integrations.pretrained import from_pretrained  # noqa: E402

CHOICES = (" no", " yes", " maybe")


def test_matthews_is_that_of_two_kinds_and_of_more() -> None:
    # Two kinds: (tp tn - fp fn) / sqrt((tp + fp)(tp + fn)(tn + fp)(tn + fn)) with tp 2, tn 3, fp 1, fn 2.
    assert matthews([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 1, 0, 0, 0]) == pytest.approx(4 / 240**0.5)
    assert matthews([0, 1, 2, 0], [0, 1, 2, 0]) == pytest.approx(1.0)
    assert matthews([2, 2], [2, 2]) == 0.0


CONFIG = {"output_type": "multiple_choice"}
METRICS = [{"metric": "acc"}, {"metric": "acc_mutual_info"}]


@pytest.mark.parametrize(
    ("config", "likelihoods", "expected"),
    [
        (CONFIG, [-5.0, -6.0, -2.0, -3.0], (0.0, 0.0)),
        (CONFIG | {"metric_list": METRICS[:1]}, [-5.0, -6.0], (0.5, 0.0)),
        # The choices without their question follow: the third and the fourth are no choices.
        (CONFIG | {"metric_list": METRICS}, [-5.0, -6.0, -2.0, -3.0], (0.5, 0.0)),
        # The target is a placeholder where the task judges by itself.
        (CONFIG | {"process_results": "def process_results_mc2(doc, results): ..."}, [-5.0, -6.0], (None, None)),
        (CONFIG | {"output_type": "loglikelihood"}, [-5.0], (None, None)),
    ],
)
def test_only_the_choices_of_a_task_are_compared(
    config: dict[str, Any], likelihoods: list[float], expected: tuple[float | None, float | None]
) -> None:
    samples = [{"target": target, "filtered_resps": [(value, False) for value in likelihoods]} for target in (0, 1)]
    found = _zero_shot({"acc,none": 1.0, "acc_stderr,none": 0.1}, samples, config)
    assert (found.n, found.metrics) == (2, {"acc": 1.0})
    assert (found.accuracy, found.mcc) == expected


def test_the_harness_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"sparsecore-engine\[eval\]"):
        evaluate(tmp_path, ["piqa"])
    assert main([str(tmp_path), "--tasks", "piqa"]) == 2
    assert "lm-eval" in capsys.readouterr().err


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name, value in {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return pytest.importorskip("lm_eval", reason="the extra 'eval' is not installed")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A model of links that has learned from half of the questions, and its tokenizer."""
    from sparsecore.models.pretrain.tokens import make_tokenizer

    tokenizer = make_tokenizer("bpe:300", [document for document, _ in questions()])
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = sc.sparsify(transformers.LlamaForCausalLM(config), density=0.5, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        for text, answer in questions()[::2]:
            ids = tokenizer(text + CHOICES[answer], return_tensors="pt").input_ids
            model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def questions() -> list[tuple[str, int]]:
    return [(f"{number} is{CHOICES[number % 3]}, so it is", number % 3) for number in range(24)]


def task(folder: Path) -> Path:
    """A task of the harness as files; returns its folder."""
    tasks = folder / "tasks"
    tasks.mkdir()
    rows = [json.dumps({"text": text, "label": answer}) for text, answer in questions()]
    (tasks / "rows.jsonl").write_text("\n".join(rows) + "\n")
    (tasks / "numbers.yaml").write_text(
        "task: numbers\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    validation: {tasks / 'rows.jsonl'}\n"
        "validation_split: validation\noutput_type: multiple_choice\n"
        "doc_to_text: '{{text}}'\ndoc_to_choice: [' no', ' yes', ' maybe']\ndoc_to_target: label\n"
        "target_delimiter: ''\nmetric_list:\n  - metric: acc\n  - metric: mcc\n"
    )
    return tasks


@pytest.mark.filterwarnings("default")  # libraries of the harness warn of each other
def test_a_saved_model_is_evaluated_as_by_hand(
    harness: Any, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = task(tmp_path)
    found = evaluate(saved, ["numbers"], include=tasks, batch_size=4)["numbers"]
    model = from_pretrained(transformers.AutoModelForCausalLM, saved)
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
    given = [by_hand(model, tokenizer, text) for text, _ in questions()]
    right = [answer for _, answer in questions()]
    assert found.n == 24
    assert (
        found.accuracy
        == found.metrics["acc"]
        == pytest.approx(sum(a == b for a, b in zip(right, given, strict=True)) / 24)
    )
    assert found.mcc == pytest.approx(found.metrics["mcc"]) == pytest.approx(matthews_corrcoef(right, given))
    assert found.accuracy > 1 / 3 and found.mcc > 0
    assert main([str(saved), "--tasks", "numbers", "--include", str(tasks), "--limit", "5"]) == 0
    assert "documents 5" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="names of tasks of lm-eval. Got nombers"):
        evaluate(saved, ["nombers"], include=tasks)


@torch.no_grad()
def by_hand(model: Any, tokenizer: Any, text: str) -> int:
    """Return the most likely choice by the model's own probabilities."""
    scores = []
    for choice in CHOICES:
        ids = tokenizer(text + choice, return_tensors="pt").input_ids
        begin = len(tokenizer(text).input_ids)
        logs = model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        scores.append(float(logs[begin - 1 :].sum()))
    return max(range(len(CHOICES)), key=scores.__getitem__)
