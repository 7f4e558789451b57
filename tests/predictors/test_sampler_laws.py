"""Chi-square tests of every sampler against exact probabilities.

Each test fails by chance with probability below 1e-5 for a fresh seed; seeds are fixed here. With 90 tests the
family-wise false-alarm rate of a run on fresh seeds (`SPARSECORE_FRESH_SEEDS=1`) is below 0.1%.
"""

import os
import secrets

import numpy as np
import pytest
from oracles import missing_links, successive_pairs
from scipy.stats import chisquare
from strategies import random_topology

from sparsecore import predictors
from sparsecore.selection import Soft
from sparsecore.storage import Topology

ALARM = 1e-5
BASE = secrets.randbits(60) if os.environ.get("SPARSECORE_FRESH_SEEDS") else 20_000

LAYERS = {
    "sparse": random_topology(6, 8, 0.25, 1),
    "middling": random_topology(5, 7, 0.5, 2),
    "nearly full": random_topology(5, 6, 0.8, 3),
    "one hub": Topology.from_coo([0] * 6 + [1, 2, 3, 1, 2], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 3], shape=(5, 7)),
}
PLENTY = 100_000
SAMPLED = [name for name in predictors.names() if hasattr(predictors.get(name), "proposals_per_link")]


@pytest.fixture(params=["lists", "bitsets"])
def form(request, monkeypatch):
    """Whether links are looked up in lists or in bitsets, which small layers would always choose."""
    if request.param == "lists":
        monkeypatch.setattr("sparsecore.predictors.draws._with_bits", lambda side: side)
    return request.param


def test_these_predictors_have_samplers():
    assert set(SAMPLED) == {"ch2_l3n", "ch3_l3n", "ch2_l3p", "ch3_l3p", "cn_l3", "ra_l3"}


def exact(name, topology, temperature=1.0):
    rows, cols = missing_links(topology)
    scores = predictors.get(name).score_links(topology, rows, cols) ** temperature
    ids = rows * topology.n_in + cols
    return ids[scores > 0], scores[scores > 0]


def assert_law(counts, probabilities):
    expected = probabilities / probabilities.sum() * counts.sum()
    assert chisquare(counts, expected).pvalue > ALARM


def count(draws, ids):
    where = np.searchsorted(ids, draws)
    assert np.array_equal(ids[where], draws)
    return np.bincount(where, minlength=ids.size)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", SAMPLED)
def test_one_draw_follows_the_scores(name, layer, form):
    topology = LAYERS[layer]
    ids, scores = exact(name, topology)
    predictor = predictors.get(name, proposals_per_link=PLENTY)
    draws = np.concatenate([predictor.sample(topology, 1, BASE + k) for k in range(10_000)])
    assert_law(count(draws, ids), scores)


class FirstSampledThenStreamed:
    """A predictor whose sampler gives one link only, so that the stream draws the second."""

    def __init__(self, predictor):
        self.predictor, self.stream = predictor, predictor.stream

    def sample(self, topology, n, seed):
        return self.predictor.sample(topology, min(n, 1), seed)


@pytest.mark.parametrize("wrap", [lambda predictor: predictor, FirstSampledThenStreamed], ids=["sampler", "both"])
@pytest.mark.parametrize("name", SAMPLED)
def test_two_draws_follow_successive_sampling(name, wrap):
    topology = LAYERS["one hub"]
    ids, scores = exact(name, topology)
    law = successive_pairs(scores)
    predictor = wrap(predictors.get(name, proposals_per_link=PLENTY))
    draws = np.array([Soft().grow(predictor, topology, 2, BASE + k) for k in range(20_000)])
    first, second = np.searchsorted(ids, draws.T)
    pairs = np.bincount(first * ids.size + second, minlength=ids.size**2)
    keys = np.array([i * ids.size + j for i, j in law])
    probabilities = np.array(list(law.values()))
    common = probabilities * 20_000 >= 5
    observed = np.append(pairs[keys[common]], pairs[keys[~common]].sum())
    expected = np.append(probabilities[common], probabilities[~common].sum())
    assert pairs.sum() == pairs[keys].sum()
    assert_law(observed[expected > 0], expected[expected > 0])


@pytest.mark.parametrize("budget", [0, 1])
@pytest.mark.parametrize("name", SAMPLED)
def test_the_law_holds_when_the_stream_takes_over_from_the_sampler(name, budget, monkeypatch):
    monkeypatch.setattr("sparsecore.predictors.draws.SPARE", 0)
    topology = LAYERS["nearly full"]
    ids, _ = exact(name, topology)
    predictor = predictors.get(name, proposals_per_link=budget)
    n = max(1, ids.size // 2)
    by_sampler = np.mean([predictor.sample(topology, n, BASE + k).size for k in range(100)])
    assert 0 < by_sampler < n if budget else by_sampler == 0, "each draws some of the links"
    times_drawn = np.zeros(ids.size)
    for k in range(4_000):
        times_drawn += count(Soft().grow(predictor, topology, n, BASE + k), ids)
    by_torch = np.zeros(ids.size)
    full = predictors.get(name, proposals_per_link=PLENTY)
    for k in range(4_000):
        by_torch += count(Soft().grow(full, topology, n, BASE + 10**6 + k), ids)
    # Inclusion counts of two exact methods differ by sampling noise alone: each is Binomial(4000, p).
    p = (times_drawn + by_torch) / 8_000
    scale = np.sqrt(np.maximum(2 * 4_000 * p * (1 - p), 1e-9))
    assert np.abs((times_drawn - by_torch) / scale).max() < 5.5


@pytest.mark.parametrize("name", ["ch2_l3n", "ch3_l3p", "ra_l3"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_streamed_draws_follow_the_scores_at_any_temperature(name, temperature):
    topology = LAYERS["middling"]
    ids, weights = exact(name, topology, temperature)
    predictor = predictors.get(name, proposals_per_link=0)
    draws = np.concatenate([Soft(temperature).grow(predictor, topology, 1, BASE + k) for k in range(8_000)])
    assert_law(count(draws, ids), weights)


def test_uniform_draws_cover_all_missing_links_evenly():
    topology = LAYERS["middling"]
    ids, weights = exact("random", topology)
    predictor = predictors.get("random")
    for n in (1, 3, ids.size - 2):
        draws = np.concatenate([predictor.sample(topology, n, BASE + k) for k in range(3_000)])
        counts = count(draws, ids)
        # Draws within one sample repel each other, which makes the statistic smaller, never larger.
        assert_law(counts, weights)
        assert draws.size == 3_000 * n
