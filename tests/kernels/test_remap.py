import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_topology

from sparsecore.errors import TopologyError
from sparsecore.kernels.cpu.remap import plan_edit
from sparsecore.storage import Topology, TopologyEdit


@given(n_out=st.integers(1, 9), n_in=st.integers(1, 9), density=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_edits_are_those_of_storage(n_out, n_in, density, seed):
    draw = np.random.default_rng(seed)
    old = Topology.from_ids(np.flatnonzero(draw.random(n_out * n_in) < density), (n_out, n_in))
    kept = np.flatnonzero(draw.random(old.n_links) < 0.6)
    free = np.setdiff1d(np.arange(old.n_possible), old.link_ids[kept])
    grown = draw.permutation(free)[: draw.integers(0, free.size + 1)]
    mine, reference = plan_edit(old, kept, grown), TopologyEdit.plan(old, kept, grown)
    assert mine.new == reference.new
    assert np.array_equal(mine.source, reference.source)


def test_improper_edits_are_refused():
    old = random_topology(6, 5, 0.4)
    free = np.setdiff1d(np.arange(30), old.link_ids)
    linked = old.link_ids[:1]
    for kept, grown in (([0], linked), ([0], [free[0], free[0]]), ([0], [30]), ([0], [-1]), ([old.n_links], [])):
        with pytest.raises(TopologyError):
            plan_edit(old, kept, grown)
    backwards = plan_edit(old, [1, 0], free[:1])
    assert backwards.new == plan_edit(old, [0, 1], free[:1]).new
