"""Real processes under torchrun, compared with one process that sees the whole batch."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import sparsecore as sc
from sparsecore.distributed import DataParallel, require_same, share, stop
from sparsecore.errors import ConfigError
from sparsecore.models import MLP

WORKER = Path(__file__).with_name("worker.py")
pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs the gloo backend")


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


def run(out, ranks, **options):
    """Train in `ranks` processes, or in this many restarts of them, and return what rank 0 wrote at the end."""
    out.mkdir()
    wait_for(ranks, str(WORKER), json.dumps({"out": str(out), **options}))
    return json.loads((out / "end.json").read_text())


def wait_for(ranks, *script):
    """Run a script with its arguments to its end, under torchrun if there are several ranks."""
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--monitor-interval", "0.1"]
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--local-addr", "127.0.0.1"]
    launch += ["--max-restarts", "1", *rendezvous]
    command = [sys.executable, *(launch if ranks > 1 else []), *script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            _, told = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            end_session(process.pid)
            raise
    assert process.returncode == 0, told[-3000:]


def end_session(leader):
    """Kill a process and all that it started: torchrun gives every rank a session of its own."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, parent = int(status.parent.name), int(status.read_text().rpartition(")")[2].split()[1])
            if parent == leader:
                os.kill(pid, signal.SIGKILL)
    os.kill(leader, signal.SIGKILL)


def assert_equal(several, alone):
    assert several["digests"] == alone["digests"]
    torch.testing.assert_close(several["losses"], alone["losses"], rtol=1e-9, atol=1e-12)
    for one, other in zip(several["values"], alone["values"], strict=True):
        torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=1e-7, atol=1e-9)


CASES = [
    {"method": "chts", "optimizer": "sgd"},
    {"method": "chtss", "optimizer": "adam"},
    {"method": "rigl", "optimizer": "sgd"},
    {"method": "window", "optimizer": "sgd"},
    {"method": "deepr", "optimizer": "sgd"},
    {"method": "chts", "optimizer": "adam", "zero": True},
    {"method": "chtss", "optimizer": "adam", "zero": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_ranks_together_are_one_process_with_the_whole_batch(tmp_path, case, ranks):
    assert_equal(run(tmp_path / "several", ranks, **case), run(tmp_path / "alone", 1, **case))


def test_two_ranks_under_zero_follow_a_changing_number_of_links(tmp_path):
    case = {"method": "chtss", "optimizer": "adam", "zero": True}
    several, alone = run(tmp_path / "several", 2, **case), run(tmp_path / "alone", 1, **case)
    assert_equal(several, alone)
    assert several["links"][0] < 0.2 * 12 * 20


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("zero", [False, True])
def test_a_rank_killed_in_the_middle_costs_nothing_after_an_elastic_restart(tmp_path, zero, ranks):
    case = {"method": "chts", "optimizer": "adam", "zero": zero, "save_every": 3, "fixed_buckets": ranks > 2}
    broken = run(tmp_path / "broken", ranks, kill=[ranks - 1, 14], **case)
    assert broken.pop("attempt") == "1"
    whole = run(tmp_path / "whole", ranks, **case)
    assert whole.pop("attempt") == "0"
    assert broken == whole


DIFFERING = """
import json, sys, torch, torch.distributed as dist, sparsecore as sc
from pathlib import Path
from sparsecore.distributed import DataParallel, share, start, stop
from sparsecore.errors import SparseCoreError
from sparsecore.models import MLP

def evolving(seed):
    model = MLP(6, (8, 8), 2, density=0.4, seed=seed)
    return model, sc.SET(model, torch.optim.SGD(model.parameters(), lr=0.1), every=4)

def told(call, *args):
    try:
        call(*args)
    except SparseCoreError as error:
        return str(error)

start("gloo")
rank = dist.get_rank()
(other, its_evolution), (model, evolution) = evolving(rank), evolving(0)
messages = [told(DataParallel, other), told(share, its_evolution)]
share(evolution).advance(rank)
before = evolution.topologies
messages.append(told(evolution.update))
Path(sys.argv[1], f"{rank}.json").write_text(json.dumps([*messages, evolution.topologies == before]))
stop()
"""


def test_where_a_rank_differs_all_of_them_raise_the_same_error_and_change_nothing(tmp_path):
    script = tmp_path / "differing.py"
    script.write_text(DIFFERING)
    wait_for(2, str(script), str(tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    *messages, unchanged = first
    for message, what in zip(messages, ("links", "links", "step and links"), strict=True):
        expected = f"Expected the same {what} on every rank. Got others than on rank 0 on ranks [1]."
        assert str(message).startswith(expected)
    assert unchanged


@pytest.fixture
def group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network():
    model = MLP(6, (8, 8), 2, density=0.4, seed=0)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_without_a_process_group_nothing_is_shared():
    model, optimizer = network()
    with pytest.raises(ConfigError, match="Expected an initialized process group"):
        share(sc.SET(model, optimizer, every=2))
    with pytest.raises(ConfigError, match="Expected an initialized process group"):
        DataParallel(model)


def test_a_graph_fixed_for_good_is_refused(group):
    with pytest.raises(ConfigError, match="static_graph=False"):
        DataParallel(network()[0], static_graph=True)


def test_equal_content_passes(group):
    require_same("links", b"x")


def test_stop_leaves_the_group_while_a_network_is_still_there(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    parallel = DataParallel(network()[0])
    parallel(torch.zeros(3, 6)).sum().backward()
    stop()
    assert not dist.is_initialized()
    with pytest.raises((ValueError, RuntimeError)):  # torch's own: there is no group any more
        parallel(torch.zeros(3, 6))
    stop()


def test_fully_shard_is_refused_and_says_what_to_use(group):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model, _ = network()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match="sharded by fully_shard.*sparsecore.distributed"):
        sc.SET(model, optimizer, every=2)
    with pytest.raises(ConfigError, match="ZeroRedundancyOptimizer"):
        DataParallel(model)
