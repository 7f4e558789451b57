"""Laws of every registered amount, and what each counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecore.errors import ConfigError
from sparsecore.removal import Amount, Candidates, Outranked, Threshold, amounts

NAMES = amounts.names()
sizes = st.lists(st.integers(0, 12), min_size=1, max_size=4)


def layers_of(counts, seed):
    draw = np.random.default_rng(seed)
    return [Candidates(np.round(draw.random(n), 1), np.round(draw.random(n // 2), 1)) for n in counts]


@pytest.mark.parametrize("name", NAMES)
@given(counts=sizes, zeta=st.floats(0, 1), seed=st.integers(0, 99))
def test_an_amount_is_a_count_per_layer_and_depends_on_nothing_else(name, counts, zeta, seed):
    amount, layers = amounts.get(name), layers_of(counts, seed)
    stay, memory = amount.n_keep(layers, zeta, amount.start)
    assert all(type(n) is int and 0 <= n <= size for n, size in zip(stay, counts, strict=True))
    assert isinstance(amount, Amount) and isinstance(memory, float)
    assert (stay, memory) == amount.n_keep(layers, zeta, amount.start)
    order = np.random.default_rng(seed).permutation(len(counts))
    turned, _ = amount.n_keep([layers[at] for at in order], zeta, amount.start)
    assert turned == [stay[at] for at in order]


@pytest.mark.parametrize("name", NAMES)
@given(counts=sizes, low=st.floats(0, 1), high=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_larger_zeta_never_keeps_more(name, counts, low, high, seed):
    amount, layers = amounts.get(name), layers_of(counts, seed)
    few, many = sorted((low, high))
    kept = [sum(amount.n_keep(layers, zeta, amount.start)[0]) for zeta in (few, many)]
    assert kept[1] <= kept[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_amount_says_where_it_comes_from(name):
    entry = amounts.entry(name)
    assert entry.summary.endswith(".") and entry.paper and entry.equation


@given(mine=st.lists(st.integers(0, 9), max_size=8), theirs=st.lists(st.integers(0, 9), max_size=8))
def test_outranked_counts_my_links_among_the_largest_of_both(mine, theirs):
    (stay,), _ = Outranked().n_keep([Candidates(np.array(mine, float), np.array(theirs, float))], 0.3, 0.0)
    union = sorted([(-size, who) for who, sizes in enumerate((mine, theirs)) for size in sizes])[: len(mine)]
    assert stay == sum(who == 0 for _, who in union)


def test_the_threshold_doubles_when_too_few_go_and_halves_when_too_many_do():
    layers = [Candidates(np.array([0.1, 0.2, 0.3, 0.4]), np.zeros(0)), Candidates(np.full(6, 0.25), np.zeros(0))]
    amount = Threshold(0.15, tolerance=0.1)
    assert amount.n_keep(layers, 0.5, 0.15) == ([3, 6], 0.3)
    assert amount.n_keep(layers, 0.5, 0.3) == ([2, 0], 0.15)
    assert amount.n_keep(layers, 0.1, 0.15) == ([3, 6], 0.15)
    assert amount.n_keep(layers, 0.8, 0.3) == ([2, 0], 0.3)
    assert amount.n_keep(layers, 0.0, 0.05) == ([4, 6], 0.05)


@pytest.mark.parametrize(("options", "message"), [({"first": 0}, "first > 0"), ({"tolerance": 2.0}, "tolerance in")])
def test_thresholds_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        amounts.get("threshold", **options)
