"""Sampling, scores, selection and edits of the CUDA engine against those of the CPU, and against exact laws."""

import os
import secrets

import numpy as np
import pytest
import torch
from gpu_runtimes import RUNTIMES, runtime_and_device
from oracles import missing_links, successive_pairs
from scipy.stats import chisquare
from strategies import random_topology

from sparsecore import predictors
from sparsecore.errors import ShapeError, TopologyError
from sparsecore.kernels.gpu.lists import DeviceLists, lists_of
from sparsecore.kernels.gpu.remap import DeviceEdit
from sparsecore.kernels.gpu.sample import (
    fill_uniformly,
    sample_by_nodes,
    sample_uniformly,
    successive,
)
from sparsecore.kernels.gpu.sample_paths import _bounds, sample_around_links, sample_by_paths
from sparsecore.kernels.gpu.select import Smallest, list_bits, list_sums, smallest, soft_keys, to_forty_bits
from sparsecore.kernels.gpu.stream import score_tiles
from sparsecore.predictors.draws import successive as successive_on_cpu
from sparsecore.selection import Soft, subrank
from sparsecore.storage import Topology, TopologyEdit

#: Chance of a false alarm of one law on a fresh seed; there are 47, so of any below 0.05%.
ALARM = 1e-5
BASE = secrets.randbits(60) if os.environ.get("SPARSECORE_FRESH_SEEDS") else 30_000
LAYERS = {
    "sparse": random_topology(6, 8, 0.25, 1),
    "middling": random_topology(5, 7, 0.5, 2),
    "nearly full": random_topology(5, 6, 0.8, 3),
    "one hub": Topology.from_coo([0] * 6 + [1, 2, 3, 1, 2], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 3], shape=(5, 7)),
}
PLENTY = 2**40


@pytest.fixture(params=RUNTIMES)
def place(request):
    return runtime_and_device(request.param)


@pytest.fixture(params=["lists", "bitsets"])
def form(request, monkeypatch):
    if request.param == "lists":
        for module in ("sample", "sample_paths"):
            monkeypatch.setattr(f"sparsecore.kernels.gpu.{module}.node_bits", lambda runtime, lists: (None, None))


def draw_many(runtime, lists, name, n, seed):
    """Return `n` independent draws of one link."""
    sampler, options = {
        "ch2_l3n": (sample_by_nodes, {"overlaps": True}),
        "ch3_l3n": (sample_by_nodes, {"overlaps": False}),
        "ch2_l3p": (sample_by_paths, {"overlaps": True}),
        "ch3_l3p": (sample_by_paths, {"overlaps": False}),
        "cn_l3": (sample_around_links, {"by_degree": False}),
        "ra_l3": (sample_around_links, {"by_degree": True}),
    }[name]
    return torch.cat([sampler(runtime, lists, 1, seed + k, budget=PLENTY, **options) for k in range(n)])


def proposals(runtime, lists, name, n, seed, monkeypatch):
    """Return `n` proposals of a sampler that were accepted, in one launch; repeats included."""
    caught = []

    def catch(propose, n_wanted, budget, device):
        found = torch.empty(n, dtype=torch.int64, device=device)
        propose(0, found)
        caught.append(found)
        return found

    for module in ("sample", "sample_paths"):
        monkeypatch.setattr(f"sparsecore.kernels.gpu.{module}.successive", catch)
    if name == "random":
        sample_uniformly(runtime, lists, 1, seed)
    else:
        draw_many(runtime, lists, name, 1, seed)
    found = caught[0].cpu().numpy()
    return found[found >= 0]


def exact(name, topology):
    rows, cols = missing_links(topology)
    scores = predictors.get(name).score_links(topology, rows, cols)
    ids = rows * topology.n_in + cols
    return ids[scores > 0], scores[scores > 0]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["ch2_l3n", "ch3_l3n", "ch2_l3p", "ch3_l3p", "cn_l3", "ra_l3"])
def test_proposals_follow_the_scores(place, form, name, layer, monkeypatch):
    runtime, device = place
    ids, scores = exact(name, LAYERS[layer])
    found = proposals(runtime, lists_of(LAYERS[layer], device), name, 40_000, BASE, monkeypatch)
    where = np.searchsorted(ids, found)
    assert np.array_equal(ids[where], found)
    counts = np.bincount(where, minlength=ids.size)
    assert chisquare(counts, scores / scores.sum() * found.size).pvalue > ALARM


def test_uniform_proposals_are_uniform(place, monkeypatch):
    runtime, device = place
    topology = random_topology(9, 8, 0.2)
    found = proposals(runtime, lists_of(topology, device), "random", 20_000, BASE, monkeypatch)
    ids, _ = exact("random", topology)
    assert chisquare(np.bincount(np.searchsorted(ids, found), minlength=ids.size)).pvalue > ALARM


def test_two_draws_follow_successive_sampling(place):
    runtime, device = place
    topology = LAYERS["one hub"]
    ids, scores = exact("ch2_l3n", topology)
    law, lists, n = successive_pairs(scores), lists_of(topology, device), 1_500
    pairs = [sample_by_nodes(runtime, lists, 2, BASE + k, overlaps=True, budget=PLENTY).tolist() for k in range(n)]
    drawn = np.bincount(np.searchsorted(ids, np.array(pairs)) @ [ids.size, 1], minlength=ids.size**2)
    at = np.array([i * ids.size + j for i, j in law])
    expected = np.array(list(law.values())) * n
    common = expected >= 5
    observed = np.append(drawn[at[common]], drawn[at[~common]].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    assert chisquare(observed[wanted > 0], wanted[wanted > 0]).pvalue > ALARM


@pytest.mark.parametrize("n", [1, 3, 11])
def test_uniform_draws_of_nearly_full_layers_cover_all_missing_links(place, n):
    runtime, device = place
    topology = random_topology(5, 8, 0.7)
    ids, _ = exact("random", topology)
    lists = lists_of(topology, device)
    draws = np.concatenate([sample_uniformly(runtime, lists, n, BASE + k).cpu().numpy() for k in range(600)])
    counts = np.bincount(np.searchsorted(ids, draws), minlength=ids.size)
    assert np.isin(draws, ids).all()
    assert chisquare(counts).pvalue > ALARM


def test_samples_are_distinct_missing_links(place):
    runtime, device = place
    topology = random_topology(60, 80, 0.1)
    lists = lists_of(topology, device)
    for overlaps in (True, False):
        drawn = sample_by_nodes(runtime, lists, 900, 5, overlaps=overlaps, budget=PLENTY)
        again = sample_by_nodes(runtime, lists, 900, 5, overlaps=overlaps, budget=PLENTY)
        assert torch.equal(drawn, again)
        assert drawn.unique().numel() == 900
        assert (topology.find(drawn.cpu().numpy()) < 0).all()


def test_a_budget_ends_the_sampler():
    runtime, device = runtime_and_device("host")
    lists = lists_of(random_topology(20, 20, 0.2), device)
    few = sample_by_nodes(runtime, lists, 50, 5, overlaps=True, budget=20)
    assert 0 < few.numel() < 20
    assert sample_by_nodes(runtime, lists, 50, 5, overlaps=True, budget=0).numel() == 0
    empty = lists_of(random_topology(20, 20, 0.0), device)
    assert sample_by_nodes(runtime, empty, 5, 5, overlaps=True, budget=99).numel() == 0
    assert sample_by_paths(runtime, empty, 5, 5, overlaps=True, budget=99).numel() == 0
    assert sample_around_links(runtime, empty, 5, 5, by_degree=True, budget=99).numel() == 0


@pytest.mark.parametrize("counters", [16, 7, 2**13])
def test_largest_overlaps_are_those_of_the_lists(place, counters, monkeypatch):
    runtime, device = place
    monkeypatch.setattr("sparsecore.kernels.gpu.sample_paths._COUNTERS", counters)
    for topology in (random_topology(13, 40, 0.2), random_topology(60, 9, 0.4), random_topology(3, 3, 0.0)):
        dense = topology.to_dense().astype(int)
        expected = []
        for side in (dense, dense.T):
            shared = side @ side.T
            np.fill_diagonal(shared, 0)
            expected.append(shared.max(1))
        for got, right in zip(_bounds(runtime, lists_of(topology, device), dense=False), expected, strict=True):
            assert np.array_equal(got.cpu().numpy(), right)


def test_successive_draws_are_those_of_the_cpu_for_the_same_proposals():
    rng = np.random.default_rng(0)
    made = rng.integers(-5, 40, 1000)

    def propose(start, found):
        part = made[start : start + len(found)]
        found[:] = part if isinstance(found, np.ndarray) else torch.from_numpy(part)

    for n, budget in ((20, 1000), (40, 1000), (40, 30), (0, 10)):
        ours = successive(propose, n, budget, torch.device("cpu"))
        theirs = successive_on_cpu(propose, 40, n, budget)
        assert np.array_equal(np.where(ours.numpy() < 0, 0, ours.numpy()), theirs)


def test_a_uniform_filling_completes_what_was_chosen(place):
    runtime, device = place
    topology = random_topology(6, 7, 0.5)
    ids, _ = exact("random", topology)
    chosen = torch.tensor(ids[:4], device=device)
    filled = fill_uniformly(runtime, lists_of(topology, device), chosen, 99, 3)
    assert sorted(filled.tolist()) == ids.tolist()
    assert torch.equal(fill_uniformly(runtime, lists_of(topology, device), chosen, 4, 3), chosen)


@pytest.mark.parametrize("tile", [7, 60, 2**22])
@pytest.mark.parametrize("name", ["ch2_l3n", "ch3_l3n", "ch31_l3n", "cn_l3", "ra_l3", "ch2_l3p", "ch3_l3p", "ch31_l3p"])
def test_scores_are_those_of_the_cpu(place, name, tile):
    runtime, device = place
    for topology in (random_topology(13, 17, 0.2), random_topology(6, 70, 0.4), random_topology(3, 3, 0.0)):
        predictor = predictors.get(name)
        blocks = list(predictor.stream(topology))
        ids = np.concatenate([np.zeros(0, np.int64), *(block.ids for block in blocks)])
        scores = np.concatenate([np.zeros(0), *(block.scores for block in blocks)])
        tiles = list(
            score_tiles(runtime, lists_of(topology, device), predictor.rule, by_paths=predictor.by_paths, tile=tile)
        )
        got = {i: s for part in tiles for i, s in zip(part[0].tolist(), part[1].tolist(), strict=True)}
        assert sorted(got) == ids.tolist()
        np.testing.assert_allclose([got[i] for i in ids.tolist()], scores, rtol=1e-12)


def test_soft_keys_are_those_of_the_cpu(place):
    runtime, device = place
    weights = np.random.default_rng(0).random(500) * (np.arange(500) % 7 > 0)
    for temperature in (0.5, 1.0, 9.0):
        _, keys = Soft(temperature)._keys(np.arange(500), weights, 77, np.inf)
        ours = soft_keys(
            runtime, torch.arange(500, device=device), torch.tensor(weights, device=device), temperature, 77
        )
        np.testing.assert_allclose(ours.cpu().numpy(), keys, rtol=1e-12)
        kept = Soft(temperature).keep(weights, 300, 77)
        assert np.array_equal(smallest(ours, 300).cpu().numpy(), kept)


def test_sums_over_lists_are_those_of_the_host_to_the_bit(place):
    runtime, device = place
    topology = random_topology(30, 40, 0.3)
    values = np.random.default_rng(0).random(topology.n_links)
    outs, ins = list_sums(runtime, lists_of(topology, device), torch.tensor(values, device=device))
    assert np.array_equal(outs.cpu().numpy(), np.bincount(topology.rows, values, 30))
    assert np.array_equal(ins.cpu().numpy(), np.bincount(topology.cols, values, 40))


def test_bitsets_hold_the_lists(place):
    runtime, device = place
    topology = random_topology(9, 130, 0.3)
    lists = lists_of(topology, device)
    bits = list_bits(runtime, lists.row_ptr, lists.row_cols, 130, 2, 5).cpu().numpy().view(np.uint8)
    unpacked = np.unpackbits(bits, axis=1, bitorder="little")[:, :130].astype(bool)
    assert np.array_equal(unpacked, topology.to_dense()[2:7])


def test_the_smallest_of_a_stream_are_found_with_ties_by_id():
    rng = np.random.default_rng(0)
    ids, keys = rng.permutation(5000), rng.integers(0, 50, 5000).astype(float)
    best = Smallest(37, torch.device("cpu"))
    for low in range(0, 5000, 500):
        best.add(torch.from_numpy(ids[low : low + 500]), torch.from_numpy(keys[low : low + 500]))
    assert best.ids().tolist() == ids[np.lexsort((ids, keys))[:37]].tolist()


def test_rounding_to_forty_bits_is_that_of_the_cpu():
    values = np.random.default_rng(0).random(100) * 1e3
    assert np.array_equal(to_forty_bits(torch.from_numpy(values)).numpy(), subrank.to_forty_bits(values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_edits_are_those_of_the_cpu(place, dtype):
    _, device = place
    rng = np.random.default_rng(1)
    for topology in (random_topology(20, 30, 0.3), random_topology(4, 5, 0.0), Topology.full((3, 4))):
        kept = np.flatnonzero(rng.random(topology.n_links) < 0.6)
        free = np.setdiff1d(np.arange(topology.n_possible), topology.link_ids[kept])
        grown = rng.permutation(free)[: free.size // 3]
        theirs = TopologyEdit.plan(topology, kept, grown)
        ours = DeviceEdit.plan(topology, torch.tensor(kept, device=device), torch.tensor(grown, device=device))
        assert ours.new == theirs.new
        values = torch.randn(topology.n_links).to(dtype)
        assert torch.equal(ours.remap(values.to(device), 3.0).cpu(), theirs.remap(values, 3.0))
        assert np.array_equal(ours.fresh.cpu().numpy(), theirs.fresh)
        assert np.array_equal(ours.retired.cpu().numpy(), theirs.retired)
        assert np.array_equal(ours.ids_of(ours.retired, new=False).cpu().numpy(), topology.link_ids[theirs.retired])
        assert ours.is_identity == theirs.is_identity


def test_wrong_edits_are_refused():
    topology = random_topology(4, 5, 0.5)
    kept = torch.arange(topology.n_links)
    with pytest.raises(TopologyError, match="there twice"):
        DeviceEdit.plan(topology, kept, torch.tensor(topology.link_ids[:1]))
    edit = DeviceEdit.plan(topology, kept, torch.empty(0, dtype=torch.int64))
    assert edit.is_identity
    with pytest.raises(ShapeError, match="Expected values of shape"):
        edit.remap(torch.zeros(3))


def test_lists_of_some_links_are_those_of_the_host():
    topology = random_topology(8, 9, 0.5)
    some = np.arange(0, topology.n_links, 3)
    part = lists_of(topology, torch.device("cpu")).subset(torch.from_numpy(some))
    theirs = topology.subset(some)
    assert np.array_equal(part.rows.numpy(), theirs.rows)
    assert np.array_equal(part.col_ptr.numpy(), theirs.col_ptr)
    again = DeviceLists.from_keys(torch.tensor(theirs.keys), topology.shape)
    assert np.array_equal(again.col_ptr.numpy(), theirs.col_ptr)
