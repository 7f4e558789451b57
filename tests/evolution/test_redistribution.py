"""Laws of every registered redistribution, and of the shares made from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecore.errors import SignalError
from sparsecore.evolution import redistribution
from sparsecore.evolution.redistribution import MomentumShare, Redistribution, Surviving, SurvivorShare, share

NAMES = redistribution.names()


@st.composite
def problems(draw):
    n = draw(st.integers(1, 5))
    freed = draw(st.lists(st.integers(0, 20), min_size=n, max_size=n))
    room = [lost + draw(st.integers(0, 30)) for lost in freed]
    weights = draw(st.lists(st.floats(0, 10) | st.just(0.0), min_size=n, max_size=n))
    return np.array(weights), freed, room


@given(problems())
def test_shares_use_up_what_was_freed_and_overflow_no_layer(problem):
    weights, freed, room = problem
    counts = share(weights, freed, room)
    assert sum(counts) == sum(freed)
    assert all(0 <= n <= most for n, most in zip(counts, room, strict=True))
    assert counts == share(weights, freed, room)


@given(problems())
def test_shares_without_limits_are_proportions_to_one_link(problem):
    weights, freed, _ = problem
    if weights.max() < 1e-6:
        return
    counts = share(weights, freed, [sum(freed)] * len(freed))
    assert np.all(np.abs(np.array(counts) - weights / weights.sum() * sum(freed)) <= 1)


def test_layers_without_weight_take_what_overflows_and_equal_nothing_changes_nothing():
    assert share(np.array([0.0, 1.0]), [5, 5], [10, 7]) == [3, 7]
    assert share(np.zeros(3), [1, 2, 3], [9, 9, 9]) == [1, 2, 3]
    assert share(np.array([1.0, 1.0, 1.0]), [2, 2, 1], [9, 9, 9]) == [2, 2, 1]
    assert share(np.array([2.0, 1.0]), [2, 2], [9, 9]) == [3, 1]


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 99))
def test_weights_are_finite_not_negative_and_follow_the_order_of_layers(name, seed):
    draw = np.random.default_rng(seed)
    layers = [Surviving(50, int(n), draw.standard_normal(int(n) + 3)) for n in draw.integers(0, 30, 4)]
    rule = redistribution.get(name)
    weights = rule.weights(layers)
    assert isinstance(rule, Redistribution)
    assert np.all(np.isfinite(weights) & (weights >= 0)) and weights.shape == (4,)
    assert np.array_equal(rule.weights(layers[::-1]), weights[::-1])
    entry = redistribution.registry.entry(name)
    assert entry.summary.endswith(".") and entry.paper and entry.equation


def test_survivors_are_counted_and_momenta_averaged():
    layers = [Surviving(9, 4, np.array([1.0, -3.0])), Surviving(9, 2, np.zeros(0))]
    assert SurvivorShare().weights(layers).tolist() == [4, 2]
    assert MomentumShare().weights(layers).tolist() == [2, 0]
    with pytest.raises(SignalError, match="optimizer's momentum"):
        MomentumShare().weights([Surviving(9, 4)])
