"""A long training that must not leak, miscount links, or drift away from a masked dense twin.

    python tests/soak/soak.py --minutes 60

Rounds of the same work follow each other until the time is over: steps and updates of one network that lives all the
time, beside a dense twin in float64 that is told which links to hold; a short life of a network under every method in
turn; a compiled run with its files. Memory is read after every round. ``make soak`` writes bench/results/soak.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

import sparsecore as sc
from sparsecore.engine import Settings, Trainer
from sparsecore.io import RunFolder, load, save
from sparsecore.models import MLP
from sparsecore.schedules import Constant

SIZES, CLASSES, DENSITY, BATCH = (40, 96, 80), 5, 0.15, 32
STEPS_PER_ROUND, EVERY, RESYNC_ROUNDS = 60, 3, 5
METHODS = ("chts", "chtss", "cht", "set", "rigl", "mest", "granet", "gmp", "deepr", "snfs", "dsr")
#: Largest difference of values of sparse network and twin, and growth of memory as a share of it, that pass.
DRIFT, GROWTH = 1e-8, 0.02


def batch(number):
    draw = torch.Generator().manual_seed(number)
    y = torch.randint(CLASSES, (BATCH,), generator=draw)
    x = torch.randn(BATCH, SIZES[0], generator=draw, dtype=torch.float64)
    x[:, :CLASSES] += 2.0 * nn.functional.one_hot(y, CLASSES)
    return x, y


class Twin:
    """The same network with dense weights that are zero, and stay so, where there is no link."""

    def __init__(self, model, optimizer):
        self.layers, self.model, self.theirs = list(sc.sparse_layers(model).values()), model, optimizer
        self.weights = [torch.zeros(layer.topology.shape, dtype=torch.float64) for layer in self.layers]
        self.params = [nn.Parameter(weight) for weight in self.weights]
        self.biases = [nn.Parameter(layer.bias.detach().clone()) for layer in self.layers]
        self.head = nn.Linear(SIZES[-1], CLASSES).double()
        self.optimizer = torch.optim.Adam([*self.params, *self.biases, *self.head.parameters()], lr=0.002)
        self.follow()
        self.take_over()

    def follow(self):
        """Hold the links that the sparse network holds now; what was not there before starts from zero."""
        self.masks = [torch.from_numpy(layer.topology.to_dense()) for layer in self.layers]

    def let_go(self, plans):
        for parameter, plan in zip(self.params, plans, strict=True):
            stays = torch.from_numpy(plan.edit.old.to_dense() & plan.edit.new.to_dense())
            parameter.data *= stays
            for entry in self.optimizer.state[parameter].values():
                if entry.shape == parameter.shape:
                    entry *= stays
        self.follow()

    def step(self, x, y):
        for parameter, bias in zip(self.params, self.biases, strict=True):
            x = torch.relu(nn.functional.linear(x, parameter, bias))
        loss = nn.functional.cross_entropy(self.head(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        for parameter, mask in zip(self.params, self.masks, strict=True):
            parameter.grad *= mask
        self.optimizer.step()
        return loss.item()

    def pairs(self):
        """Yield what both hold: numbers of the twin at the links, and those of the sparse network."""
        for layer, parameter, bias in zip(self.layers, self.params, self.biases, strict=True):
            rows, cols = (
                torch.from_numpy(part.astype(np.int64)) for part in (layer.topology.rows, layer.topology.cols)
            )
            yield parameter.data, (rows, cols), layer.values.data
            yield bias.data, ..., layer.bias.data
            mine, theirs = self.optimizer.state.get(parameter, {}), self.theirs.state.get(layer.values, {})
            for name in ("exp_avg", "exp_avg_sq"):
                if name in mine:
                    yield mine[name], (rows, cols), theirs[name]
        for mine, theirs in zip(self.head.parameters(), self.model.head.parameters(), strict=True):
            yield mine.data, ..., theirs.data

    def difference(self):
        return max(float((mine[at] - theirs).abs().max()) for mine, at, theirs in self.pairs())

    def strays(self):
        """Return how many numbers the twin holds where there is no link."""
        return sum(int(((p != 0) & ~mask).sum()) for p, mask in zip(self.params, self.masks, strict=True))

    def take_over(self):
        for mine, at, theirs in self.pairs():
            mine[at] = theirs


class Soak:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.counts = dict.fromkeys(("steps", "updates", "link_counts_checked", "runs", "checkpoints"), 0)
        self.drifts, self.memory, self.started = [], [], time.perf_counter()
        self.model = MLP(SIZES[0], SIZES[1:], CLASSES, density=DENSITY, seed=0).double()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.002)
        self.evolution = sc.CHTs(self.model, self.optimizer, every=10**9, zeta=0.3, seed=1)
        self.links = [layer.topology.n_links for layer in sc.sparse_layers(self.model).values()]
        self.twin = Twin(self.model, self.optimizer)

    def round(self, number):
        for _ in range(STEPS_PER_ROUND):
            self.one_step()
        self.drifts.append(self.twin.difference())
        assert self.twin.strays() == 0
        if number % RESYNC_ROUNDS == 0:
            self.twin.take_over()
            self.through_a_file()
        self.one_life(METHODS[number % len(METHODS)], number)
        self.one_run(number)
        gc.collect()
        self.memory.append((time.perf_counter() - self.started, resident_bytes()))

    def one_step(self):
        x, y = batch(self.counts["steps"])
        loss = nn.functional.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.evolution.step()
        twin = self.twin.step(x, y)
        assert abs(loss.item() - twin) <= DRIFT * max(1.0, abs(twin)), f"losses {loss.item()} and {twin}"
        self.counts["steps"] += 1
        if self.counts["steps"] % EVERY == 0:
            self.twin.let_go(self.evolution.update())
            self.counts["updates"] += 1
        self.require_links(self.model, self.links)

    def require_links(self, model, expected):
        found = [layer.topology.n_links for layer in sc.sparse_layers(model).values()]
        assert found == expected, f"links {found}, expected {expected}"
        assert [layer.values.numel() for layer in sc.sparse_layers(model).values()] == expected
        self.counts["link_counts_checked"] += len(found)

    def through_a_file(self):
        """Save everything and go on with what was read back."""
        parts = {"model": self.model, "optimizer": self.optimizer, "evolution": self.evolution}
        path = self.folder / "long.safetensors"
        save(path, {name: part.state_dict() for name, part in parts.items()}, keep=2)
        state = load(path)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        assert len(list(self.folder.glob("long*"))) <= 2
        assert self.twin.difference() == 0.0
        self.counts["checkpoints"] += 1

    def one_life(self, method, seed):
        """Train a network that is built for it, in a plain loop, and count links after every step."""
        model = MLP(SIZES[0], SIZES[1:], CLASSES, density=0.3, seed=seed).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        falling = {"density": 0.1} if method in ("chtss", "granet", "gmp") else {}
        evolution = sc.methods.get(method, model=model, optimizer=optimizer, every=2, steps=30, seed=seed, **falling)
        layers, rule = sc.sparse_layers(model).values(), evolution.rule
        start = expected = [layer.topology.n_links for layer in layers]
        for step in range(30):
            x, y = batch(seed * 30 + step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            if evolution.step():
                self.counts["updates"] += 1
                found = [layer.topology.n_links for layer in layers]
                if rule.redistribution is None:
                    done = evolution.steps_done
                    expected = [
                        rule.links_at(done, n, la.topology.n_possible) for n, la in zip(start, layers, strict=True)
                    ]
                else:
                    assert sum(found) == sum(start)
                    expected = found
            self.require_links(model, expected)
            self.counts["steps"] += 1

    def one_run(self, seed):
        """Train by compiled steps with all files of a run, and evolve every other step."""
        x, y = batch(seed)
        x, y = x.float().numpy(), y.numpy()
        data = SimpleNamespace(train_x=x, train_y=y, test_x=x, test_y=y, valid_x=x, valid_y=y)
        model = MLP(SIZES[0], SIZES[1:], CLASSES, density=DENSITY, seed=seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        evolution = sc.SET(model, optimizer, every=2, zeta=0.3, seed=seed)
        folder = RunFolder.create(self.folder / "run", {}, force=True, keep=2, best="valid_accuracy")
        run = Trainer(model, optimizer, data, Settings(3, 4), lr=Constant(0.02), evolution=evolution)
        run.run([folder])
        assert all(record.links == run.records[0].links for record in run.records)
        assert not list(folder.path.glob(".*"))
        self.counts["runs"] += 1
        self.counts["checkpoints"] += 3
        self.counts["steps"] += run.records[-1].step
        self.counts["updates"] += run.records[-1].updates

    def report(self):
        """Return figures; memory is that of the rounds after the first third, in which caches fill."""
        seconds, memory = np.array(self.memory[len(self.memory) // 3 :]).T
        slope = np.polyfit(seconds, memory, 1)[0] if len(seconds) > 1 else 0.0
        half = len(self.drifts) // 2
        return {
            "minutes": (time.perf_counter() - self.started) / 60,
            "rounds": len(self.memory),
            **self.counts,
            "memory_first_mib": memory[0] / 2**20,
            "memory_last_mib": memory[-1] / 2**20,
            "memory_highest_mib": memory.max() / 2**20,
            "memory_slope_mib_per_hour": slope * 3600 / 2**20,
            "memory_fitted_growth": slope * (seconds[-1] - seconds[0]) / memory[0],
            "largest_difference_first_half": max(self.drifts[: half or 1]),
            "largest_difference_second_half": max(self.drifts[half:]),
        }


def resident_bytes():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def soak(seconds, folder, *, least_rounds=0, say=lambda line: None):
    """Run rounds for so long and return the report; raises where a link or a number is not as it should be."""
    work, number = Soak(folder), 0
    while time.perf_counter() - work.started < seconds or number < least_rounds:
        number += 1
        work.round(number)
        if number % 100 == 0:
            say(json.dumps(work.report()))
    return work.report()


def passes(report):
    drift = max(report["largest_difference_first_half"], report["largest_difference_second_half"])
    return drift <= DRIFT and report["memory_fitted_growth"] <= GROWTH


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--report", type=Path, default=Path("bench/results/soak.json"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sc.kernels.set_num_threads(2)

    def say(line):
        sys.stderr.write(line + "\n")

    with tempfile.TemporaryDirectory() as folder:
        report = soak(60 * chosen.minutes, folder, say=say)
    chosen.report.write_text(json.dumps(report | {"passed": bool(passes(report))}, indent=1) + "\n")
    say(chosen.report.read_text())
    sys.exit(0 if passes(report) else 1)


if __name__ == "__main__":
    main()
