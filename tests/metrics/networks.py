"""Networks with known measures, and relabelling."""

import numpy as np
from hypothesis import strategies as st

from sparsecore.storage import Topology
from tests.strategies import random_topology, topologies


def two_blocks(n=4, bridge=False):
    """Return two complete bipartite blocks of n + n neurons, with one link between them on request."""
    rows, cols = np.nonzero(np.kron(np.eye(2), np.ones((n, n))))
    if bridge:
        rows, cols = np.append(rows, 0), np.append(cols, 2 * n - 1)
    return Topology.from_coo(rows, cols, shape=(2 * n, 2 * n))


def ring(n, reach):
    """Return the layer whose output i is linked to the inputs i to i + reach - 1, around a ring."""
    rows = np.repeat(np.arange(n), reach)
    return Topology.from_coo(rows, (rows + np.tile(np.arange(reach), n)) % n, shape=(n, n))


def large_chain():
    """Return a network of four neuron layers and 60,000 links."""
    sizes = (784, 1500, 1568, 1568)
    return [
        random_topology(n_out, n_in, 20_000 / (n_out * n_in), seed)
        for seed, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
    ]


def relabelled(chain, seed):
    """Return the chain with the neurons of every layer in another order, and the new number of every old node."""
    random = np.random.default_rng(seed)
    sizes = [chain[0].n_in, *(topology.n_out for topology in chain)]
    orders = [random.permutation(size) for size in sizes]
    layers = [Topology.from_coo(orders[i + 1][t.rows], orders[i][t.cols], shape=t.shape) for i, t in enumerate(chain)]
    starts = np.cumsum([0, *sizes[:-1]])
    return layers, np.concatenate([order + start for order, start in zip(orders, starts, strict=True)])


@st.composite
def chains(draw, min_links=0):
    """Draw one to three layers that share their neurons."""
    sizes = draw(st.lists(st.integers(1, 7), min_size=2, max_size=4))
    return [
        draw(topologies(shape=(n_out, n_in), min_links=min_links))
        for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True)
    ]
