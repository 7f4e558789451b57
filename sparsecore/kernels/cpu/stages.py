"""Jobs: phases of compiled work, whose chunks are claimed by the threads of torch's own OpenMP team.

A *stage* is a compiled C function ``(arguments, number, low, high)``: the address of its int64 arguments, a number, and
a range of units (tiles, neurons, floats). A *phase* cuts its units into chunks and takes each chunk through one or more
stages, as a whole or some units at a time, so that what one stage leaves in the cache the next finds there. The chunks
of a phase may run at the same time; a phase begins when the one before has ended.

A *job* is an int64 array: a header and the phases (columns below); the address of every stage and the place of its
arguments in the job; these arguments. Whoever runs a job claims chunk after chunk until
none is left, so that any number of threads can run it, one alone as well: what is computed never depends on how many.

Torch's team is used because its threads wait for work at the end of every parallel operation of torch: a job starts on
them within a microsecond or two, and no second set of threads fights them for the cores.
"""

from __future__ import annotations

import ctypes
import os
from array import array
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numba import cfunc, types

from sparsecore.kernels.cpu.memory import entry, fetch_add, invoke, load_acquire
from sparsecore.kernels.cpu.threads import run_parts

__all__ = [
    "CLAIMED",
    "ENDED",
    "Phase",
    "Stage",
    "drive_address",
    "fork_address",
    "job_of",
    "place_in",
    "run_job",
    "stage",
]

#: Address of a compiled stage, and its arguments.
Stage = tuple[int, Sequence[int]]

#: Looks at what the other threads have done before the core is offered to them.
_PATIENCE = 4096


class Phase(NamedTuple):
    """Work that may be shared among threads.

    Attributes
    ----------
    stages : sequence of Stage
        What every chunk runs through.
    n_chunks : int
        Chunks, at least 1.
    n_units : int
        What the chunks share evenly.
    number : int
        Passed to the stages; -1 stands for the number of the chunk.
    step : int
        Units of a chunk that go through all stages before the next ones do; 0 for all of them at once.
    """

    stages: Sequence[Stage]
    n_chunks: int = 1
    n_units: int = 1
    number: int = -1
    step: int = 0


# Header: chunks claimed; ended; in all; phases; address of the function that lets other threads have the core. What is
# written by all threads has cache lines of its own.
CLAIMED, ENDED, _TOTAL, _N_PHASES, _STEP_ASIDE, HEADER = 0, 16, 32, 33, 34, 35
# A phase: chunks before it, its chunks and units, its number, first stage, stages, units at a time.
_START, _CHUNKS, _UNITS, _NUMBER, _FIRST, _STAGES, _STEP, _COLUMNS = range(8)


def stage(function: Any, *numbers: int) -> int:
    """Compile `function`, whose closure holds `numbers`, as a stage and return its address.

    It is compiled under a name of its own: numba names machine code by the name of the function and a count of what its
    process has compiled, so two variants that different processes have put into the cache could agree in both, and
    whoever loads both would run one for the other.
    """
    function.__name__ = function.__qualname__ = "_".join([function.__name__, *map(str, numbers)])
    compiled = cfunc(types.void(*[types.int64] * 4), cache=True)(function)
    _compiled.append(compiled)
    address: int = compiled.address
    return address


#: Compiled code lives as long as what holds it.
_compiled: list[Any] = []


@cache
def drive_address() -> int:
    """Return the address of ``void drive(int64 job)``, which works on the job at an address until no chunk is left."""

    def drive(job: int) -> None:
        n_phases = entry(job, _N_PHASES)
        phases = job + 8 * HEADER
        stages = phases + 8 * _COLUMNS * n_phases
        phase = 0
        claimed = fetch_add(job + 8 * CLAIMED, 1)
        while claimed < entry(job, _TOTAL):
            at = phases + 8 * _COLUMNS * phase
            while claimed >= entry(at, _START) + entry(at, _CHUNKS):
                phase += 1
                at = phases + 8 * _COLUMNS * phase
            looks = 0
            while load_acquire(job + 8 * ENDED) < entry(at, _START):
                looks += 1
                if looks % _PATIENCE == 0:
                    invoke(entry(job, _STEP_ASIDE), 0, 0, 0, 0)
            chunk = claimed - entry(at, _START)
            low = chunk * entry(at, _UNITS) // entry(at, _CHUNKS)
            high = (chunk + 1) * entry(at, _UNITS) // entry(at, _CHUNKS)
            number, step = entry(at, _NUMBER), entry(at, _STEP)
            while low < high:
                until = min(low + step, high) if step > 0 else high
                for index in range(entry(at, _FIRST), entry(at, _FIRST) + entry(at, _STAGES)):
                    arguments = job + 8 * entry(stages, 2 * index + 1)
                    invoke(entry(stages, 2 * index), arguments, chunk if number < 0 else number, low, until)
                low = until
            fetch_add(job + 8 * ENDED, 1)
            claimed = fetch_add(job + 8 * CLAIMED, 1)

    compiled = cfunc(types.void(types.int64), cache=True)(drive)
    _compiled.append(compiled)
    address: int = compiled.address
    return address


def job_of(phases: Sequence[Phase]) -> array[int]:
    """Return the job that runs `phases` one after the other; stages of several phases may share their arguments."""
    numbers = [0] * _TOTAL + [sum(phase.n_chunks for phase in phases), len(phases), _step_aside()]
    stages: list[Stage] = []
    start = 0
    for phase in phases:
        numbers += (start, phase.n_chunks, phase.n_units, phase.number, len(stages), len(phase.stages), phase.step)
        stages += phase.stages
        start += phase.n_chunks
    at = len(numbers) + 2 * len(stages)
    places: dict[int, int] = {}
    blocks: list[Sequence[int]] = []
    for address, arguments in stages:
        if id(arguments) not in places:
            places[id(arguments)] = at
            blocks.append(arguments)
            at += len(arguments)
        numbers += (address, places[id(arguments)])
    for block in blocks:
        numbers += block
    return array("q", numbers)


def place_in(job: array[int], stage: Stage) -> int:
    """Return where in `job` the arguments of `stage` begin."""
    at = HEADER + _COLUMNS * job[_N_PHASES]
    while job[at] != stage[0]:
        at += 2
    return job[at + 1]


def run_job(job: array[int], n_threads: int) -> None:
    """Run a job on `n_threads` threads, this one among them."""
    address = job.buffer_info()[0]
    if n_threads == 1:
        _drive()(address)
        return
    fork = _fork()
    if fork is None:
        run_parts([partial(_drive(), address)] * n_threads)
    else:
        # A team of another size than torch's would make the runtime end threads here and start them anew there.
        fork(drive_address(), address, max(n_threads, torch.get_num_threads()), 0)


def fork_address() -> int:
    """Return the address of ``void fork(drive, job, n_threads, 0)``, which runs a job on torch's team, or 0."""
    fork = _fork()
    return 0 if fork is None else ctypes.cast(fork, ctypes.c_void_p).value or 0


@cache
def _drive() -> Callable[[int], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_int64)(drive_address())


@cache
def _step_aside() -> int:
    """Return the address of a C function that yields the core; where there is none, of one that does nothing."""
    yields = getattr(ctypes.pythonapi, "sched_yield", None) or ctypes.pythonapi.Py_GetVersion
    return ctypes.cast(yields, ctypes.c_void_p).value or 0


@cache
def _fork() -> Any:
    """Return ``GOMP_parallel`` of the OpenMP runtime that torch has loaded, or ``None`` if it cannot be used here.

    A forked child has the runtime's notes on threads but not the threads: the runtime would wait for them for ever.
    """
    if _forked:
        return None
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    paths = {line.split(maxsplit=5)[5] for line in lines if "gomp" in line and "/" in line}
    mine = {path for path in paths if "/torch" in path} or paths
    if len(mine) != 1:
        return None
    function: Any = getattr(ctypes.CDLL(mine.pop()), "GOMP_parallel", None)
    if function is not None:
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        function.restype = None
    return function


_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True
    _fork.cache_clear()


os.register_at_fork(after_in_child=_note_fork)
