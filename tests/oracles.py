"""Slow, obvious definitions that the engine is held against."""

import itertools
import math

import networkx as nx
import numpy as np


def bipartite_graph(topology):
    """Return the layer as a networkx graph with nodes ("u", row) and ("v", col)."""
    graph = nx.Graph()
    graph.add_nodes_from(("u", row) for row in range(topology.n_out))
    graph.add_nodes_from(("v", col) for col in range(topology.n_in))
    links = zip(topology.rows.tolist(), topology.cols.tolist(), strict=True)
    graph.add_edges_from((("u", row), ("v", col)) for row, col in links)
    return graph


def three_paths(graph, row, col):
    """Return the inner nodes (z1, z2) of every path u - z1 - z2 - v, by walking the graph."""
    start, end = ("u", row), ("v", col)
    return [(z1, z2) for z1 in graph[start] for z2 in graph[z1] if z2 != start and end in graph[z2] and z1 != end]


def path_score(name, topology, row, col):
    """Return the score of a missing link by enumerating paths in pure Python; `name` is a registered predictor."""
    graph = bipartite_graph(topology)
    paths = three_paths(graph, row, col)
    if name == "cn_l3":
        return float(len(paths))
    if name == "ra_l3":
        return sum(1 / math.sqrt(graph.degree(z1) * graph.degree(z2)) for z1, z2 in paths)
    # Local community: the nodes that lie inside any of the paths.
    community = {z for path in paths for z in path} | {("u", row), ("v", col)}
    internal = {z: sum(n in community and n not in (("u", row), ("v", col)) for n in graph[z]) for z in community}
    external = {z: sum(n not in community for n in graph[z]) for z in community}
    if name.endswith("_l3n"):
        return sum(_factor(name, internal[z], external[z]) for z in {z for path in paths for z in path})
    return sum(math.sqrt(math.prod(_factor(name, internal[z], external[z]) for z in path)) for path in paths)


def _factor(name, internal, external):
    above = 1 if name.startswith("ch3_") else internal + 1
    below = (1 + external) ** (1 + external / (1 + external)) if name.startswith("ch31_") else external + 1
    return above / below


def missing_links(topology):
    """Return rows and cols of all missing links, in order of link id."""
    return np.nonzero(~topology.to_dense())


def successive_pairs(weights):
    """Return the exact probability of every ordered pair drawn by successive sampling without replacement."""
    p = np.asarray(weights, float) / np.sum(weights)
    return {
        (i, j): p[i] * p[j] / (1 - p[i]) for i, j in itertools.permutations(range(p.size), 2) if p[i] > 0 and p[j] > 0
    }
