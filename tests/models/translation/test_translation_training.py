from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from sparsecore import kernels
from sparsecore.errors import CheckpointError, ConfigError, UnknownNameError
from sparsecore.io import load, save
from sparsecore.models.translation import (
    EncodedPairs,
    Pairs,
    Sizes,
    TokenBatches,
    TranslationRun,
    TranslationTask,
    TranslationTrainer,
    beam_search,
    build,
    load_multi30k,
    prepare,
    token_loss,
)
from sparsecore.models.translation.tokenizer import PAD
from sparsecore.nn import sparse_layers

pytest.importorskip("tokenizers", reason="tokenizers is not installed (extra: translation)")

SIZES = Sizes(width=32, hidden=48, heads=4, layers=1, positions=64)
RUN = TranslationRun(sizes=SIZES, density=0.2, n_tokens=300, batch_tokens=128, steps=12, every=4, rewarm=2, warmup=5)
METHODS = ["dense", "chts", "chtss", "set", "rigl"]


@pytest.fixture(autouse=True)
def _threads_stay_as_they_were() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    kernels.set_num_threads(None)


@pytest.fixture(scope="module")
def task() -> TranslationTask:
    draw = np.random.default_rng(0)
    words = ["ba", "du", "ki", "lo", "me", "ra"]
    source = [" ".join(draw.choice(words, draw.integers(2, 6))) for _ in range(300)]
    target = [text.upper() for text in source]
    parts = {"train": slice(0, 200), "valid": slice(200, 250), "test": slice(250, 300)}
    return prepare({name: Pairs(tuple(source[at]), tuple(target[at])) for name, at in parts.items()}, 300)


def trainer(task: TranslationTask, method: str, **changes: object) -> TranslationTrainer:
    return build(dataclasses.replace(RUN, method=method, **changes), task)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_ends_with_the_links_it_was_asked_for(task: TranslationTask, method: str) -> None:
    found = trainer(task, method)
    losses = [found.advance().loss for _ in range(12)]
    assert all(math.isfinite(loss) for loss in losses)
    layers = sparse_layers(found.model)
    assert len(layers) == (0 if method == "dense" else 16)
    assert all(layer.topology.n_links == round(0.2 * layer.topology.n_possible) for layer in layers.values())
    if found.evolution is not None:
        assert found.evolution.report().updates == 2


def test_the_decaying_method_starts_with_half_of_the_links(task: TranslationTask) -> None:
    layers = sparse_layers(trainer(task, "chtss").model)
    assert all(layer.topology.n_links == round(0.5 * layer.topology.n_possible) for layer in layers.values())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", [3, 4, 7])
def test_a_resumed_run_goes_on_to_the_same_bits(task: TranslationTask, method: str, cut: int, tmp_path: Path) -> None:
    whole = trainer(task, method)
    expected = [whole.advance().loss for _ in range(12)]
    begun = trainer(task, method)
    losses = [begun.advance().loss for _ in range(cut)]
    save(tmp_path / "state.safetensors", begun.state_dict())
    resumed = trainer(task, method)
    resumed.load_state_dict(load(tmp_path / "state.safetensors"))
    losses += [resumed.advance().loss for _ in range(12 - cut)]
    assert losses == expected
    for (name, one), (_, other) in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), name


def test_the_state_of_another_run_is_refused(task: TranslationTask) -> None:
    found = trainer(task, "set")
    with pytest.raises(CheckpointError, match="translation run like this one"):
        found.load_state_dict(trainer(task, "dense").state_dict())
    with pytest.raises(CheckpointError, match="translation run like this one"):
        found.load_state_dict({})


@pytest.mark.parametrize("method", ["dense", "set"])
def test_the_learning_rate_follows_its_formula(task: TranslationTask, method: str) -> None:
    found = trainer(task, method)
    for step in range(1, 13):
        found.advance()
        noam = 2.0 * 32**-0.5 * min(step**-0.5, step * 5**-1.5)
        local = 1.0 if method == "dense" else min(step % 4 / 2, 1.0)
        assert math.isclose(found.optimizer.param_groups[0]["lr"], noam * local)


def test_an_update_takes_the_place_of_a_step_of_the_optimizer(task: TranslationTask) -> None:
    found = trainer(task, "set")
    for _ in range(3):
        found.advance()
    table = found.model.embedding.weight.detach().clone()
    links = {name: layer.topology for name, layer in sparse_layers(found.model).items()}
    found.advance()
    torch.testing.assert_close(found.model.embedding.weight.detach(), table, rtol=0, atol=0)
    assert all(layer.topology != links[name] for name, layer in sparse_layers(found.model).items())


@pytest.mark.parametrize("density", [0.05, 0.2, 1.0])
def test_first_values_have_the_variance_of_glorot_over_the_density(task: TranslationTask, density: float) -> None:
    sizes = dataclasses.replace(SIZES, width=128, hidden=256)
    if density == 1.0:
        layer = trainer(task, "dense", sizes=sizes).model.encoder[0].hidden[0].weight
    else:
        layer = trainer(task, "set", sizes=sizes, density=density).model.encoder[0].hidden[0].values
    expected = math.sqrt(2 / (density * (128 + 256)))
    assert math.isclose(layer.detach().std().item(), expected, rel_tol=0.1)


def test_loss_per_token_is_that_of_all_sentences_one_by_one(task: TranslationTask) -> None:
    model = trainer(task, "set").model
    batches = TokenBatches(task.encoded["valid"], 128, 0)
    total = n = 0.0
    model.eval()
    for row in range(50):
        one = batches.take(np.array([row]))
        scores = model.scores(model(one.source, one.target_in))[0]
        total += functional.cross_entropy(scores, one.target_out[0], reduction="sum").item()
        n += int((one.target_out != PAD).sum())
    model.train()
    assert math.isclose(token_loss(model, batches), total / n, rel_tol=1e-5)
    assert model.training


def test_the_model_learns_to_translate(task: TranslationTask) -> None:
    few = {**task.encoded, "train": EncodedPairs(task.encoded["train"].source[:4], task.encoded["train"].target[:4])}
    small = dataclasses.replace(task, encoded=few)
    sizes = dataclasses.replace(SIZES, dropout=0.0, attention_dropout=0.0)
    found = trainer(small, "chts", steps=300, every=100, warmup=30, density=0.3, sizes=sizes, lr=1.0)
    for _ in range(300):
        found.advance()
    assert beam_search(found.model, few["train"].source, width=2) == few["train"].target


def test_real_sentences_are_learned(data_folder: Path) -> None:
    pairs = {part: Pairs(found.source[:400], found.target[:400]) for part, found in load_multi30k(data_folder).items()}
    task = prepare(pairs, 600)
    sizes = dataclasses.replace(SIZES, width=64, hidden=128, positions=128)
    found = trainer(task, "chts", sizes=sizes, batch_tokens=512, steps=60, every=20, warmup=30, lr=1.0)
    valid = TokenBatches(task.encoded["valid"], 2048, 0)
    before = token_loss(found.model, valid)
    for _ in range(60):
        found.advance()
    assert token_loss(found.model, valid) < before - 1.0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "chtz"}, UnknownNameError, "Did you mean"),
        ({"density": 0.0}, ConfigError, "density"),
        ({"lr": 0.0}, ConfigError, "learning rate"),
        ({"rewarm": 5}, ConfigError, "warm-up"),
        ({"zeta_schedule": "linear"}, ConfigError, "zeta_schedule"),
        ({"sizes": Sizes(width=30, heads=4), "method": "dense"}, ConfigError, "heads divide"),
    ],
)
def test_bad_options_are_refused(
    task: TranslationTask, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(dataclasses.replace(RUN, **changes), task)
