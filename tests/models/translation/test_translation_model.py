from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sparsecore.errors import ConfigError, ShapeError
from sparsecore.evolution import Evolution
from sparsecore.models.translation import Attention, Sizes, Transformer, beam_search
from sparsecore.models.translation.dropout import Dropout
from sparsecore.models.translation.loss import add_gradients, mean_loss
from sparsecore.models.translation.tokenizer import BOS, EOS, PAD
from sparsecore.models.translation.transformer import sinusoids, visible
from sparsecore.nn import SparseLinear, find_chains, sparsify

SIZES = Sizes(width=16, hidden=24, heads=4, layers=2, positions=40)
N_TOKENS = 23


def transformer(density: float | None = None, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(N_TOKENS, SIZES)
    nn.init.normal_(model.embedding.weight, std=0.5)
    with torch.no_grad():
        model.embedding.weight[PAD] = 0.0
    if density is not None:
        sparsify(model, density=density, include=["encoder.*", "decoder.*"], seed=seed)
    return model.eval()


def sentences(n: int, length: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(3, N_TOKENS, (n, length), generator=torch.Generator().manual_seed(seed))


def both(function: object) -> object:
    return pytest.mark.parametrize("density", [None, 0.4], ids=["dense", "sparse"])(function)


@both
def test_no_position_sees_a_later_one(density: float | None) -> None:
    model, source, target = transformer(density), sentences(3, 6), sentences(3, 8, seed=2)
    changed = target.clone()
    changed[:, 5:] = sentences(3, 3, seed=3)
    before, after = model(source, target), model(source, changed)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@both
def test_gradients_do_not_come_from_later_positions(density: float | None) -> None:
    model, source = transformer(density), sentences(1, 5)
    model(source, torch.tensor([[BOS, 5, 6, 7]]))[0, 1, 0].backward()  # a normalised sum has no gradient
    grad = model.embedding.weight.grad
    assert grad is not None
    only_later = {6, 7} - set(source.flatten().tolist())
    assert all(grad[token].abs().sum() == 0 for token in only_later)
    assert grad[5].abs().sum() > 0


@both
def test_padding_has_no_influence(density: float | None) -> None:
    model, source, target = transformer(density), sentences(2, 5), sentences(2, 4, seed=2)
    wide = functional.pad(source, (0, 3), value=PAD)
    long = functional.pad(target, (0, 2), value=PAD)
    torch.testing.assert_close(model(source, target), model(wide, long)[:, :4])
    with torch.no_grad():
        model.embedding.weight[PAD] = 100.0
    torch.testing.assert_close(model(source, target), model(wide, long)[:, :4])


@both
def test_one_token_at_a_time_gives_the_scores_of_all_at_once(density: float | None) -> None:
    model, source, target = transformer(density), sentences(3, 6), sentences(3, 7, seed=2)
    source[0, 4:] = PAD
    whole = model.scores(model(source, target))
    states = model.begin(source)
    for place in range(target.shape[1]):
        scores, states = model.say(target[:, place], states, visible(source))
        torch.testing.assert_close(scores, whole[:, place], rtol=1e-4, atol=1e-5)


def whole_search(model: Transformer, source: list[int], width: int, power: float, limit: int) -> list[int]:
    """Beam search that computes every beginning anew from its first token."""
    begun, ended = [(0.0, [BOS])], []
    ids = torch.tensor([[*source, EOS]])
    for length in range(1, limit + 1):
        candidates = []
        for total, said in begun:
            scores = model.scores(model(ids, torch.tensor([said]))[0, -1])
            scores[[PAD, BOS]] = -torch.inf
            shares = scores.log_softmax(0)
            candidates += [(total + float(shares[token]), [*said, token]) for token in range(3 - 1, N_TOKENS)]
        candidates = sorted(candidates, key=lambda candidate: -candidate[0])
        ended += [(t / length**power, said[1:-1]) for t, said in candidates[:width] if said[-1] == EOS]
        if len(ended) >= width:
            break
        begun = [candidate for candidate in candidates[: 2 * width] if candidate[1][-1] != EOS][:width]
    return max(ended, key=lambda found: found[0])[1] if ended else begun[0][1][1:]


@both
@pytest.mark.parametrize("width", [1, 2, 3])
@torch.no_grad()
def test_search_with_kept_keys_finds_what_search_without_them_finds(density: float | None, width: int) -> None:
    model = transformer(density, seed=3)
    model.embedding.weight[EOS] *= 3.0  # so that some sentences end early, others late or never
    sources = [sentences(1, length, seed=length)[0].tolist() for length in (3, 7, 2, 5, 5, 4)]
    found = beam_search(model, sources, width=width, batch=4)
    for source, ids in zip(sources, found, strict=True):
        assert ids == whole_search(model, source, width, 1.0, 2 * (len(source) + 1) + 10)
    assert len({len(ids) for ids in found}) > 1


@torch.no_grad()
def test_a_beam_of_one_is_greedy() -> None:
    model, source = transformer(seed=5), sentences(1, 6)[0].tolist()
    ids, said = torch.tensor([[*source, EOS]]), [BOS]
    while len(said) <= 24 and (len(said) == 1 or said[-1] != EOS):
        scores = model.scores(model(ids, torch.tensor([said]))[0, -1])
        scores[[PAD, BOS]] = -torch.inf
        said.append(int(scores.argmax()))
    greedy = said[1:-1] if said[-1] == EOS else said[1:]
    assert beam_search(model, [source], width=1) == [greedy]


def test_search_leaves_the_mode_of_the_model_as_it_was() -> None:
    model = transformer().train()
    beam_search(model, [[4, 5]])
    assert model.training


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("n", [1, 255, 600])
def test_loss_and_gradients_are_those_of_torch(smoothing: float, n: int) -> None:
    draw = torch.Generator().manual_seed(n)
    x = torch.randn(n, 8, dtype=torch.float64, generator=draw, requires_grad=True)
    table = nn.Parameter(torch.randn(N_TOKENS, 8, dtype=torch.float64, generator=draw))
    targets = torch.randint(N_TOKENS, (n,), generator=draw)
    expected = functional.cross_entropy(x @ table.T, targets, label_smoothing=smoothing)
    grads = torch.autograd.grad(expected, [x, table])
    assert math.isclose(mean_loss(x, table, targets, smoothing), expected.item(), rel_tol=1e-12)
    table.grad = torch.ones_like(table)  # what other terms have left
    assert math.isclose(add_gradients(x, table, targets, smoothing), expected.item(), rel_tol=1e-12)
    torch.testing.assert_close(x.grad, grads[0])
    torch.testing.assert_close(table.grad, grads[1] + 1.0)


def test_a_smoothing_that_is_no_fraction_is_refused() -> None:
    with pytest.raises(ConfigError, match="smoothing"):
        mean_loss(torch.zeros(1, 2), torch.zeros(3, 2), torch.zeros(1, dtype=torch.int64), 1.5)


def test_the_shared_table_gets_the_gradient_of_both_its_uses() -> None:
    model, source, target = transformer(), sentences(3, 6), sentences(3, 5, seed=2)
    loss = functional.cross_entropy(model.scores(model(source, target)).flatten(0, 1), target.flatten())
    (expected,) = torch.autograd.grad(loss, [model.embedding.weight])
    add_gradients(model(source, target).flatten(0, 1), model.embedding.weight, target.flatten())
    torch.testing.assert_close(model.embedding.weight.grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 7, 5), (1,), (64, 1000)])
def test_dropout_drops_its_share_and_keeps_the_mean(shape: tuple[int, ...]) -> None:
    layer, x = Dropout(0.1), torch.ones(shape, requires_grad=True)
    y = layer(x)
    assert set(y.detach().flatten().tolist()) <= {0.0, torch.tensor(1.0 / 0.9).item()}
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())
    if y.numel() > 10_000:
        spread = math.sqrt(0.1 * 0.9 / y.numel())
        assert abs(float((y == 0).double().mean()) - 0.1) < 5 * spread
        torch.manual_seed(3)
        first = layer(x)
        torch.manual_seed(3)
        torch.testing.assert_close(first, layer(x))
    assert layer.eval()(x) is x


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_nothing_and_of_everything(p: float) -> None:
    torch.testing.assert_close(Dropout(p)(torch.ones(9)), torch.full((9,), 1.0 - p))


def test_positions_are_sines_and_cosines() -> None:
    found = sinusoids(50, 6)
    for position, feature in ((0, 0), (7, 2), (49, 5), (13, 1)):
        angle = position / 10_000 ** (2 * (feature // 2) / 6)
        expected = math.cos(angle) if feature % 2 else math.sin(angle)
        assert math.isclose(found[position, feature].item(), expected, abs_tol=1e-5)


def test_every_linear_layer_becomes_sparse_and_the_table_stays_dense() -> None:
    model = transformer(0.4)
    layers = [module for module in model.modules() if isinstance(module, SparseLinear)]
    assert len(layers) == 2 * 6 + 2 * 10
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    assert model.embedding.weight.shape == (N_TOKENS, 16)


def test_values_and_output_of_an_attention_and_the_two_layers_of_a_block_are_chains() -> None:
    model = transformer(0.4)
    chains = {tuple(id(layer) for layer in chain) for chain in find_chains(model)}
    layer = model.decoder[1]
    for attention in (layer.attention, layer.source_attention):
        assert (id(attention.v_proj), id(attention.out_proj)) in chains
    assert (id(layer.hidden[0]), id(layer.hidden[3])) in chains
    Evolution(model, torch.optim.Adam(model.parameters()), None, every=1)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads divide"):
        Attention(10, 3, 0.0)
    with pytest.raises(ShapeError, match="at most 40 tokens"):
        transformer()(sentences(1, 41), sentences(1, 3))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_translation_does_not_depend_on_what_shares_its_batch(width):
    torch.manual_seed(0)
    model = Transformer(40, Sizes(width=16, hidden=32, heads=2, layers=1, positions=64))
    with torch.no_grad():  # sentences hardly ever end
        model.embedding.weight[2] *= 0.0
        model.embedding.weight[3:] *= 3.0
    sources = [[5, 6, 7], list(range(5, 17)), [8]]
    alone, together = (beam_search(model, sources, width=width, batch=batch) for batch in (1, 3))
    assert alone == together
    assert [len(ids) for ids in alone] == [2 * (len(source) + 1) + 10 for source in sources]
