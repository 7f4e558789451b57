from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import topologies

from sparsecore.evolution import percolate
from sparsecore.evolution.percolation import activity
from sparsecore.nn import End, Joint
from sparsecore.nn.joint import in_a_row


@st.composite
def circuits(draw: Any) -> Any:
    """Draw layers, links that are left, and joints between any of their sides."""
    layers = [
        draw(topologies((draw(st.integers(1, 6)), draw(st.integers(1, 6))))) for _ in range(draw(st.integers(1, 3)))
    ]
    kept = [np.array([k for k in range(t.n_links) if draw(st.booleans())], np.int64) for t in layers]
    joints = []
    for _ in range(draw(st.integers(0, 3))):
        n_units = draw(st.integers(1, 4))
        ends = []
        for _ in range(draw(st.integers(2, 3))):
            at, side = draw(st.integers(0, len(layers) - 1)), draw(st.sampled_from(["in", "out"]))
            size = layers[at].n_out if side == "out" else layers[at].n_in
            unit = draw(st.lists(st.integers(-1, n_units - 1), min_size=size, max_size=size))
            ends.append(End(at, side, np.array(unit, np.int64), draw(st.booleans())))
        joints.append(Joint(tuple(ends), n_units))
    return layers, kept, joints


def fixpoint(layers: Any, kept: Any, joints: Any) -> list[set[int]]:
    """Take away the links of one dead unit at a time until nothing changes."""
    links = [set(positions.tolist()) for positions in kept]

    def members(end: End, unit: int) -> set[int]:
        ids = layers[end.layer].rows if end.side == "out" else layers[end.layer].cols
        return {k for k in links[end.layer] if end.unit[ids[k]] == unit}

    changed = True
    while changed:
        changed = False
        for joint in joints:
            for unit in range(joint.n_units):
                found = [members(end, unit) for end in joint.ends]
                needed = [f for f, end in zip(found, joint.ends, strict=True) if not end.lives]
                if any(found) and not all(needed):
                    for part, end in zip(found, joint.ends, strict=True):
                        links[end.layer] -= part
                    changed = True
    return links


@given(circuits())
def test_percolation_over_joints_is_the_fixpoint(circuit: Any) -> None:
    layers, kept, joints = circuit
    stay = percolate(layers, kept, joints)
    assert [set(positions.tolist()) for positions in stay] == fixpoint(layers, kept, joints)
    assert all(np.array_equal(a, b) for a, b in zip(stay, percolate(layers, stay, joints), strict=True))


@given(st.data())
def test_a_chain_is_joints_in_a_row(data: Any) -> None:
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    layers = [data.draw(topologies((n_out, n_in))) for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True)]
    kept = [np.arange(t.n_links) for t in layers]
    joints = in_a_row(sizes[1:])
    for a, b in zip(percolate(layers, kept), percolate(layers, kept, joints), strict=True):
        assert np.array_equal(a, b)
    assert activity(layers, joints).n_neurons == sum(sizes)
