from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecore.bench import networks, networks_page
from sparsecore.errors import DataError
from tests.oracles import bipartite_graph, three_paths
from tests.strategies import random_topology

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results" / "networks.json"
SIZES = {
    "southern women": (18, 14, 89),
    "nuclear receptors": (26, 54, 90),
    "GPCRs": (95, 223, 635),
    "ion channels": (204, 210, 1476),
    "enzymes": (664, 445, 2926),
}


@pytest.fixture(scope="module")
def folder(data_folder: Path) -> Path:
    if not (data_folder / "networks").is_dir():
        pytest.skip(f"no networks in {data_folder}; set SPARSECORE_DATA")
    return data_folder


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_networks_have_the_published_sizes(name: str, folder: Path) -> None:
    topology = networks.load_network(folder, name)
    assert (*topology.shape, topology.n_links) == SIZES[name]


def test_a_missing_network_says_where_it_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="SPARSECORE_DATA"):
        networks.load_network(tmp_path, "GPCRs")


def test_a_split_takes_out_a_tenth_and_is_a_function_of_its_name_and_number() -> None:
    layer = random_topology(20, 30, 0.2)
    kept, gone = networks.removed_pairs(layer, "some", 3)
    assert gone.size == round(0.1 * layer.n_links)
    assert set(kept.link_ids) | set(gone) == set(layer.link_ids)
    assert np.array_equal(networks.removed_pairs(layer, "some", 3)[1], gone)
    assert not np.array_equal(networks.removed_pairs(layer, "some", 4)[1], gone)
    assert not np.array_equal(networks.removed_pairs(layer, "other", 3)[1], gone)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=2, max_size=6))
def test_precision_is_the_mean_over_all_orders_of_ties(items) -> None:
    scores, wanted = np.array([s for s, _ in items], float), np.array([w for _, w in items])
    if not 0 < wanted.sum() < wanted.size:
        return
    found = [
        wanted[list(order)][: wanted.sum()].mean()
        for order in permutations(range(wanted.size))
        if all(scores[a] >= scores[b] for a, b in zip(order[:-1], order[1:], strict=True))
    ]
    precision, area = networks.quality(scores, wanted)
    assert precision == pytest.approx(np.mean(found))
    assert 0 < area <= 1


def test_constant_scores_reach_the_share_of_wanted_pairs() -> None:
    wanted = np.arange(40) < 10
    assert networks.quality(np.ones(40), wanted) == pytest.approx((0.25, 0.25))


def test_the_control_weighs_every_node_by_its_paths() -> None:
    layer = random_topology(6, 7, 0.4, seed=2)
    graph = bipartite_graph(layer)
    scores = networks.all_scores("nodes_by_paths", layer).reshape(layer.shape)
    for row, col in zip(*np.nonzero(~layer.to_dense()), strict=True):
        expected = 0.0
        for z1, z2 in three_paths(graph, row, col):
            shared1 = len(set(graph[z1]) & set(graph[("v", col)]))
            shared2 = len(set(graph[z2]) & set(graph[("u", row)]))
            expected += 1 / (graph.degree(z1) - shared1) + 1 / (graph.degree(z2) - shared2)
        assert scores[row, col] == pytest.approx(expected)


def test_stored_results_are_those_of_the_present_predictors(folder: Path) -> None:
    stored = json.loads(RESULTS.read_text())
    for name in ("southern women", "nuclear receptors", "GPCRs"):
        again = networks.measure_split(networks.load_network(folder, name), name, 0)
        for label, values in stored[name]["splits"]["0"].items():
            assert again[label] == pytest.approx(values, abs=2e-6), (name, label)


def test_an_interrupted_run_goes_on_and_the_page_follows_from_the_results(folder: Path, tmp_path: Path) -> None:
    stored = json.loads(RESULTS.read_text())
    for entry in stored.values():
        entry["splits"] = {number: entry["splits"][number] for number in ("0", "1")}
    del stored["southern women"]["splits"]["1"]
    path, page = tmp_path / "networks.json", tmp_path / "page.md"
    path.write_text(json.dumps(stored))
    arguments = ["--data", folder, "--splits", "2", "--results", path, "--page", page]
    assert networks.main([str(argument) for argument in arguments]) == 0
    assert json.loads(path.read_text())["southern women"]["splits"].keys() == {"0", "1"}
    assert page.read_text().startswith("# Link prediction in real networks")


def test_the_page_in_the_documentation_is_that_of_the_results(tmp_path: Path) -> None:
    networks_page.write_page(json.loads(RESULTS.read_text()), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (ROOT / "docs" / "link_prediction.md").read_text()


def test_known_orders_hold_on_every_network() -> None:
    for name, entry in json.loads(RESULTS.read_text()).items():
        area = {label: values[:, 1].mean() for label, values in networks_page.samples(entry).items()}
        order = ("ch31_l3p", "ch3_l3p", "ch2_l3p", "ra_l3", "cn_l3", "degree_product", "random")
        assert sorted(order, key=lambda label: -area[label]) == list(order), name
