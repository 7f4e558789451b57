import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import random_topology, topologies

from sparsecore.errors import ShapeError
from sparsecore.evolution import active_neurons, percolate
from sparsecore.storage import Topology


@st.composite
def chains(draw):
    sizes = draw(st.lists(st.integers(1, 7), min_size=2, max_size=5))
    layers = [draw(topologies((n_out, n_in))) for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True)]
    kept = [
        np.array([k for k in range(t.n_links) if draw(st.booleans())], np.int64) if t.n_links else np.zeros(0, np.int64)
        for t in layers
    ]
    return layers, kept


def fixpoint(layers, kept):
    """Remove links of dead hidden neurons one neuron at a time until nothing changes."""
    links = [{(int(t.rows[k]), int(t.cols[k])) for k in ks} for t, ks in zip(layers, kept, strict=True)]
    changed = True
    while changed:
        changed = False
        for below, above, topology in zip(links[:-1], links[1:], layers[:-1], strict=True):
            for neuron in range(topology.n_out):
                inputs = {link for link in below if link[0] == neuron}
                outputs = {link for link in above if link[1] == neuron}
                if bool(inputs) != bool(outputs):
                    below -= inputs
                    above -= outputs
                    changed = True
    return links


@given(chains())
def test_two_sweeps_reach_the_fixpoint(chain):
    layers, kept = chain
    stay = percolate(layers, kept)
    expected = fixpoint(layers, kept)
    for topology, before, after, links in zip(layers, kept, stay, expected, strict=True):
        assert {(int(topology.rows[k]), int(topology.cols[k])) for k in after} == links
        assert set(after) <= set(before)
    for once, twice in zip(stay, percolate(layers, stay), strict=True):
        assert np.array_equal(once, twice)


@given(chains())
def test_active_neurons_are_those_with_links_on_both_sides(chain):
    layers, _ = chain
    active = active_neurons(layers)
    assert [flags.size for flags in active] == [layers[0].n_in, *(t.n_out for t in layers)]
    for index, flags in enumerate(active):
        into = layers[index - 1].to_dense().any(1) if index else True
        out = layers[index].to_dense().any(0) if index < len(layers) else True
        assert np.array_equal(flags, np.broadcast_to(into & out, flags.shape))


def test_layers_that_do_not_fit_are_refused():
    layers = [random_topology(4, 3, 0.5), random_topology(2, 5, 0.5)]
    with pytest.raises(ShapeError, match="4 outputs into 5 inputs"):
        percolate(layers, [np.arange(t.n_links) for t in layers])


def test_a_single_layer_is_left_alone():
    topology = Topology.from_ids([3], (4, 3))
    assert percolate([topology], [np.array([0])])[0].tolist() == [0]
