import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import assert_canonical, shapes, topologies

from sparsecore.errors import ShapeError, TopologyError
from sparsecore.storage import Topology, TopologyEdit


@st.composite
def edits(draw):
    shape = draw(shapes())
    return TopologyEdit.between(draw(topologies(shape)), draw(topologies(shape)))


@given(edits())
def test_per_link_arrays_follow_their_link(edit):
    assert_canonical(edit.new)
    marks = edit.old.link_ids.astype(np.float64) + 1
    moved = edit.remap(marks)
    survives = np.isin(edit.new.link_ids, edit.old.link_ids)
    assert np.array_equal(moved, np.where(survives, edit.new.link_ids + 1.0, 0.0))
    assert torch.equal(edit.remap(torch.from_numpy(marks)), torch.from_numpy(moved))
    assert np.array_equal(edit.new.link_ids[edit.fresh], edit.new.link_ids[~survives])
    assert np.array_equal(edit.retired, np.flatnonzero(~np.isin(edit.old.link_ids, edit.new.link_ids)))
    assert edit.is_identity == (edit.old == edit.new)


@given(topologies(min_links=1), st.data())
def test_a_plan_is_kept_plus_grown(old, data):
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, old.n_links - 1)))), np.int64)
    free = np.setdiff1d(np.arange(old.n_possible), old.link_ids[kept])
    grown = data.draw(st.permutations(free.tolist()))[: free.size // 2]
    edit = TopologyEdit.plan(old, kept, grown)
    assert set(edit.new.link_ids) == set(old.link_ids[kept]) | set(grown)


def test_a_removed_link_that_is_regrown_keeps_its_place():
    old = Topology.from_ids([0, 3], (2, 2))
    edit = TopologyEdit.plan(old, kept=[0], grown=[3])
    assert edit.is_identity
    assert edit.source.tolist() == [0, 1]


def test_growing_a_kept_link_is_refused():
    old = Topology.from_ids([0, 3], (2, 2))
    with pytest.raises(TopologyError, match="every link once"):
        TopologyEdit.plan(old, kept=[0, 1], grown=[3])


def test_a_kept_position_out_of_range_is_refused():
    with pytest.raises(TopologyError, match="kept positions"):
        TopologyEdit.plan(Topology.from_ids([0], (2, 2)), kept=[1], grown=[])


def test_values_of_another_length_are_refused():
    edit = TopologyEdit.between(Topology.from_ids([0], (2, 2)), Topology.from_ids([1], (2, 2)))
    with pytest.raises(ShapeError, match=r"values of shape \(1,\)"):
        edit.remap(np.zeros(2))
    with pytest.raises(ShapeError, match="one shape"):
        TopologyEdit.between(Topology.from_ids([0], (2, 2)), Topology.from_ids([0], (2, 3)))


@pytest.mark.parametrize("bad", [np.array([True, False]), [0.9], [np.nan]], ids=["mask", "float", "nan"])
def test_neither_masks_nor_floats_are_positions_or_ids(bad):
    topology = Topology.from_ids([0, 5], (3, 3))
    for plan in (lambda: TopologyEdit.plan(topology, bad, []), lambda: TopologyEdit.plan(topology, [0], bad)):
        with pytest.raises(TopologyError, match="as a 1-D integer array"):
            plan()
    with pytest.raises(TopologyError, match="ids as a 1-D integer array"):
        topology.find(bad)
    with pytest.raises(TopologyError, match="rows as a 1-D integer array"):
        topology.contains(bad, bad)


def test_complex_values_move_with_their_links():
    edit = TopologyEdit.plan(Topology.from_ids([0, 5], (3, 3)), [1], [1])
    moved = edit.remap(torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128))
    assert sorted(moved.tolist(), key=abs) == [0, 3 - 1j]
