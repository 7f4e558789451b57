from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra 'huggingface' is not installed")
pytest.importorskip("accelerate", reason="the extra 'huggingface' is not installed")

import sparsecore as sc  # noqa: E402
from sparsecore.errors import CheckpointError, ConfigError  # noqa: E402
from sparsecore.integrations import transformers as integration  # noqa: E402
from sparsecore.integrations.pretrained import from_pretrained  # noqa: E402
from sparsecore.integrations.transformers import EvolutionCallback, SparseTrainer, last_checkpoint  # noqa: E402
from sparsecore.io import load, save  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),  # torch.compile looks at it by itself
]
SIZES = {"vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4}


def llama(**options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, **options))
    return sc.sparsify(model, density=0.2, seed=0)


def sentences() -> list[dict[str, torch.Tensor]]:
    ids = torch.randint(48, (64, 8), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": row} for row in ids]


def trainer(
    folder: Path, callback: Any, *, steps: int = 9, model: torch.nn.Module | None = None, **options: Any
) -> Any:
    arguments = {
        "max_steps": steps, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "save_steps": 4,
        "logging_steps": 3, "report_to": [], "use_cpu": True, "disable_tqdm": True, "learning_rate": 1e-2, "seed": 5,
    }  # fmt: skip
    made = transformers.TrainingArguments(str(folder), **{**arguments, **options})
    return transformers.Trainer(model or llama(), made, train_dataset=sentences(), callbacks=[callback])


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    method = {"method": sc.CHTs, "every": 3, "zeta": 0.3}
    through, resumed = (EvolutionCallback(**method) for _ in range(2))
    one = trainer(tmp_path, through)
    one.train()
    two = trainer(tmp_path, resumed)
    two.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert (through.evolution.report().step, through.evolution.report().updates) == (9, 2)
    assert through.evolution.report() == type(through.evolution.report())(
        **{**vars(resumed.evolution.report()), "last_update_s": through.evolution.report().last_update_s}
    )
    for (name, a), (_, b) in zip(one.model.state_dict().items(), two.model.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    states = [run.optimizer.state_dict()["state"] for run in (one, two)]
    for mine, other in zip(states[0].values(), states[1].values(), strict=True):
        assert all(torch.equal(mine[key], other[key]) for key in mine)


def test_accumulated_batches_are_one_step_and_the_gradient_is_there(tmp_path: Path) -> None:
    callback = EvolutionCallback(sc.RigL, every=2)
    run = trainer(tmp_path, callback, steps=5, save_strategy="no")
    before = {name: layer.topology for name, layer in sc.sparse_layers(run.model).items()}
    run.train()
    report = callback.evolution.report()
    assert (report.step, report.updates) == (5, 2)
    assert all(layer.topology != before[name] for name, layer in sc.sparse_layers(run.model).items())
    assert [layer.n_links for layer in report.layers] and report.n_links == sum(t.n_links for t in before.values())


@pytest.mark.parametrize(
    "options",
    [
        {"bf16": True},
        {"max_grad_norm": 0.1},
        {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}},
        {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": True}},
    ],
    ids=["autocast", "clipping", "recomputing", "recomputing-reentrant"],
)
def test_what_people_switch_on_works(tmp_path: Path, options: dict[str, Any]) -> None:
    callback = EvolutionCallback(sc.CHTs, every=2, zeta=0.3)
    run = trainer(tmp_path, callback, steps=5, save_strategy="no", **options)
    run.train()
    assert callback.evolution.report().updates == 2
    assert all(math.isfinite(entry["loss"]) for entry in run.state.log_history if "loss" in entry)


def test_recomputed_activations_give_the_gradients_of_kept_ones() -> None:
    ids = torch.stack([row["input_ids"] for row in sentences()[:4]])
    gradients = []
    for reentrant in (None, False, True):
        model = llama(use_cache=False).train()
        if reentrant is not None:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model(input_ids=ids, labels=ids).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for other in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], other, strict=True))


def test_a_compiled_model_breaks_its_graph_at_links_and_gives_the_same() -> None:
    ids = torch.stack([row["input_ids"] for row in sentences()[:2]])
    model = llama(use_cache=False)
    model(input_ids=ids, labels=ids).loss.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    torch.compile(model, backend="eager")(input_ids=ids, labels=ids).loss.backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_numbers_go_to_the_log_and_to_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    callback = EvolutionCallback(sc.SET, every=2)
    run = trainer(tmp_path, callback, steps=6, save_strategy="no", report_to=["tensorboard"])
    run.train()
    logged = [entry for entry in run.state.log_history if "sparsecore/links" in entry]
    assert logged[-1]["sparsecore/links"] == callback.evolution.report().n_links
    events = accumulator.EventAccumulator(str(tmp_path / "runs" / "sparsecore"))
    events.Reload()
    names = ("links", "density", "anp", "itop", "overlap", "updates")
    assert {f"sparsecore/{name}" for name in names} == set(events.Tags()["scalars"])
    assert events.Scalars("sparsecore/itop")[-1].value == pytest.approx(callback.evolution.report().itop)


def test_numbers_go_to_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    callback = EvolutionCallback(sc.SET, every=2)
    trainer(tmp_path, callback, steps=3, save_strategy="no", report_to=["wandb"]).train()
    wandb.finish()
    wandb.teardown()  # the file is written by a process of its own
    written = [numbers for path in tmp_path.rglob("run-*.wandb") for numbers in wandb_history(path)]
    ours = [numbers for numbers in written if "sparsecore/links" in numbers]
    assert ours[-1]["train/global_step"] == 3
    assert ours[-1]["sparsecore/links"] == callback.evolution.report().n_links
    assert {f"sparsecore/{name}" for name in ("density", "anp", "itop", "overlap", "updates")} <= ours[-1].keys()


def wandb_history(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what a run that was not online has logged: its file is a log of blocks as LevelDB writes them."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, message = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if kind == 0 or 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        message += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record.FromString(message)
            message = b""
            items = record.history.item if record.HasField("history") else ()
            yield {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_resuming_needs_the_state_of_the_evolution(tmp_path: Path) -> None:
    trainer(tmp_path, EvolutionCallback(sc.SET, every=2), steps=4).train()
    saved = tmp_path / "checkpoint-4" / "sparsecore.safetensors"
    moved = tmp_path / "elsewhere" / saved.name
    moved.parent.mkdir()
    saved.rename(moved)
    with pytest.raises(CheckpointError, match="no such file"):
        trainer(tmp_path, EvolutionCallback(sc.SET, every=2), steps=6).train(resume_from_checkpoint=str(saved.parent))
    callback = EvolutionCallback(sc.SET, every=2, checkpoint=moved.parent)
    trainer(tmp_path, callback, steps=6).train(resume_from_checkpoint=str(saved.parent))
    assert callback.evolution.report().step == 6


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    for seed, name in ((1, "one"), (2, "two")):
        trainer(tmp_path / name, EvolutionCallback(sc.SET, every=2, seed=seed), steps=4).train()
    source = tmp_path / "one" / "checkpoint-4"
    resumed = trainer(tmp_path / "two", EvolutionCallback(sc.SET, every=2, seed=1), steps=6)
    with pytest.raises(CheckpointError, match=r"Got that of another run\. Name the folder"):
        resumed.train(resume_from_checkpoint=str(source))
    callback = EvolutionCallback(sc.SET, every=2, seed=1, checkpoint=source)
    trainer(tmp_path / "two", callback, steps=6).train(resume_from_checkpoint=str(source))
    assert (callback.evolution.report().step, callback.evolution.seed) == (6, 1)


def test_the_state_of_an_earlier_version_is_taken(tmp_path: Path) -> None:
    trainer(tmp_path, EvolutionCallback(sc.SET, every=2), steps=4).train()
    path = tmp_path / "checkpoint-4" / "sparsecore.safetensors"
    save(path, {name: part for name, part in load(path).items() if name != "links"})
    callback = EvolutionCallback(sc.SET, every=2)
    trainer(tmp_path, callback, steps=6).train(resume_from_checkpoint=str(path.parent))
    assert callback.evolution.report().step == 6


def test_the_newest_checkpoint_is_looked_for_under_numbers_alone(tmp_path: Path) -> None:
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-best", "checkpoint-10-old", "checkpoint-"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path, evolved=False) == str(tmp_path / "checkpoint-10")
    assert last_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"find_unused_parameters": True}),
        ({"ddp_find_unused_parameters": False}, {"find_unused_parameters": False}),
        (
            {"ddp_bucket_cap_mb": 3, "ddp_broadcast_buffers": False},
            {"find_unused_parameters": True, "bucket_cap_mb": 3, "broadcast_buffers": False},
        ),
    ],
)
def test_arguments_of_the_trainer_reach_the_averaging_of_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    reached = {}
    monkeypatch.setattr(integration, "_several", lambda: True)
    monkeypatch.setattr(integration, "DataParallel", lambda model, **options: reached.update(options) or model)
    arguments = transformers.TrainingArguments(str(tmp_path), report_to=[], use_cpu=True, **given)
    run = SparseTrainer(llama(), arguments, train_dataset=sentences())
    run._wrap_model(run.model)
    assert reached == {"device_ids": None, **expected}


def test_a_dense_model_is_refused(tmp_path: Path) -> None:
    dense = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))
    with pytest.raises(ConfigError, match="SparseLinear"):
        trainer(tmp_path, EvolutionCallback(sc.SET, every=2), model=dense).train()


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_comes_back_from_disk_as_links(tmp_path: Path, tied: bool) -> None:
    torch.manual_seed(0)
    sizes = {**SIZES, "hidden_size": 256, "intermediate_size": 512, "tie_word_embeddings": tied}
    dense = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).eval()
    dense.generation_config.max_new_tokens = 5
    dense.save_pretrained(tmp_path / "dense")
    model = sc.sparsify(dense, density=0.05, seed=0)
    model.save_pretrained(tmp_path / "sparse")
    sizes_bytes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("dense", "sparse")]
    n_links = sum(layer.topology.n_links for layer in sc.sparse_layers(model).values())
    rest = sum(p.numel() for name, p in model.named_parameters() if not name.endswith(".values"))
    assert sizes_bytes[1] < 8 * n_links + 4 * rest + 40_000 < sizes_bytes[0] / 5
    ids = torch.stack([row["input_ids"] for row in sentences()[:2]])
    for builder in (transformers.LlamaForCausalLM, transformers.AutoModelForCausalLM):
        twin = from_pretrained(builder, tmp_path / "sparse")
        assert torch.equal(twin(input_ids=ids).logits, model(input_ids=ids).logits)
        assert (twin.lm_head.weight is twin.model.embed_tokens.weight) == tied
        assert not twin.training
        assert twin.generation_config.max_new_tokens == 5
    half = from_pretrained(transformers.LlamaForCausalLM, tmp_path / "sparse", dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_a_model_in_parts_comes_back_too(tmp_path: Path) -> None:
    model = llama().eval()
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    twin = from_pretrained(transformers.LlamaForCausalLM, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="model.safetensors"):
        from_pretrained(transformers.LlamaForCausalLM, tmp_path)
    llama().save_pretrained(tmp_path)
    wider = transformers.LlamaConfig(**{**SIZES, "vocab_size": 50})
    with pytest.raises(CheckpointError, match="embed_tokens.weight' of shape"):
        from_pretrained(transformers.LlamaForCausalLM, tmp_path, config=wider)
    deeper = transformers.LlamaConfig(**{**SIZES, "num_hidden_layers": 2})
    with pytest.raises(CheckpointError, match=r"Expected values of model\.layers\.1"):
        from_pretrained(transformers.LlamaForCausalLM, tmp_path, config=deeper)
    with pytest.raises(CheckpointError, match="linear layer 'model.layers.0"):
        from_pretrained(transformers.OPTForCausalLM, tmp_path, config=transformers.OPTConfig(num_hidden_layers=0))
