import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparsecore.generators.sampling import centres, distinct, missing, nearest_inputs, shares, spread

#: Every statistical test here may fail once in ten thousand seeds; the seeds are fixed.
FALSE_ALARM = 1e-4


def assert_all_equally_likely(draws, outcomes):
    counts = dict.fromkeys(outcomes, 0)
    for draw in draws:
        counts[draw] += 1
    assert stats.chisquare(list(counts.values())).pvalue > FALSE_ALARM


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_all_subsets_are_equally_likely(n):
    rng = np.random.default_rng(n)
    draws = (tuple(distinct(rng, 6, n).tolist()) for _ in range(6_000))
    assert_all_equally_likely(draws, itertools.combinations(range(6), n))


@pytest.mark.parametrize("taken", [(0, 1), (4, 5, 6), (0, 3, 6), ()])
def test_all_subsets_of_what_is_missing_are_equally_likely(taken):
    rng = np.random.default_rng(len(taken))
    free = sorted(set(range(7)) - set(taken))
    draws = (tuple(missing(rng, np.array(taken, np.int64), 7, 2).tolist()) for _ in range(6_000))
    assert_all_equally_likely(draws, itertools.combinations(free, 2))


@given(population=st.integers(0, 2**62), data=st.data(), seed=st.integers(0, 100))
def test_draws_are_sorted_distinct_and_in_range_up_to_the_largest_population(population, data, seed):
    n = data.draw(st.integers(0, min(population, 200)))
    drawn = distinct(np.random.default_rng(seed), population, n)
    assert drawn.dtype == np.int64 and drawn.size == n
    assert np.all(np.diff(drawn) > 0)
    assert n == 0 or (drawn[0] >= 0 and drawn[-1] < population)


@given(taken=st.sets(st.integers(0, 99)), data=st.data(), seed=st.integers(0, 100))
def test_what_is_missing_is_never_taken(taken, data, seed):
    n = data.draw(st.integers(0, 100 - len(taken)))
    drawn = missing(np.random.default_rng(seed), np.array(sorted(taken), np.int64), 100, n).tolist()
    assert drawn == sorted(set(drawn) - taken) and len(drawn) == n
    assert not drawn or 0 <= drawn[0] <= drawn[-1] < 100


@given(n=st.integers(1, 100), total=st.integers(0, 10_000))
def test_spread_numbers_differ_by_at_most_one_over_any_stretch(n, total):
    parts = spread(n, total)
    assert parts.sum() == total and parts.size == n
    assert parts.max() - parts.min() <= 1
    running = np.cumsum(parts) - total / n * np.arange(1, n + 1)
    assert np.all(np.abs(running) <= 1 + 1e-9)


@given(degrees=st.lists(st.integers(0, 5), max_size=20))
def test_shares_count_within_every_neuron(degrees):
    neuron, rank = shares(np.array(degrees, np.int64))
    assert list(zip(neuron.tolist(), rank.tolist(), strict=True)) == [
        (i, k) for i, d in enumerate(degrees) for k in range(d)
    ]


@given(n_out=st.integers(1, 40), n_in=st.integers(1, 40), data=st.data())
def test_nearest_inputs_leave_none_nearer_out(n_out, n_in, data):
    degrees = np.array(data.draw(st.lists(st.integers(0, n_in), min_size=n_out, max_size=n_out)))
    rows, cols = nearest_inputs(degrees, n_in)
    place = centres(n_out, n_in)
    for row in range(n_out):
        mine = set(cols[rows == row].tolist())
        distance = [min(abs(col - place[row]), n_in - abs(col - place[row])) for col in range(n_in)]
        assert len(mine) == degrees[row]
        assert all(distance[a] <= distance[b] for a in mine for b in set(range(n_in)) - mine)
