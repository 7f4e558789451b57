"""Jobs: phases in order, every chunk once, on any number of threads and with any way of getting them."""

import numpy as np
import pytest
import torch
from strategies import random_topology

from sparsecore import kernels
from sparsecore.kernels import Layer
from sparsecore.kernels.cpu import launch as numba_launch
from sparsecore.kernels.cpu import stages
from sparsecore.kernels.cpu.tiles import RUNS, gather_stage, pack_stage, reduce_stage, unpack_stage
from sparsecore.ops import sparse_chain


def copies(source, order, target):
    """Return the phase that writes ``source[order]`` to `target`, all arrays of one length."""
    arguments = [1, source.ctypes.data, order.ctypes.data, target.ctypes.data, source.size]
    return stages.Phase([(gather_stage(4, 4), arguments)], 7, RUNS)


@pytest.fixture(params=["team", "pool"])
def threads(request, monkeypatch):
    if request.param == "pool":
        monkeypatch.setattr(stages, "_fork", lambda: None)
    elif stages.fork_address() == 0:
        pytest.skip("torch has loaded no GNU OpenMP runtime")


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_a_phase_begins_when_the_one_before_has_ended(threads, n_threads):
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal(10_007).astype(np.float32), *np.zeros((6, 10_007), np.float32)]
    order = draw.permutation(10_007).astype(np.int32)
    phases = [copies(one, order, other) for one, other in zip(arrays[:-1], arrays[1:], strict=True)]
    expected = arrays[0]
    for _ in phases:
        expected = expected[order]
    for _ in range(20):
        arrays[-1][:] = 0.0
        stages.run_job(stages.job_of(phases), n_threads)
        assert np.array_equal(arrays[-1], expected)


@pytest.mark.parametrize("n_parts", [1, 2, 3])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_tiles_of_a_part_share_the_room_of_one_when_they_take_turns(threads, n_parts, n_threads):
    batch, features, lanes = 101, 23, 16
    x = np.random.default_rng(0).standard_normal((batch, features)).astype(np.float32)
    tile, n_tiles = 4 * lanes * features, -(-batch // lanes)
    room, copy = np.zeros((n_parts, tile // 4), np.float32), np.zeros_like(x)
    cut = [0, batch, features, 0, tile, n_tiles, n_parts, 0, x.ctypes.data, features, 1, room.ctypes.data, 0, 0, 0]
    put = [0, batch, features, 0, tile, room.ctypes.data, copy.ctypes.data]
    moves = [(pack_stage(lanes, 4), cut), (unpack_stage(lanes, 4), put)]
    stages.run_job(stages.job_of([stages.Phase(moves, n_parts, n_tiles, step=1)]), n_threads)
    assert np.array_equal(copy, x)


@pytest.mark.parametrize("nbytes", [4, 8])
@pytest.mark.parametrize("n", [1, 15, 16, 5000])
def test_sums_of_parts_are_added_once(nbytes, n):
    dtype = {4: np.float32, 8: np.float64}[nbytes]
    sums, more = np.arange(n).astype(dtype), np.arange(3 * n).astype(dtype)
    expected = sums + more.reshape(3, n).sum(0)
    arguments = [n, 3, sums.ctypes.data, more.ctypes.data]
    stages.run_job(stages.job_of([stages.Phase([(reduce_stage(nbytes), arguments)], 3, RUNS)]), 2)
    assert np.array_equal(sums, expected)


@pytest.mark.parametrize("batch", [5, 16, 33, 64])
def test_one_tile_gives_the_same_bits_on_any_number_of_threads(monkeypatch, threads, batch):
    monkeypatch.setattr(numba_launch, "WORK_PER_THREAD_OF_TILE", 1)
    monkeypatch.setattr(numba_launch, "WORK_PER_CHUNK", 200)
    draw = torch.Generator().manual_seed(0)
    topologies = [random_topology(90, 70, 0.2), random_topology(40, 90, 0.2)]
    layers = [
        Layer(t, torch.randn(t.n_links, generator=draw, requires_grad=True), torch.randn(t.n_out, generator=draw), True)
        for t in topologies
    ]
    x = torch.randn(batch, 70, generator=draw, requires_grad=True)

    def results():
        y = sparse_chain(x, layers)
        return [y, *torch.autograd.grad(y.square().sum(), [x, *(layer.values for layer in layers)])]

    try:
        kernels.set_num_threads(1)
        alone = results()
        for n_threads in (2, 3, 4):
            kernels.set_num_threads(n_threads)
            assert all(map(torch.equal, alone, results()))
    finally:
        kernels.set_num_threads(None)
