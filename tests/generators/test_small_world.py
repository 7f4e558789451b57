import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import shapes
from test_sampling import assert_all_equally_likely

from sparsecore.errors import ConfigError
from sparsecore.generators import BRF, BSW
from sparsecore.generators.sampling import centres


@given(shape=shapes(high=30), density=st.floats(0, 1), seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_without_rewiring_the_lattice_does_not_depend_on_the_seed(shape, density, seeds):
    n_links = round(density * shape[0] * shape[1])
    lattice = BSW(beta=0.0)(shape, n_links, seeds[0])
    assert lattice == BSW(beta=0.0)(shape, n_links, seeds[1])
    assert lattice == BRF(r=0.0)(shape, n_links, seeds[0])


@given(n_out=st.integers(1, 40), n_in=st.integers(1, 40), k=st.integers(1, 40))
def test_the_lattice_is_a_window_around_every_place(n_out, n_in, k):
    k = min(k, n_in)
    dense = BSW(beta=0.0)((n_out, n_in), k * n_out, seed=0).to_dense()
    offsets = (np.arange(n_in) - centres(n_out, n_in)[:, None] + (k - 1) // 2) % n_in
    np.testing.assert_array_equal(dense, offsets < k)


def test_rewiring_everything_makes_every_set_of_links_equally_likely():
    draws = (tuple(sorted(BSW(beta=1.0)((3, 3), 3, seed).link_ids.tolist())) for seed in range(5_000))
    assert_all_equally_likely(draws, itertools.combinations(range(9), 3))


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_the_rewired_share_is_beta(beta):
    shape, n_links = (2_000, 2_000), 20_000
    lattice = BSW(beta=0.0)(shape, n_links, seed=0)
    stayed = np.count_nonzero(lattice.find(BSW(beta)(shape, n_links, seed=1).link_ids) >= 0)
    # Five standard deviations; a rewired link lands on the lattice about once in 200 times.
    assert stayed / n_links == pytest.approx(1 - beta, abs=5 * (beta * (1 - beta) / n_links) ** 0.5 + beta / 200)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan"), "a lot", True])
def test_beta_must_be_a_probability(beta):
    with pytest.raises(ConfigError, match=r"Expected beta in \[0, 1\]"):
        BSW(beta)
