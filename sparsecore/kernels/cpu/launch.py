"""Launch plans: the tables of a chain's passes, made once for a batch size and used until the links change."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sparsecore._typing import Int64Array
from sparsecore.kernels.backend import Layer
from sparsecore.kernels.cpu import chain as columns
from sparsecore.kernels.cpu.chain import PUSH_LANES, backward_stage, forward_stage
from sparsecore.kernels.cpu.plan import Plan, plan_batch
from sparsecore.kernels.cpu.threads import get_num_threads, most_parts
from sparsecore.storage import Topology

__all__ = ["Launch", "backward_tables", "forward_tables", "index_bytes", "launch_for", "plan_for"]

#: Fewest link-samples of work that are worth a thread of their own, where threads share tiles.
WORK_PER_THREAD = 500_000

#: The same where they share the neurons of a single tile: every layer then goes from cache to cache.
WORK_PER_THREAD_OF_TILE = 4_000_000

#: Link-samples of one chunk of a layer, where a single tile is cut by neurons, and the most chunks of a layer.
WORK_PER_CHUNK, MOST_CHUNKS = 1_000_000, 64

#: Launches kept for one chain; batches of more sizes make room for each other.
LAUNCHES_KEPT = 16

# Slots of a forward pass, then values and bias of every layer; slots of a backward pass, then values of every layer.
F_BLOCK, F_FIRST, F_OUTPUTS, F_PARAMS = range(4)
B_BLOCK, B_FIRST, B_INPUT_GRAD, B_OUTPUT_GRAD, B_SUM, B_MORE_SUMS, B_PARAMS = range(7)

#: ``(n_out, n_in, topology or None, rectified)`` of a layer.
Form = tuple[int, int, Topology | None, bool]


def index_bytes(forms: Sequence[Form]) -> int:
    """Return the bytes of neuron ids in the lists of a chain: 2 where those of all its layers are narrow, else 4."""
    return 4 if any(t is not None and t.narrow is None for _, _, t, _ in forms) else 2


def _addresses(topology: Topology, narrow: bool) -> tuple[int, ...]:
    return topology.narrow_addresses if narrow else topology.addresses


def _order(topology: Topology, narrow: bool) -> tuple[int, int, int]:
    return 2 if narrow else topology.row_order.itemsize, _addresses(topology, narrow)[-1], topology.n_links


def forward_tables(forms: Sequence[Form], n_parts: int, lanes: int) -> Int64Array:
    """Return tables, int64, (n_parts, n_layers, columns), that say nothing yet of where activations lie.

    Values and bias of layer i are slots ``F_PARAMS + 2 i`` and the one after.
    """
    table = np.zeros((n_parts, len(forms), columns.FORWARD_COLUMNS), np.int64)
    narrow, pushed = index_bytes(forms) == 2, lanes <= PUSH_LANES

    def lists(topology: Topology | None) -> tuple[int, ...]:
        if topology is None:
            return 0, 0, 0
        return (*_addresses(topology, narrow)[:2], 0) if pushed else _addresses(topology, narrow)[2:]

    table[:, :, : columns.F_X] = [
        (n_out, n_in, *lists(t), relu, at, at + 1)
        for at, (n_out, n_in, t, relu) in zip(range(F_PARAMS, F_PARAMS + 2 * len(forms), 2), forms, strict=True)
    ]
    return table


def backward_tables(forms: Sequence[Form], n_parts: int) -> Int64Array:
    """Return tables as `forward_tables` does; values of layer i are slot ``B_PARAMS + i``.

    Sums of part 0 lie behind slot ``B_SUM``, those of the others behind ``B_MORE_SUMS``.
    """
    table = np.zeros((n_parts, len(forms), columns.BACKWARD_COLUMNS), np.int64)
    narrow = index_bytes(forms) == 2
    gates = [False, *(relu for _, _, _, relu in forms[:-1])]
    table[:, :, : columns.B_X] = [
        (n_out, n_in, *((0, 0) if t is None else _addresses(t, narrow)[:2]), gate, B_PARAMS + k)
        for k, ((n_out, n_in, t, _), gate) in enumerate(zip(forms, gates, strict=True))
    ]
    table[0, :, columns.B_SUMS], table[1:, :, columns.B_SUMS] = B_SUM, B_MORE_SUMS
    return table


class Launch:
    """How a batch of one size runs through one chain.

    Parameters
    ----------
    plan : Plan
        The cut of the batch.
    forms : sequence of tuple
        ``(n_out, n_in, topology or None, rectified)`` of every layer.
    """

    def __init__(self, plan: Plan, forms: Sequence[Form]) -> None:
        self.plan = plan
        self.relus = [relu for _, _, _, relu in forms]
        self.index_bytes = index_bytes(forms)
        wide = any(t is not None and t.row_order.itemsize == 8 for _, _, t, _ in forms)
        #: Whether values are brought into the order of the outputs beforehand: some part reads them more than once.
        self.by_output = (plan.n_tiles > plan.n_parts or wide) and plan.lanes > PUSH_LANES
        #: For every layer whose values are: bytes of a position, address of the positions, links; else ``None``.
        self.orders = [
            _order(t, self.index_bytes == 2) if self.by_output and t is not None else None for _, _, t, _ in forms
        ]
        counts = [n for n_out, n_in, t, _ in forms for n in (n_out * n_in if t is None else t.n_links, n_out)]
        #: Sizes of all sums over samples: values and bias of every layer.
        self.sizes = counts
        self.n_sums = sum(counts)
        work = [plan.batch * n for n in counts[::2]]
        #: Threads that the whole pass is worth.
        worth = WORK_PER_THREAD_OF_TILE if plan.single else WORK_PER_THREAD
        self.n_threads = max(1, min(get_num_threads(), sum(work) // worth))
        #: Chunks of every layer, where a single tile is cut by neurons: the same for any number of threads.
        self.n_chunks = [max(1, min(n // WORK_PER_CHUNK, MOST_CHUNKS)) for n in work]
        # The first topology is what the cache of launches hangs on: holding it here would keep both alive for ever.
        self._others = [t for _, _, t, _ in forms[1:]]
        #: Jobs laid down so far (see `passes`).
        self.routes: dict[Any, Any] = {}
        self._forward = forward_tables(forms, plan.n_parts, plan.lanes)
        self._backward = backward_tables(forms, plan.n_parts)

    @cached_property
    def forward_chunks(self) -> list[int]:
        """`n_chunks` on the way forward; what is pushed cannot be shared."""
        return [1] * len(self.n_chunks) if self.plan.lanes <= PUSH_LANES else self.n_chunks

    def _sums_at(self) -> Int64Array:
        """Return the byte offset of every sum of every part from its slot, int64, (n_parts, 2 * n_layers)."""
        starts = np.cumsum([0, *self.sizes[:-1]])
        lists = np.maximum(np.arange(self.plan.n_parts) - 1, 0)
        return (lists[:, None] * self.n_sums + starts) * self.plan.nbytes

    @cached_property
    def last_sums(self) -> int:
        """Byte offset of the bias sums of the last layer."""
        return (self.n_sums - self.sizes[-1]) * self.plan.nbytes

    def forward(self, *, keep: bool, inputs_again: bool, outputs_again: bool) -> Int64Array:
        """Return the tables of a forward pass.

        Parameters
        ----------
        keep : bool
            Whether it keeps its activations.
        inputs_again, outputs_again : bool
            Whether inputs and outputs of the chain have the room of one tile per part (see `Plan.tiles`).
        """
        plan, table, c = self.plan, self._forward.copy(), columns
        inside, pitch = plan.scratch.first, plan.scratch.pitch
        if keep:
            inside, pitch = plan.kept.first[:, 1:], plan.kept.pitch[1:]
        table[:, :, c.F_X] = table[:, :, c.F_Y] = F_BLOCK
        table[:, 1:, c.F_X_AT] = table[:, :-1, c.F_Y_AT] = inside
        table[:, 1:, c.F_X_PITCH] = table[:, :-1, c.F_Y_PITCH] = pitch
        table[:, 0, c.F_X], table[:, -1, c.F_Y] = F_FIRST, F_OUTPUTS
        table[:, 0, c.F_X_AT], table[:, 0, c.F_X_PITCH] = self._ends(0, inputs_again)
        table[:, -1, c.F_Y_AT], table[:, -1, c.F_Y_PITCH] = self._ends(len(plan.widths) - 1, outputs_again)
        return table

    def _ends(self, index: int, again: bool) -> tuple[Int64Array, int]:
        """Return the offset of activation `index`, at an end of the chain, for every part, and its pitch."""
        pitch, part_pitch = self.plan.pitches(index, again=again)
        return part_pitch * np.arange(self.plan.n_parts), pitch

    def backward(self, *, inputs_again: bool, outputs_again: bool) -> Int64Array:
        """Return the tables of the backward pass, which puts gradients in the place of the activations.

        Parameters
        ----------
        inputs_again, outputs_again : bool
            Whether the gradients of inputs and outputs have the room of one tile per part.
        """
        plan, table, c = self.plan, self._backward.copy(), columns
        sums = self._sums_at()
        table[:, :, c.B_X], table[:, 0, c.B_X] = B_BLOCK, B_FIRST
        table[:, :, c.B_X_AT], table[:, :, c.B_X_PITCH] = plan.kept.first, plan.kept.pitch
        table[:, :, c.B_DY], table[:, -1, c.B_DY] = B_BLOCK, B_OUTPUT_GRAD
        table[:, :, c.B_DX], table[:, 0, c.B_DX] = B_BLOCK, B_INPUT_GRAD
        table[:, 1:, c.B_DX_AT] = table[:, :-1, c.B_DY_AT] = plan.kept.first[:, 1:]
        table[:, 1:, c.B_DX_PITCH] = table[:, :-1, c.B_DY_PITCH] = plan.kept.pitch[1:]
        table[:, 0, c.B_DX_AT], table[:, 0, c.B_DX_PITCH] = self._ends(0, inputs_again)
        table[:, -1, c.B_DY_AT], table[:, -1, c.B_DY_PITCH] = self._ends(len(plan.widths) - 1, outputs_again)
        table[:, :, c.B_DVALUES_AT] = sums[:, ::2]
        table[:, 0, c.B_DBIAS_AT], table[:, 1:, c.B_DBIAS_AT] = -1, sums[:, 1:-1:2]
        table[:, :, c.B_FIRST_TILE] = (np.arange(plan.n_parts) * plan.n_tiles // plan.n_parts)[:, None]
        return table

    @cached_property
    def forward_address(self) -> int:
        """The stage of the forward pass."""
        order_bytes = 0 if self.by_output or self.plan.lanes <= PUSH_LANES else self.index_bytes
        return forward_stage(self.plan.lanes, self.plan.nbytes, self.index_bytes, order_bytes)

    @cached_property
    def backward_address(self) -> int:
        """The stage of the backward pass."""
        return backward_stage(self.plan.lanes, self.plan.nbytes, self.index_bytes)


_launches: dict[int, dict[tuple[Any, ...], Launch]] = {}


def launch_for(x: torch.Tensor, layers: Sequence[Layer]) -> Launch:
    """Return the launch of `x`, (B, n_in), through a chain; made on the first call for these links and this batch."""
    # Topologies are told apart by identity: those of a launch live as long as it does, and it no longer than the first.
    key = (
        *x.shape,
        x.dtype,
        get_num_threads(),
        most_parts(),
        *[(id(la.topology) if la.topology is not None else la.values.shape, la.relu) for la in layers],
    )
    anchor = layers[0].topology
    if anchor is None:
        return _new_launch(x, layers)
    known = _launches.get(id(anchor))
    if known is None:
        known = _launches[id(anchor)] = {}
        weakref.finalize(anchor, _launches.pop, id(anchor), None).atexit = False
    launch = known.get(key)
    if launch is None:
        if len(known) >= LAUNCHES_KEPT:
            known.clear()
        launch = known[key] = _new_launch(x, layers)
    return launch


def _new_launch(x: torch.Tensor, layers: Sequence[Layer]) -> Launch:
    forms = [(layer.n_out, layer.n_in, layer.topology, layer.relu) for layer in layers]
    return Launch(plan_for(x.shape[0], forms, x.dtype), forms)


def plan_for(batch: int, forms: Sequence[Form], dtype: torch.dtype) -> Plan:
    """Return the cut of a batch through a chain, into as many parts as its work is worth."""
    work = batch * sum(n_out * n_in if t is None else t.n_links for n_out, n_in, t, _ in forms)
    n_parts = max(1, min(most_parts(), work // WORK_PER_THREAD))
    return plan_batch(batch, (forms[0][1], *(n_out for n_out, _, _, _ in forms)), n_parts, dtype)
