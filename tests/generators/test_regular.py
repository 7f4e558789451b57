import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import shapes
from test_sampling import assert_all_equally_likely

from sparsecore.generators import Regular


@given(shape=shapes(high=30), density=st.floats(0, 1), seed=st.integers(0, 99))
def test_fan_in_differs_by_at_most_one(shape, density, seed):
    degrees = Regular()(shape, round(density * shape[0] * shape[1]), seed).out_degrees
    assert degrees.max() - degrees.min() <= 1


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_every_set_of_inputs_is_equally_likely(k):
    topology = Regular()((6_000, 6), 6_000 * k, seed=k)
    draws = (tuple(topology.row_cols[start : start + k].tolist()) for start in topology.row_ptr[:-1])
    assert_all_equally_likely(draws, itertools.combinations(range(6), k))
