"""Passes through a chain as jobs: what stays is laid down once per launch, the addresses of a call are filled in."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch

from sparsecore.kernels.cpu.launch import Launch
from sparsecore.kernels.cpu.stages import Phase, Stage, job_of, place_in
from sparsecore.kernels.cpu.tiles import RUNS, gather_stage, pack_stage, reduce_stage, unpack_stage

__all__ = ["BACKWARD", "FORWARD", "Route", "addresses", "chunks_of", "route_of"]

FORWARD, BACKWARD = "forward", "backward"

#: Floats in a chunk when they are moved or added up, and the most chunks.
_FLOATS_PER_CHUNK, _MOST_CHUNKS = 16_384, 64

# Where in the arguments of a stage the addresses of a call begin, and how many there are.
_PACK, _PACK_ADDRESSES = 8, 7
_SWEEP = 3
_UNPACK, _UNPACK_ADDRESSES = 5, 2
_REDUCE, _REDUCE_ADDRESSES = 2, 2


class Route:
    """The job of one kind of pass, and the places where the addresses of a call belong.

    It holds the tables that its jobs work on: it has to live as long as they do.

    Parameters
    ----------
    launch : Launch
        Chain and batch.
    direction : str
        `FORWARD` or `BACKWARD`.
    keep : bool
        Whether a forward pass keeps its activations.
    pack, unpack : bool
        Whether a row-major tensor is cut into tiles first, and whether the last tiles are put together. Tiles at an end
        of the chain that nobody needs afterwards share the room of one per part: `first_again` and `last_again`.
    more : sequence of Phase
        What follows.
    """

    def __init__(
        self, launch: Launch, direction: str, *, keep: bool, pack: bool, unpack: bool, more: Sequence[Phase] = ()
    ) -> None:
        plan, forward, n = launch.plan, direction == FORWARD, len(launch.relus)
        first, last = (0, n) if forward else (n, 0)
        single, n_slots = int(plan.single), 3 + 2 * n if forward else 6 + n
        self.first_again = pack and not plan.single and not (forward and keep)
        self.last_again = unpack and not plan.single and not (forward and keep and launch.relus[-1])
        if forward:
            tables = launch.forward(keep=keep, inputs_again=self.first_again, outputs_again=self.last_again)
        else:
            tables = launch.backward(inputs_again=self.last_again, outputs_again=self.first_again)
        self._tables = tables
        address = launch.forward_address if forward else launch.backward_address
        sweep: Stage = address, [single, tables.ctypes.data, n, *[0] * n_slots]
        cut = [single, plan.batch, plan.widths[first], *plan.pitches(first, again=self.first_again)]
        cut += [plan.n_tiles, plan.n_parts, launch.n_sums * plan.nbytes, *[0] * _PACK_ADDRESSES]
        put = [single, plan.batch, plan.widths[last], *plan.pitches(last, again=self.last_again)]
        packing: Stage = pack_stage(plan.lanes, plan.nbytes), cut
        unpacking: Stage = unpack_stage(plan.lanes, plan.nbytes), [*put, *[0] * _UNPACK_ADDRESSES]
        phases = phases_of(launch, first, last, packing if pack else None, sweep, unpacking if unpack else None)
        self._gather = _gather_of(launch) if forward and launch.by_output else []
        reduce: Stage = reduce_stage(plan.nbytes), [launch.n_sums, plan.n_parts - 1, 0, 0]
        reduces = not forward and plan.n_parts > 1
        if reduces:
            phases.append(Phase([reduce], chunks_of(launch.n_sums), RUNS))
        self._job = job_of([*[phase for phase, _ in self._gather], *phases, *more])
        self._sweep = place_in(self._job, sweep) + _SWEEP
        self._pack = place_in(self._job, packing) + _PACK if pack else 0
        self._unpack = place_in(self._job, unpacking) + _UNPACK if unpack else 0
        self._reduce = place_in(self._job, reduce) + _REDUCE if reduces else 0
        self.n_slots = n_slots

    @property
    def batch_at(self) -> int:
        """Where in the job the number of samples to cut into tiles stands."""
        return self._pack - _PACK + 1

    def job(
        self,
        slots: Sequence[int],
        pack: Sequence[int] = (),
        unpack: Sequence[int] = (),
        reduce: Sequence[int] = (),
        gather: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ) -> array[int]:
        """Return the job of one call.

        Parameters
        ----------
        slots : sequence of int
            Of the tables.
        pack, unpack, reduce : sequence of int
            Addresses for these stages: source, its strides, tiles, gate, sums and further sums; tiles and target; sums
            and further sums.
        gather : tuple of two sequences of int
            Addresses of the values of every layer, as they are and in the order of the outputs.
        """
        job = self._job[:]
        job[self._sweep : self._sweep + self.n_slots] = array("q", slots)
        if self._pack:
            job[self._pack : self._pack + _PACK_ADDRESSES] = array("q", pack)
        if self._unpack:
            job[self._unpack : self._unpack + _UNPACK_ADDRESSES] = array("q", unpack)
        if self._reduce:
            job[self._reduce : self._reduce + _REDUCE_ADDRESSES] = array("q", reduce)
        for phase, layers in self._gather:
            at = place_in(job, phase.stages[0]) + 1
            for layer in layers:
                job[at], job[at + 2] = gather[0][layer], gather[1][layer]
                at += 4
        return job


def route_of(launch: Launch, direction: str, *, keep: bool = True, pack: bool = True, unpack: bool = True) -> Route:
    """Return the route of a pass, made on the first call for this launch."""
    key = (direction, keep, pack, unpack)
    route = launch.routes.get(key)
    if route is None:
        route = launch.routes[key] = Route(launch, direction, keep=keep, pack=pack, unpack=unpack)
    return route  # type: ignore[no-any-return]


def chunks_of(n_floats: int) -> int:
    """Return the chunks that floats to be moved or added up are worth."""
    return max(1, min(n_floats // _FLOATS_PER_CHUNK, _MOST_CHUNKS))


def phases_of(
    launch: Launch, first: int, last: int, pack: Stage | None, sweep: Stage, unpack: Stage | None
) -> list[Phase]:
    """Return the phases of a pass from activation `first` to activation `last`.

    Several tiles are one phase, which each runs through while it is in the cache. A single tile is cut by neurons, one
    phase per layer.
    """
    plan, forward = launch.plan, first == 0
    if not plan.single:
        stages = [part for part in (pack, sweep, unpack) if part is not None]
        return [Phase(stages, plan.n_parts, plan.n_tiles, step=1)]
    chunks, widths = (launch.forward_chunks, plan.widths[1:]) if forward else (launch.n_chunks, plan.widths)
    order = range(last) if forward else range(first - 1, -1, -1)
    phases = [Phase([sweep], chunks[layer], widths[layer], layer) for layer in order]
    if pack is not None:
        phases.insert(0, Phase([pack], chunks_of(plan.widths[first] * plan.lanes), plan.widths[first], 0))
    if unpack is not None:
        phases.append(Phase([unpack], chunks_of(plan.widths[last] * plan.lanes), plan.widths[last], 0))
    return phases


def _gather_of(launch: Launch) -> list[tuple[Phase, list[int]]]:
    """Return the phases that write the values of sparse layers in output-major order, each with its layers."""
    phases = []
    for order_bytes in sorted({order[0] for order in launch.orders if order is not None}):
        lists = [
            (k, *order[1:]) for k, order in enumerate(launch.orders) if order is not None and order[0] == order_bytes
        ]
        numbers = [number for _, address, n_links in lists for number in (0, address, 0, n_links)]
        stage = gather_stage(launch.plan.nbytes, order_bytes), [len(lists), *numbers]
        phases.append((Phase([stage], chunks_of(sum(numbers[3::4])), RUNS), [k for k, _, _ in lists]))
    return phases


def addresses(tensors: Sequence[torch.Tensor | None]) -> list[int]:
    """Return where tensors begin; 0 for ``None``."""
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
