"""Training that is killed at random instants, on a disk that is full, and with calls that fail one after the other."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

sys.path.insert(0, str(Path(__file__).parent))
import crash_worker

from sparsecore.errors import CheckpointError
from sparsecore.io import RunFolder, load, save

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs fork and SIGKILL"),
    pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning"),
]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def learned(state):
    """Everything of a training state but the seconds that its records tell."""
    return {key: state[key] for key in ("model", "optimizer", "evolution", "torch_rng")}


def assert_whole(path):
    """Fail unless every checkpoint loads and at most one unfinished file lies about; return the epochs done."""
    checkpoint = path / "checkpoint.safetensors"
    for kept in path.glob("*.safetensors"):
        load(kept)
    assert len(list(path.glob(".*"))) <= 4  # one name for each of: checkpoint, best, metrics, topology
    records = load(checkpoint)["records"] if checkpoint.exists() else []
    if records:  # the best model is never worse than the best epoch that can be resumed from
        best = load(path / "best.safetensors")
        assert best["value"] <= min(record["train_loss"] for record in records)
        assert best["epoch"] <= len(records) + 1
    return len(records)


def survive(tmp_path, kills):
    """Kill and resume runs `kills` times, and return how many runs came to their end equal to one never killed."""
    fork, draw = multiprocessing.get_context("fork"), random.Random(0)
    whole = RunFolder.create(tmp_path / "whole", {}).path
    crash_worker.train(RunFolder.create(tmp_path / "warm", {}).path)  # loads kernels, which would count as training
    started = time.perf_counter()
    crash_worker.train(whole)
    length = time.perf_counter() - started
    expected, best = learned(RunFolder(whole).state()), RunFolder(whole).best()
    finished, done, epochs = 0, 0, 0
    path = RunFolder.create(tmp_path / "run", {}).path
    while done < kills or finished == 0:
        child = fork.Process(target=crash_worker.train, args=(path,))
        child.start()
        child.join(draw.uniform(0, length / 2) if done < kills else None)
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            done += 1
            before, epochs = epochs, assert_whole(path)
            assert epochs >= before
        else:
            assert child.exitcode == 0
            assert same(learned(RunFolder(path).state()), expected)
            assert same(RunFolder(path).best(), best)
            assert not list(path.glob(".*"))
            finished, epochs = finished + 1, 0
            shutil.rmtree(path)
            RunFolder.create(path, {})
    return finished


def test_a_few_kills_lose_nothing(tmp_path):
    assert survive(tmp_path, 5) >= 1


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path):
    assert survive(tmp_path, 220) >= 10


def big(step):
    return {"step": step, "body": np.full(50_000, step)}


def write_under_limit(path, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        save(path, big(2), keep=2)
    except CheckpointError:
        os._exit(7)
    os._exit(0)


@pytest.mark.parametrize("limit", [0, 1, 4096, 100_000, 399_999])
def test_a_full_disk_is_an_error_of_ours_and_keeps_the_old_checkpoint(tmp_path, limit):
    path = tmp_path / "a.safetensors"
    save(path, big(1), keep=2)
    child = multiprocessing.get_context("fork").Process(target=write_under_limit, args=(path, limit))
    child.start()
    child.join()
    assert child.exitcode == 7
    assert load(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


CALLS = [
    (os, "replace"), (os, "link"), (os, "fsync"), (os, "open"), (Path, "mkdir"), (Path, "unlink"), (Path, "touch"),
    (Path, "chmod"), (safetensors.torch, "save_file"), (shutil, "rmtree"),
]  # fmt: skip


def test_a_failure_of_any_call_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    path, count = tmp_path / "a.safetensors", 0
    while True:
        for old in tmp_path.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        save(path, big(0), keep=3)
        save(path, big(1), keep=3)
        with monkeypatch.context() as patch:
            left = [count]
            for owner, name in CALLS:
                patch.setattr(owner, name, failing(getattr(owner, name), left))
            try:
                save(path, big(2), keep=3)
                failed = False
            except CheckpointError:
                failed = True
        assert load(path)["step"] in ((1, 2) if failed else (2,))
        save(path, big(3), keep=3)
        assert load(path)["step"] == 3
        assert not list(tmp_path.glob(".*"))
        if not failed and left[0] > 0:
            break
        count += 1
    assert count >= 10


def failing(call, left):
    """Return `call`, made to fail when `left` calls of all patched ones have succeeded."""

    def instead(*args, **named):
        left[0] -= 1
        if left[0] == -1:
            raise OSError(5, "Input/output error")
        return call(*args, **named)

    return instead
