import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecore.errors import ConfigError, ShapeError, UnknownNameError
from sparsecore.generators import allocate, allocations

names = st.sampled_from(allocations.names())
networks = st.lists(st.lists(st.integers(1, 40), min_size=2, max_size=4).map(tuple), max_size=6)


@given(name=names, shapes=networks, density=st.floats(0, 1))
def test_the_total_is_exact_and_no_layer_overflows(name, shapes, density):
    links = allocate(name, shapes, density)
    room = [math.prod(shape) for shape in shapes]
    assert sum(links) == round(density * sum(room))
    assert all(0 <= n <= most for n, most in zip(links, room, strict=True))


@given(name=names, shapes=networks.filter(len), density=st.floats(0, 1))
def test_layers_that_are_not_full_follow_the_rule(name, shapes, density):
    links = np.array(allocate(name, shapes, density))
    room = np.array([math.prod(shape) for shape in shapes])
    weight = np.array([allocations.entry(name).factory(shape) for shape in shapes]) * room
    free = links < room - 1
    if free.any():
        scale = links[free].sum() / weight[free].sum()
        assert np.all(np.abs(links[free] - scale * weight[free]) <= 2 + 1e-6)
        # A full layer is one that the rule would have filled.
        assert np.all(scale * weight[~free] >= room[~free] - 2 - 2 * weight[~free] / weight[free].sum() * free.size)


def test_one_layer_gets_everything():
    for name in allocations.names():
        assert allocate(name, [(30, 20)], 0.5) == [300]
        assert allocate(name, [], 0.5) == []


def test_er_gives_narrow_layers_more_than_uniform_does():
    shapes = [(1_000, 1_000), (10, 1_000)]
    assert allocate("uniform", shapes, 0.1) == [100_000, 1_000]
    er = allocate("er", shapes, 0.01)
    assert er[1] > allocate("uniform", shapes, 0.01)[1]
    assert er[0] / er[1] == pytest.approx(2_000 / 1_010, rel=1e-3)


def test_a_full_layer_leaves_its_surplus_to_the_others():
    assert allocate("er", [(1_000, 1_000), (2, 1_000)], 0.5) == [499_000, 2_000]


@given(shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=5), density=st.floats(0, 1))
def test_erk_is_er_where_there_is_no_kernel(shapes, density):
    assert allocate("erk", shapes, density) == allocate("er", shapes, density)


def test_erk_counts_the_kernel():
    (conv, linear) = allocate("erk", [(64, 64, 3, 3), (64, 64)], 0.05)
    assert conv / linear == pytest.approx((64 + 64 + 3 + 3) / (64 + 64), rel=1e-2)


def test_layers_larger_than_a_float_can_count_to_one_in_are_shared_exactly():
    shapes = [(2**20, 2**20), (2**20, 2**20 + 1), (3, 5)]
    assert sum(allocate("uniform", shapes, 0.3)) == round(0.3 * sum(map(math.prod, shapes)))


@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, -1), (3, 1.5), ()])
def test_shapes_without_links_are_refused(shape):
    with pytest.raises(ShapeError, match="Expected every shape"):
        allocate("uniform", [(3, 3), shape], 0.5)


def test_bad_densities_and_names_are_refused():
    with pytest.raises(ConfigError, match=r"Expected density in \[0, 1\]"):
        allocate("uniform", [(3, 3)], 1.5)
    with pytest.raises(UnknownNameError, match="Did you mean 'uniform'"):
        allocate("unifrom", [(3, 3)], 0.5)
