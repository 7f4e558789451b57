from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import assert_canonical, shapes
from test_sampling import FALSE_ALARM

from sparsecore.errors import ConfigError, ShapeError
from sparsecore.generators import BSF, ER, resort
from sparsecore.generators.scale_free import rewire_across
from sparsecore.kernels.cpu.generate import preferential_edges
from sparsecore.storage import Topology


def graph(rng, n_out, n_in, n_across, n_outs, n_ins):
    """Draw a simple graph with given numbers of links across, among outputs and among inputs."""

    def among(n, k):
        pairs = rng.choice(n * (n - 1) // 2, k, replace=False)
        u, v = np.triu_indices(n, k=1)
        return u[pairs], v[pairs]

    flat = rng.choice(n_out * n_in, n_across, replace=False)
    (a, b), (c, d) = among(n_out, n_outs), among(n_in, n_ins)
    u = np.concatenate([flat // n_in, a, c + n_out])
    v = np.concatenate([flat % n_in + n_out, b, d + n_out])
    flip = rng.random(u.size) < 0.5
    return np.where(flip, v, u), np.where(flip, u, v)


def test_the_fourth_node_links_to_earlier_ones_in_proportion_to_their_degrees():
    seen = np.zeros((2, 3))
    for seed in range(6_000):
        new, old = preferential_edges(np.random.default_rng(seed), np.array([0, 1, 1, 1]))
        assert new.tolist() == [1, 2, 3] and old[0] == 0
        seen[old[1], old[2]] += 1
    # The second node and the first have one link each; whichever the third takes then has two of four ends.
    assert stats.chisquare(seen.ravel(), [1_500, 750, 750, 750, 1_500, 750]).pvalue > FALSE_ALARM


@given(counts=st.integers(0, 6), extra=st.lists(st.booleans(), min_size=8, max_size=30), seed=st.integers(0, 99))
def test_every_node_brings_its_links_to_distinct_earlier_nodes(counts, extra, seed):
    brought = np.minimum(counts + np.array(extra), np.arange(len(extra)))
    new, old = preferential_edges(np.random.default_rng(seed), brought)
    np.testing.assert_array_equal(np.bincount(new, minlength=brought.size), brought)
    assert np.all(old < new)
    assert len(set(zip(new.tolist(), old.tolist(), strict=True))) == brought.sum()


@pytest.mark.parametrize("seed", range(10))
def test_degrees_stay_where_both_sides_have_as_many_inner_links(seed):
    rng = np.random.default_rng(seed)
    n_out, n_in = 60, 90
    u, v = graph(rng, n_out, n_in, n_across=300, n_outs=150, n_ins=150)
    rows, cols = rewire_across(rng, u, v, (n_out, n_in))
    before = np.bincount(np.concatenate([u, v]), minlength=n_out + n_in)
    np.testing.assert_array_equal(np.bincount(rows, minlength=n_out), before[:n_out])
    np.testing.assert_array_equal(np.bincount(cols, minlength=n_in), before[n_out:])
    assert_canonical(Topology.from_coo(rows, cols, shape=(n_out, n_in)))


@pytest.mark.parametrize("seed", range(10))
def test_the_side_with_more_inner_links_gives_up_half_the_surplus(seed):
    rng = np.random.default_rng(seed)
    n_out, n_in = 60, 90
    u, v = graph(rng, n_out, n_in, n_across=200, n_outs=150, n_ins=50)
    rows, cols = rewire_across(rng, u, v, (n_out, n_in))
    before = np.bincount(np.concatenate([u, v]), minlength=n_out + n_in)
    change = np.bincount(np.concatenate([rows, cols + n_out]), minlength=n_out + n_in) - before
    assert np.all(change[:n_out] <= 0) and change[:n_out].sum() == -100
    assert np.all(change[n_out:] >= 0) and change[n_out:].sum() == 100


def test_links_that_are_across_already_stay():
    rng = np.random.default_rng(0)
    u, v = graph(rng, 40, 40, n_across=100, n_outs=20, n_ins=20)
    rows, cols = rewire_across(rng, u, v, (40, 40))
    across = (u < 40) != (v < 40)
    kept = {(min(a, b), max(a, b) - 40) for a, b in zip(u[across].tolist(), v[across].tolist(), strict=True)}
    assert kept <= set(zip(rows.tolist(), cols.tolist(), strict=True))


@pytest.mark.parametrize("side", ["out_degrees", "in_degrees"])
def test_degrees_have_the_tail_of_preferential_attachment(side):
    shape, n_links = (20_000, 20_000), 100_000
    degrees = getattr(BSF()(shape, n_links, seed=0), side)
    tail = degrees[degrees >= 10]
    exponent = 1 + tail.size / np.log(tail / 9.5).sum()
    assert 2.5 < exponent < 3.5  # 3 in theory; its standard error here is 0.05
    assert degrees.max() > 5 * getattr(ER()(shape, n_links, seed=0), side).max()


@given(shape=shapes(high=40), density=st.floats(0, 1), seed=st.integers(0, 99))
def test_equal_partition_levels_the_inputs_and_keeps_the_outputs(shape, density, seed):
    n_links = round(density * shape[0] * shape[1])
    plain, level = BSF()(shape, n_links, seed), BSF(equal_partition=True)(shape, n_links, seed)
    assert level.in_degrees.max() - level.in_degrees.min() <= 1
    np.testing.assert_array_equal(level.out_degrees, plain.out_degrees)


def test_equal_partition_mixes_the_inputs_of_an_output():
    topology = BSF(equal_partition=True)((400, 400), 4_000, seed=0)
    hub = int(topology.out_degrees.argmax())
    shared = (topology.to_dense() @ topology.to_dense()[hub].astype(int)) * (np.arange(400) != hub)
    # Outputs that were dealt neighbouring inputs would share none, or all, of theirs with the hub.
    expected = topology.out_degrees * topology.out_degrees[hub] / 400
    assert np.corrcoef(shared, expected)[0, 1] > 0.8


@given(data=st.data(), seed=st.integers(0, 99), soft=st.booleans())
def test_resorting_only_renumbers_inputs(data, seed, soft):
    widths = data.draw(st.lists(st.integers(1, 30), min_size=2, max_size=5))
    layers = [ER()((n, m), n * m // 3, seed) for m, n in pairwise(widths)]
    result = resort(layers, seed, soft=soft)
    assert result[0] == layers[0]
    for before, after in zip(layers, result, strict=True):
        assert_canonical(after)
        np.testing.assert_array_equal(after.out_degrees, before.out_degrees)
        np.testing.assert_array_equal(np.sort(after.in_degrees), np.sort(before.in_degrees))


def test_hard_resorting_puts_the_degrees_of_both_sides_in_one_order():
    chain = resort([BSF()((200, 200), 1_000, seed) for seed in range(3)], seed=0, soft=False)
    for before, after in pairwise(chain):
        order = np.argsort(-before.out_degrees, kind="stable")
        assert np.all(np.diff(after.in_degrees[order]) <= 0)


def test_soft_resorting_lines_degrees_up_loosely():
    first, second = (BSF()((2_000, 2_000), 20_000, seed) for seed in (0, 1))
    _, soft = resort([first, second], seed=2)
    _, hard = resort([first, second], seed=2, soft=False)
    by_chance, loose, tight = (
        stats.spearmanr(first.out_degrees, layer.in_degrees).statistic for layer in (second, soft, hard)
    )
    assert abs(by_chance) < 0.1 < 0.2 < loose < tight


def test_resorting_draws_the_first_input_in_proportion_to_its_degree():
    first = Topology.from_coo([0, 0, 1], [0, 1, 0], shape=(2, 2))
    second = Topology.from_coo([0, 1, 2, 0], [0, 0, 0, 1], shape=(3, 2))
    stayed = sum(int(resort([first, second], seed)[1].in_degrees[0] == 3) for seed in range(3_000))
    assert stats.binomtest(stayed, 3_000, 0.75).pvalue > FALSE_ALARM


def test_layers_that_do_not_fit_together_are_refused():
    with pytest.raises(ShapeError, match="Got 4 after 3"):
        resort([ER()((3, 3), 1, 0), ER()((4, 4), 1, 0)], seed=0)
    with pytest.raises(ConfigError, match="Expected seed"):
        resort([], seed=-1)
