from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparsecore.engine import epoch_order
from sparsecore.errors import ConfigError


@given(n=st.integers(0, 200), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 1000))
def test_every_order_is_a_permutation_and_a_function_of_seed_and_epoch(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed=seed, epoch=epoch)
    assert np.array_equal(np.sort(order), np.arange(n))
    assert np.array_equal(order, epoch_order(n, seed=seed, epoch=epoch))


def test_epochs_and_seeds_differ() -> None:
    orders = {epoch_order(50, seed=seed, epoch=epoch).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_order_is_the_same_on_every_machine() -> None:
    assert epoch_order(8, seed=0, epoch=0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]


def test_positions_are_uniform() -> None:
    # False-alarm level 1e-4, at fixed seeds.
    seen = np.bincount([epoch_order(6, seed=7, epoch=epoch)[0] for epoch in range(3000)], minlength=6)
    assert stats.chisquare(seen).pvalue > 1e-4


def test_a_seed_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected seed"):
        epoch_order(4, seed=2**64, epoch=0)
