"""Hypothesis strategies shared by all tests."""

import numpy as np
from hypothesis import strategies as st

from sparsecore.storage import Topology


@st.composite
def shapes(draw, low=1, high=12):
    return draw(st.integers(low, high)), draw(st.integers(low, high))


@st.composite
def topologies(draw, shape=None, low=1, high=12, min_links=0):
    n_out, n_in = draw(shapes(low, high)) if shape is None else shape
    ids = draw(st.sets(st.integers(0, n_out * n_in - 1), min_size=min(min_links, n_out * n_in)))
    return Topology.from_ids(sorted(ids), (n_out, n_in))


def random_topology(n_out, n_in, density, seed=0):
    n_links = round(density * n_out * n_in)
    ids = np.random.default_rng(seed).choice(n_out * n_in, n_links, replace=False)
    return Topology.from_ids(ids, (n_out, n_in))


def assert_canonical(topology):
    """Fail unless the index lists are what a validating constructor would accept."""
    Topology(topology.shape, topology.col_ptr, topology.rows)
    assert topology.rows.dtype == np.int32
    assert topology.col_ptr.dtype == np.int64
