"""Which sparse layers of a model share neurons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from sparsecore.nn.blocks import Block, Meeting, known_block
from sparsecore.nn.chain import is_plain, runs_of, sequences_within, sparse_layers
from sparsecore.nn.joint import Circuit, End, Joint
from sparsecore.nn.linear import SparseLinear

__all__ = ["Structure", "find_chains", "find_structure"]


@dataclass(frozen=True)
class Structure:
    """The sparse layers of a model and where they meet.

    Attributes
    ----------
    circuits : list of Circuit
        Every sparse layer is in exactly one; one that meets no other is a circuit by itself.
    unknown : dict of str to str
        Layers whose neighbours were not found, by name, and why.
    """

    circuits: list[Circuit]
    unknown: dict[str, str]

    def describe_unknown(self) -> str:
        """Return one sentence about the layers whose neighbours were not found; empty if there are none."""
        by_reason: dict[str, dict[str, None]] = {}
        for name, reason in self.unknown.items():
            by_reason.setdefault(reason, {})[re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name)] = None
        return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())


def find_structure(model: nn.Module) -> Structure:
    """Return which sparse layers of a model share neurons.

    Found are: neighbours inside an `nn.Sequential` that elementwise modules separate; feed-forward blocks, gated ones
    too; values and output of attentions, with grouped heads too; queries and keys of attentions of the `transformers`
    library, feature by feature, under rotary positions in the pairs that turn together. A module may state what it
    holds by a method ``sparse_chains()``; nothing else is looked for in it then.

    Examples
    --------
    >>> layers = [SparseLinear(8, 16, density=0.5), nn.ReLU(), SparseLinear(16, 4, density=0.5)]
    >>> [len(circuit.layers) for circuit in find_structure(nn.Sequential(*layers)).circuits]
    [2]
    """
    pieces: list[tuple[list[SparseLinear], list[list[Meeting]]]] = []
    understood: set[int] = set()
    reasons: dict[int, str] = {}
    stated: set[int] = set()
    for module in model.modules():
        if id(module) in stated:  # its parent has said all
            continue
        if callable(getattr(module, "sparse_chains", None)):
            chains: Sequence[Sequence[SparseLinear]] = module.sparse_chains()  # type: ignore[operator]
            stated |= {id(part) for part in module.modules()}
            understood |= {id(layer) for layer in sparse_layers(module).values()}
        elif is_plain(module):
            chains = runs_of(module)
            stated |= set(map(id, sequences_within(module)))
            # Of a layer by itself nobody knows what follows it outside.
            understood |= {id(layer) for chain in chains if len(chain) > 1 or module is model for layer in chain}
        else:
            block = known_block(module)
            pieces += _pieces(block)
            reasons |= {id(layer): reason for layer, reason in block.left}
            continue
        pieces += [_piece(Circuit.chain(chain)) for chain in chains]
    circuits = [_circuit(*piece) for piece in _merged(pieces)]
    seen = {id(layer) for circuit in circuits for layer in circuit.layers}
    understood |= {id(layer) for circuit in circuits if circuit.joints for layer in circuit.layers}
    layers = sparse_layers(model)
    circuits += [Circuit.chain([layer]) for layer in layers.values() if id(layer) not in seen]
    missing = {name: layer for name, layer in layers.items() if id(layer) in reasons or id(layer) not in understood}
    why = "no known structure" if len(layers) > 1 else ""
    unknown = {name: reasons.get(id(layer), why) for name, layer in missing.items()}
    return Structure(circuits, {name: reason for name, reason in unknown.items() if reason})


def find_chains(model: nn.Module) -> list[list[SparseLinear]]:
    """Return the sparse layers of a model grouped into chains: the outputs of one are the inputs of the next.

    Of what `find_structure` finds, these are the plain chains; every other sparse layer is a chain by itself.
    """
    chains: list[list[SparseLinear]] = []
    for circuit in find_structure(model).circuits:
        chains += [list(circuit.layers)] if circuit.is_chain else [[layer] for layer in circuit.layers]
    return chains


def _piece(circuit: Circuit) -> tuple[list[SparseLinear], list[list[Meeting]]]:
    meetings = [[Meeting(circuit.layers[end.layer], end.side) for end in joint.ends] for joint in circuit.joints]
    return list(circuit.layers), meetings


def _pieces(block: Block) -> Iterator[tuple[list[SparseLinear], list[list[Meeting]]]]:
    for meeting in block.meetings:
        yield list({id(side.layer): side.layer for side in meeting}.values()), [meeting]


def _merged(
    pieces: Sequence[tuple[list[SparseLinear], list[list[Meeting]]]],
) -> list[tuple[list[SparseLinear], list[list[Meeting]]]]:
    """Return pieces without a layer in common, in the order of their first parts."""
    merged: list[tuple[list[SparseLinear], list[list[Meeting]]]] = []
    for layers, meetings in pieces:
        ids = {id(layer) for layer in layers}
        touched = [piece for piece in merged if ids & {id(layer) for layer in piece[0]}]
        if not touched:
            once = {id(layer): layer for layer in layers}  # a layer may stand twice in a sequence
            merged.append((list(once.values()), list(meetings)))
            continue
        home = touched[0]
        for other in (*touched[1:], (layers, meetings)):
            present = {id(layer) for layer in home[0]}
            home[0].extend(layer for layer in other[0] if id(layer) not in present)
            home[1].extend(other[1])
        merged = [piece for piece in merged if not any(piece is gone for gone in touched[1:])]
    return merged


def _circuit(layers: Sequence[SparseLinear], meetings: Sequence[Sequence[Meeting]]) -> Circuit:
    place = {id(layer): index for index, layer in enumerate(layers)}
    joints = [
        Joint(tuple(End(place[id(side.layer)], side.side, side.unit, side.lives) for side in meeting), _units(meeting))
        for meeting in meetings
    ]
    return Circuit(tuple(layers), tuple(joints))


def _units(meeting: Sequence[Meeting]) -> int:
    def count(side: Meeting) -> int:
        if side.unit is not None:
            return int(side.unit.max(initial=-1)) + 1
        return side.layer.out_features if side.side == "out" else side.layer.in_features

    return max(count(side) for side in meeting)
