import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import assert_canonical, topologies

import sparsecore.storage.topology as module
from sparsecore.errors import ShapeError, TopologyError
from sparsecore.storage import Topology


@given(topologies())
def test_both_orders_hold_the_same_links(topology):
    dense = topology.to_dense()
    assert_canonical(topology)
    assert dense.sum() == topology.n_links
    rows = np.repeat(np.arange(topology.n_out), np.diff(topology.row_ptr))
    assert dense[rows, topology.row_cols].all()
    assert np.array_equal(topology.rows[topology.row_order], rows)
    assert np.array_equal(topology.cols[topology.row_order], topology.row_cols)
    assert np.array_equal(topology.out_degrees, dense.sum(1))
    assert np.array_equal(topology.in_degrees, dense.sum(0))


@given(topologies())
def test_every_way_of_building_gives_the_same_topology(topology):
    order = np.random.default_rng(0).permutation(topology.n_links)
    again = Topology.from_coo(topology.rows[order], topology.cols[order], shape=topology.shape)
    assert again == topology == Topology.from_ids(topology.link_ids[order], topology.shape)
    assert hash(again) == hash(topology)
    assert again.digest == topology.digest
    assert topology.transpose().transpose() == topology
    assert np.array_equal(topology.transpose().to_dense(), topology.to_dense().T)
    assert pickle.loads(pickle.dumps(topology)) == topology == copy.deepcopy(topology)


@given(topologies(), st.integers(0, 2**31))
def test_find_returns_the_position_of_a_link_and_minus_one_elsewhere(topology, seed):
    ids = np.random.default_rng(seed).integers(0, topology.n_possible, 20)
    at = topology.find(ids)
    dense = topology.to_dense().ravel()
    assert np.array_equal(at >= 0, dense[ids])
    assert np.array_equal(topology.link_ids[at[at >= 0]], ids[at >= 0])
    rows, cols = np.divmod(ids, topology.n_in)
    assert np.array_equal(topology.contains(rows, cols), dense[ids])


def test_arrays_are_frozen():
    topology = Topology.from_coo([0, 1], [1, 0], shape=(2, 2))
    for array in (topology.rows, topology.cols, topology.col_ptr, topology.row_ptr, topology.row_cols):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_full_topology_holds_every_link():
    assert Topology.full((3, 4)).to_dense().all()
    assert Topology.full((3, 4)) == Topology.from_ids(np.arange(12), (3, 4))


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_an_empty_side_is_allowed(shape):
    topology = Topology.from_ids([], shape)
    assert topology.n_links == 0
    assert topology.density == 0.0
    assert topology.row_ptr.size == shape[0] + 1


def test_order_becomes_int64_above_the_position_limit(monkeypatch):
    topology = Topology.full((4, 4))
    assert topology.row_order.dtype == np.int32
    monkeypatch.setattr(module, "POSITION_LIMIT", 7)
    wide = Topology.full((4, 4))
    assert wide.row_order.dtype == np.int64
    assert np.array_equal(wide.row_order, topology.row_order)


def test_link_ids_of_a_huge_shape_do_not_overflow():
    n = 2_000_000_000
    topology = Topology.from_coo([n - 1, 0, n - 1], [5_999, 5, 0], shape=(n, 6_000))
    assert topology.link_ids.tolist() == [(n - 1) * 6_000, 5, n * 6_000 - 1]
    assert topology.find(topology.link_ids).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Topology.from_coo([0], [3], shape=(2, 3)), r"cols in \[0, 3\)"),
        (lambda: Topology.from_coo([-1], [0], shape=(2, 3)), r"rows in \[0, 2\)"),
        (lambda: Topology.from_coo([0, 0], [1, 1], shape=(2, 3)), r"every link once.*row 0, col 1"),
        (lambda: Topology.from_coo([0, 1], [1], shape=(2, 3)), "equal length"),
        (lambda: Topology.from_coo([0.5], [1], shape=(2, 3)), "1-D integer array"),
        (lambda: Topology.from_ids([6], (2, 3)), r"link ids in \[0, 6\)"),
        (lambda: Topology((2, 2), [0, 2, 2], [1, 0]), "sorted and unique"),
        (lambda: Topology((2, 2), [0, 1, 2], [0, 2]), r"rows in \[0, 2\)"),
        (lambda: Topology((2, 2), [0, 2], [0, 1]), r"col_ptr of shape \(3,\)"),
        (lambda: Topology((2, 2), [0, 2, 1], [0]), "col_ptr rising"),
    ],
)
def test_bad_input_is_one_clear_error(build, message):
    with pytest.raises(TopologyError, match=f"Expected.*{message}.*Got|Expected {message}"):
        build()


@pytest.mark.parametrize("shape", [(2,), (-1, 3), (2.5, 3), (2**40, 3)])
def test_a_bad_shape_is_refused(shape):
    with pytest.raises(ShapeError, match="Expected shape"):
        Topology.from_ids([], shape)


def test_links_of_neurons_that_do_not_exist_are_missing():
    topology = Topology.from_coo([0, 1], [1, 2], shape=(2, 3))
    assert topology.contains([2, 0, -1, 1, 1], [0, 5, 2, -1, 2]).tolist() == [False, False, False, False, True]
    assert topology.find([6, -1, 5, 100]).tolist() == [-1, -1, 1, -1]
