from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch
from hf_models import FAMILIES, build, outputs
from torch import nn

from sparsecore.evolution import percolate
from sparsecore.evolution.percolation import activity
from sparsecore.nn import Circuit, SparseLinear, find_chains, find_structure, sparse_layers, sparsify

#: Layers that stay alone: keys that a bias or a norm lets depend on more than their links, under rotary positions.
ALONE = {family: ["*q_proj", "*k_proj"] for family in ("qwen2", "qwen3")}


def some_neurons_lost(model: nn.Module, seed: int) -> Iterator[tuple[Circuit, list[np.ndarray]]]:
    """Yield every circuit with the links left when one side of each joint has lost those of half its neurons."""
    draw = np.random.default_rng(seed)
    for circuit in find_structure(model).circuits:
        topologies = [layer.topology for layer in circuit.layers]
        kept = [np.arange(t.n_links) for t in topologies]
        for joint in circuit.joints:
            end = draw.choice([end for end in joint.ends if not end.lives])
            ids = topologies[end.layer].rows if end.side == "out" else topologies[end.layer].cols
            unit = ids if end.unit is None else end.unit[ids]
            lost = (unit >= 0) & (draw.random(joint.n_units) < 0.5)[np.maximum(unit, 0)]
            kept[end.layer] = kept[end.layer][~lost[kept[end.layer]]]
        yield circuit, kept


def keep_only(circuit: Circuit, kept: list[np.ndarray]) -> None:
    for layer, positions in zip(circuit.layers, kept, strict=True):
        values = torch.zeros_like(layer.values.data)
        values[torch.from_numpy(positions)] = layer.values.data[torch.from_numpy(positions)]
        layer.values.data = values


def give_biases_to_queries_and_keys(model: nn.Module) -> None:
    for circuit in find_structure(model).circuits:
        for joint in circuit.joints:
            for end in joint.ends if {end.side for end in joint.ends} == {"out"} else ():
                bias = circuit.layers[end.layer].bias
                if bias is not None and circuit.layers[end.layer].out_features != 40:
                    members = torch.from_numpy(end.unit >= 0)
                    bias.data[members] = torch.randn(int(members.sum()))


@pytest.mark.parametrize("family", FAMILIES)
def test_links_that_percolation_takes_do_nothing(family: str) -> None:
    model = sparsify(build(family), density=0.2, seed=1)
    give_biases_to_queries_and_keys(model)
    before = outputs(model)
    left, lost = [], 0
    for circuit, kept in some_neurons_lost(model, seed=2):
        keep_only(circuit, kept)
        joints = None if circuit.is_chain else circuit.joints
        left.append((circuit, percolate([layer.topology for layer in circuit.layers], kept, joints)))
        lost += sum(a.size - b.size for a, b in zip(kept, left[-1][1], strict=True))
    expected = outputs(model)
    for circuit, kept in left:
        keep_only(circuit, kept)
    scale = expected.abs().max()
    assert lost > 0
    assert (expected - before).abs().max() > 1e-2 * scale
    assert (outputs(model) - expected).abs().max() < 1e-5 * scale


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_of_a_known_family_is_joined(family: str) -> None:
    model = sparsify(build(family), density=0.2, seed=0)
    structure = find_structure(model)
    layers = sparse_layers(model)
    alone = {name for name in layers if any(fnmatchcase(name, pattern) for pattern in ALONE.get(family, ()))}
    assert set(structure.unknown) == alone
    found = [layer for circuit in structure.circuits for layer in circuit.layers]
    assert sorted(map(id, found)) == sorted(map(id, layers.values()))
    joined = {id(c.layers[end.layer]) for c in structure.circuits for joint in c.joints for end in joint.ends}
    assert joined == {id(layer) for name, layer in layers.items() if name not in alone}


def test_rotated_features_are_joined_in_the_pairs_that_turn_together() -> None:
    def pairs(family: str) -> list[list[int]]:
        circuits = find_structure(sparsify(build(family), density=0.2, seed=0)).circuits
        unit = next(j.ends[0].unit for c in circuits for j in c.joints if {end.side for end in j.ends} == {"out"})
        return [np.flatnonzero(unit == number).tolist() for number in range(4)]

    assert pairs("llama") == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert pairs("cohere") == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert pairs("gpt-neox-plain") == [[0, 2], [1, 3], [4], [5]]
    assert pairs("llama-grouped") == [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]]


def sparse(n_in: int, n_out: int) -> SparseLinear:
    return SparseLinear(n_in, n_out, density=0.3, seed=n_in)


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = sparse(6, 8), sparse(8, 6)


class Gated(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = sparse(6, 8), sparse(6, 8), sparse(8, 6)
        self.act_fn = activation


def test_what_is_not_known_is_left_alone_and_said_in_one_sentence() -> None:
    structure = find_structure(nn.ModuleList([Odd(), Odd()]))
    assert [circuit.joints for circuit in structure.circuits] == [()] * 4
    assert structure.describe_unknown() == "*.a, *.b (no known structure)"


def test_a_gate_that_is_open_without_links_does_not_close_its_neuron() -> None:
    lives = {
        type(act).__name__: find_structure(Gated(act)).circuits[0].joints[0].ends[0].lives
        for act in (nn.SiLU(), nn.Sigmoid())
    }
    assert lives == {"SiLU": False, "Sigmoid": True}


def test_a_norm_over_the_middle_of_a_block_keeps_it_apart() -> None:
    block = nn.Module()
    block.fc1, block.norm, block.fc2 = sparse(6, 8), nn.LayerNorm(8), sparse(8, 6)
    assert "norm stands between them" in find_structure(block).describe_unknown()


def test_dense_layers_of_a_block_need_no_links() -> None:
    block = Gated(nn.SiLU())
    block.gate_proj = nn.Linear(6, 8)
    circuit = find_structure(block).circuits[0]
    assert circuit.layers == (block.up_proj, block.down_proj)
    assert circuit.is_chain
    assert find_chains(block) == [[block.up_proj, block.down_proj]]


def test_a_block_that_is_no_chain_is_single_layers_among_the_chains() -> None:
    block = Gated(nn.SiLU())
    assert find_chains(block) == [[block.gate_proj], [block.up_proj], [block.down_proj]]


def test_activity_counts_what_layers_have_in_common_once() -> None:
    block = Gated(nn.SiLU())
    (circuit,) = find_structure(block).circuits
    topologies = [layer.topology for layer in circuit.layers]
    found = activity(topologies, circuit.joints)
    gate, up, down = topologies
    middle = (gate.out_degrees > 0) & (up.out_degrees > 0) & (down.in_degrees > 0)
    assert all(np.array_equal(side, middle) for side in (found.sides[0][1], found.sides[1][1], found.sides[2][0]))
    ends = [gate.in_degrees > 0, up.in_degrees > 0, middle, down.out_degrees > 0]
    assert (found.n_active, found.n_neurons) == (sum(int(e.sum()) for e in ends), 6 + 6 + 8 + 6)


def test_sequences_within_sequences_count_as_written_out():
    blocks = [nn.Sequential(sparse(8, 8), nn.ReLU()) for _ in range(3)]
    model = nn.Sequential(blocks[0], nn.Sequential(nn.Dropout(0.1), blocks[1]), blocks[2], nn.Linear(8, 2))
    structure = find_structure(model)
    assert [len(circuit.layers) for circuit in structure.circuits] == [3]
    assert all(circuit.is_chain for circuit in structure.circuits)
    assert not structure.unknown


def test_a_layer_alone_in_its_sequence_is_named_where_others_exist():
    model = nn.Module()
    model.a, model.b = (nn.Sequential(sparse(8, 8), nn.ReLU()) for _ in range(2))
    assert set(find_structure(model).unknown) == {"a.0", "b.0"}
    assert not find_structure(nn.Sequential(sparse(8, 8), nn.Conv1d(8, 8, 1), sparse(8, 8))).unknown
