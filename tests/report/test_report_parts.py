from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecore import generators
from sparsecore.metrics import find_communities, hub_share
from sparsecore.report.axes import Axis, axis_for
from sparsecore.report.core import core_of
from sparsecore.report.flow import flows
from sparsecore.report.groups import groups_of
from sparsecore.report.network import Structure
from sparsecore.report.tiles import picture, tile_counts
from sparsecore.storage import Topology


def chain(sizes: tuple[int, ...], n_links: int, seed: int = 0) -> tuple[Topology, ...]:
    draw = generators.BSF()
    return tuple(draw((out, into), n_links, seed=seed) for into, out in zip(sizes[:-1], sizes[1:], strict=True))


def test_flows_of_a_small_chain_are_those_of_its_listed_paths() -> None:
    layers = chain((12, 10, 11), 40)
    listed = [
        (cols, rows, layers[1].rows[link])
        for cols, rows in zip(layers[0].cols, layers[0].rows, strict=True)
        for link in np.flatnonzero(layers[1].cols == rows)
    ]
    degrees = (layers[0].in_degrees, layers[0].out_degrees + layers[1].in_degrees, layers[1].out_degrees)
    bands = []
    for side, degree in enumerate(degrees):
        passing = np.bincount([path[side] for path in listed], minlength=degree.size)
        order = np.lexsort((-passing, -degree))
        rank = np.argsort(order)
        bands.append(np.where(rank < np.ceil(0.1 * degree.size), 0, np.where(rank < np.ceil(0.5 * degree.size), 1, 2)))
    for at, matrix in enumerate(flows(layers)):
        expected = np.zeros((3, 3))
        for path in listed:
            expected[bands[at][path[at]], bands[at + 1][path[at + 1]]] += 1 / len(listed)
        np.testing.assert_allclose(matrix, expected, atol=1e-12)


def test_the_first_band_is_that_of_the_hub_share() -> None:
    layers = chain((120, 100, 110, 90), 600)
    found, hubs = flows(layers), hub_share(layers, fraction=0.1)
    for matrix, before, after in zip(found, hubs[:-1], hubs[1:], strict=True):
        assert matrix.sum() == pytest.approx(1)
        assert matrix[0].sum() == pytest.approx(before)
        assert matrix[:, 0].sum() == pytest.approx(after)


def test_a_small_network_is_its_own_core() -> None:
    layers = chain((30, 20, 25), 100)
    assert core_of(layers, 200).layers == layers
    assert core_of(layers, 200).note == ""


@pytest.mark.parametrize("most", [50, 400, 1500])
def test_a_core_holds_the_links_among_the_busiest_neurons(most: int) -> None:
    layers = chain((300, 200, 250), 1000)
    core = core_of(layers, most)
    n_links = sum(layer.n_links for layer in core.layers)
    assert most / 3 < n_links <= most
    assert core.layers[0].n_out == core.layers[1].n_in
    for layer, size in zip(core.layers, (200, 250), strict=True):
        assert layer.n_out == pytest.approx(core.share * size, abs=1)
    degrees = np.sort(layers[0].in_degrees)[::-1]
    assert core.layers[0].in_degrees.max() <= degrees[0]
    assert f"{n_links:,} links" in core.note


def test_groups_count_every_link_once() -> None:
    layers = chain((60, 50, 40), 150)
    groups = groups_of(layers, find_communities(layers))
    within = int(groups.links.diagonal().sum())
    assert within + (int(groups.links.sum()) - within) // 2 == 300
    assert groups.sizes.sum() == np.count_nonzero(groups.member >= 0)
    assert (groups.links == groups.links.T).all()


def test_a_picture_holds_the_shades_it_was_given() -> None:
    image = pytest.importorskip("PIL.Image", reason="needs pillow (extra images)")
    shades = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    head, _, data = picture(shades).partition(",")
    assert head == "data:image/png;base64"
    read = np.asarray(image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    assert (read[..., 3] == shades).all()
    assert (read[..., :3] == read[0, 0, :3]).all()


def test_tiles_count_every_link() -> None:
    layer = chain((1000, 700), 5000)[0]
    counts = tile_counts(layer, tiles=64)
    assert counts.shape == (64, 64)
    assert counts.sum() == layer.n_links


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(3, 8))
def test_ticks_are_few_increasing_and_inside(low: float, span: float, most: int) -> None:
    axis = Axis(low, low + span, 0.0, 1.0)
    if axis.high - axis.low < 1e-9 * max(1.0, abs(low)):
        return
    ticks = axis.ticks(most)
    assert len(ticks) <= most + 1
    assert ticks == sorted(set(ticks))
    assert all(-1e-6 <= axis.at(tick) <= 1 + 1e-6 for tick in ticks)


def test_an_axis_of_equal_values_has_room_on_both_sides() -> None:
    axis = axis_for([0.5, 0.5], 0, 100)
    assert axis.low < 0.5 < axis.high
    assert axis_for([1.0, 1.0], 0, 100, within=(0.0, 1.0)).high == 1.0
    assert axis_for([0.0], 0, 100, within=(0.0, 1.0)).low == 0.0


def test_degrees_that_no_power_law_fits_give_a_reason() -> None:
    pytest.importorskip("powerlaw")
    # One hub in a million: no exponent up to 10 fits, and the package answers with not-a-number.
    pairs = Topology.from_coo(np.arange(15_000), np.arange(15_000), shape=(20_000, 20_000))
    few = Topology.from_coo(np.r_[pairs.rows, 0], np.r_[pairs.cols, 1], shape=pairs.shape)
    assert isinstance(Structure([few]).law, str)


def test_a_network_without_links_gives_reasons_instead_of_figures() -> None:
    structure = Structure([Topology.from_coo([], [], shape=(5, 4))])
    assert all(isinstance(part, str) for part in (structure.law, structure.communities, structure.angles))
    assert [row.value for row in structure.measures if row.name.startswith("active")] == [0.0, 0.0]
