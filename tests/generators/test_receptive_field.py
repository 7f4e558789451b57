import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import shapes
from test_sampling import FALSE_ALARM

from sparsecore.errors import ConfigError
from sparsecore.generators import BRF

DEGREES = ("fixed", "uniform", "multinomial")


def weights(n_in, r):
    """Weight of every input as seen from input 0."""
    distance = np.minimum(np.arange(n_in), n_in - np.arange(n_in))
    return (1.0 + distance) ** (-(1 - r) / r)


def exact_law(weight, k):
    """Probability of every set of `k` drawn one after the other without replacement, by enumeration."""
    law = dict.fromkeys(itertools.combinations(range(weight.size), k), 0.0)
    for order in itertools.permutations(range(weight.size), k):
        probability, left = 1.0, weight.sum()
        for item in order:
            probability *= weight[item] / left
            left -= weight[item]
        law[tuple(sorted(order))] += probability
    return law


def field_of_each_output(topology):
    """Inputs of every output relative to its centre, as sorted tuples."""
    n_out, n_in = topology.shape
    for row in range(n_out):
        cols = topology.row_cols[topology.row_ptr[row] : topology.row_ptr[row + 1]].astype(np.int64)
        yield tuple(sorted(((cols - row * n_in // n_out) % n_in).tolist()))


@pytest.mark.parametrize("r", [0.15, 0.5, 0.9])
@pytest.mark.parametrize(("n_in", "k"), [(9, 1), (9, 2), (8, 2), (9, 3), (8, 4), (2, 1)])
def test_sets_of_inputs_follow_the_exact_law_of_successive_draws(n_in, k, r):
    # k at most n_in/4 takes independent draws, more than that exponential keys; both sides of the switch are here.
    n_out = 12_000 // n_in * n_in
    law = exact_law(weights(n_in, r), k)
    seen = dict.fromkeys(law, 0)
    for field in field_of_each_output(BRF(r)((n_out, n_in), n_out * k, seed=k)):
        seen[field] += 1
    order = sorted(law, key=law.get)
    expected = np.array([law[key] * n_out for key in order])
    observed = np.array([seen[key] for key in order])
    # Sets expected fewer than five times are counted together.
    rare = int(np.searchsorted(np.cumsum(expected), 5.0)) + 1 if expected[0] < 5 else 0
    rare = max(rare, int(np.searchsorted(expected, 5.0)))
    if rare:
        expected = np.array([expected[:rare].sum(), *expected[rare:]])
        observed = np.array([observed[:rare].sum(), *observed[rare:]])
    assert stats.chisquare(observed, expected).pvalue > FALSE_ALARM


@pytest.mark.parametrize("r", [0.02, 0.25, 0.8])
def test_draws_and_keys_agree_on_how_far_links_reach(r):
    # Ten of 41 inputs are drawn one by one; adding links to a layer's other rows must not matter, so compare the law
    # of distances with an independent, plain implementation.
    n_in, k, n_out = 41, 10, 4_100
    rng = np.random.default_rng(7)
    keys = np.log(rng.exponential(size=(n_out, n_in))) - np.log(weights(n_in, r))
    plain = np.argpartition(keys, k - 1, axis=1)[:, :k].ravel()
    ours = np.concatenate([np.array(field) for field in field_of_each_output(BRF(r)((n_out, n_in), n_out * k, seed=1))])
    table = np.array([np.bincount(np.minimum(x, n_in - x), minlength=n_in // 2 + 1) for x in (plain, ours)])
    table = table[:, table.sum(axis=0) > 10]
    assert stats.chi2_contingency(table).pvalue > FALSE_ALARM


@given(shape=shapes(high=30), density=st.floats(0, 1), seed=st.integers(0, 99))
def test_small_r_takes_only_nearest_inputs(shape, density, seed):
    n_out, n_in = shape
    topology = BRF(r=1e-6)(shape, round(density * n_out * n_in), seed)
    for field in field_of_each_output(topology):
        distance = sorted(min(offset, n_in - offset) for offset in field)
        assert distance == sorted(min(offset, n_in - offset) for offset in range(n_in))[: len(field)]


def test_steep_weights_on_a_wide_layer_neither_stall_nor_underflow():
    # With r = 0.01 the tenth input weighs 10^-70 of the first, the furthest 10^-465.
    topology = BRF(r=0.01)((1_000, 100_000), 10_000, seed=0)
    reach = np.concatenate([np.array(field) for field in field_of_each_output(topology)])
    assert np.minimum(reach, 100_000 - reach).max() <= 6


def test_r_one_draws_all_inputs_alike():
    topology = BRF(r=1.0)((5_000, 40), 5_000 * 4, seed=0)
    offsets = np.concatenate([np.array(field) for field in field_of_each_output(topology)])
    assert stats.chisquare(np.bincount(offsets, minlength=40)).pvalue > FALSE_ALARM


@given(shape=shapes(high=40), density=st.floats(0, 1), seed=st.integers(0, 99))
def test_fixed_degrees_differ_by_at_most_one(shape, density, seed):
    degrees = BRF(0.25)(shape, round(density * shape[0] * shape[1]), seed).out_degrees
    assert degrees.max() - degrees.min() <= 1


@pytest.mark.parametrize("degrees", ["uniform", "multinomial"])
@given(shape=shapes(high=40), density=st.floats(0, 1), seed=st.integers(0, 99))
def test_random_degrees_leave_no_output_empty_where_links_suffice(degrees, shape, density, seed):
    n_links = round(density * shape[0] * shape[1])
    topology = BRF(0.25, degrees)(shape, n_links, seed)
    assert topology.out_degrees.min() >= (n_links >= shape[0])


@pytest.mark.parametrize(("mean", "low", "high"), [(10, 1, 19), (70, 40, 100)])
def test_uniform_degrees_are_uniform_around_the_mean(mean, low, high):
    degrees = BRF(0.25, "uniform")((20_000, 100), 20_000 * mean, seed=0).out_degrees
    assert degrees.min() >= low and degrees.max() <= high
    # The exact total costs a few outputs one link; a distance between the laws of 2% allows for it and for chance.
    assert (
        stats.kstest(
            degrees + np.random.default_rng(0).random(20_000), stats.uniform(low, high - low + 1).cdf
        ).statistic
        < 0.02
    )


def test_multinomial_degrees_are_one_plus_what_was_thrown():
    degrees = BRF(0.25, "multinomial")((20_000, 1_000), 200_000, seed=0).out_degrees
    assert degrees.min() >= 1
    assert degrees.var() == pytest.approx(9.0, rel=0.1)


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("r", [0.0, 0.25, 1.0])
def test_a_field_may_be_wider_than_the_layer(degrees, r):
    topology = BRF(r, degrees)((3, 4), 11, seed=0)
    assert topology.n_links == 11


@pytest.mark.parametrize(("options", "message"), [
    ({"r": 1.5}, r"Expected r in \[0, 1\]"),
    ({"degrees": "equal"}, "Expected degrees out of fixed, uniform, multinomial. Got 'equal'"),
])  # fmt: skip
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BRF(**options)
