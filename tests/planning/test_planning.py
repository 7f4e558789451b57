"""Planned bytes against measured peaks: those of the memory benchmark, and of networks trained here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsecore.errors import ConfigError, UnknownNameError
from sparsecore.models import MLP
from sparsecore.nn import sparse_layers
from sparsecore.planning import OPTIMIZERS, Outline, machine, outline_mlp, outline_model, plan_model, this_machine
from sparsecore.planning.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
MEASURED = json.loads((ROOT / "bench" / "results" / "memory.json").read_text())["rows"]
FORMS = {"sparsecore": "links", "dense": "dense", "masked dense": "masked"}
ROWS = [row for row in MEASURED if row["contender"] in FORMS and row["status"] == "ok"]
TOLERANCE = 0.15

PROBE = """
import json, sys
import sparsecore
import torch
from torch import nn
from torch.nn import functional
from sparsecore import kernels
from sparsecore.bench.peak import peak_above, resident_bytes, settle
from sparsecore.models import MLP

form, density, optimizer, sizes, batch, updated = json.loads(sys.argv[1])
torch.set_num_threads(2)
kernels.set_num_threads(2)

class Masked(nn.Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.register_buffer("mask", (torch.rand(n_out, n_in) < density).float())

    def forward(self, x):
        return functional.linear(x, self.weight * self.mask, self.bias)

def build():
    if form == "links":
        return MLP(sizes[0], sizes[1:-1], sizes[-1], density=density, seed=0)
    kind = nn.Linear if form == "dense" else Masked
    pairs = zip(sizes[:-2], sizes[1:-1])
    return nn.Sequential(*(m for n_in, n_out in pairs for m in (kind(n_in, n_out), nn.ReLU())), nn.Linear(*sizes[-2:]))

def train(model):
    kinds = {"sgd": lambda p: torch.optim.SGD(p, lr=0.01, fused=True),
             "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True),
             "adam": lambda p: torch.optim.Adam(p, fused=True)}
    opt = kinds[optimizer](model.parameters())
    x, y = torch.randn(batch, sizes[0]), torch.zeros(batch, dtype=torch.long)
    for _ in range(2):
        functional.cross_entropy(model(x), y).backward()
        opt.step()
        opt.zero_grad()
    return sparsecore.CHTs(model, opt, every=1, zeta=0.3, seed=0) if updated else None

def update(evolution):
    if updated:
        evolution.update()

update(train(build()))  # compiled kernels and libraries are there afterwards
settle()
base = resident_bytes()
model = build()
evolution = train(model) if updated else None
settle()
with peak_above(base) as peak:
    update(evolution) if updated else train(model)
print(peak.bytes)
"""


def layer_of(row: dict[str, object]) -> Outline:
    """The probe of the benchmark: one layer, inputs with a gradient, mean of squares."""
    (n_out, n_in), batch = row["shape"], row["batch"]  # type: ignore[misc]
    ends = 4 * batch * (n_out + n_in)
    tiles = ends + 4 * batch * n_in
    return Outline(((n_out, n_in),), n_out, batch, batch, ends, tiles, n_out + n_in, False)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['contender']}-{row['shape'][1]}-{row['density']}")
def test_layers_take_what_was_measured(row: dict[str, object]) -> None:
    plan = plan_model(layer_of(row), density=row["density"], optimizer="adam", threads=2)  # type: ignore[arg-type]
    cost = plan.costs[FORMS[row["contender"]]]  # type: ignore[index]
    assert cost.step == pytest.approx(row["training_bytes"], rel=TOLERANCE)


@pytest.mark.parametrize("row", [row for row in ROWS if row["contender"] == "sparsecore" and row["density"] >= 0.01])
def test_updates_take_what_was_measured(row: dict[str, object]) -> None:
    plan = plan_model(layer_of(row), density=row["density"], optimizer="adam", threads=2)  # type: ignore[arg-type]
    assert plan.costs["links"].update == pytest.approx(row["evolution_bytes"], rel=0.25)


@pytest.mark.parametrize(
    ("form", "density", "optimizer", "sizes", "batch"),
    [
        ("links", 0.1, "adam", (784, 1568, 1568, 1568, 10), 512),
        ("masked", 0.05, "momentum", (784, 1568, 1568, 1568, 10), 32),
        pytest.param("links", 0.05, "momentum", (784, 1568, 1568, 1568, 10), 32, marks=pytest.mark.slow),
        pytest.param("dense", 0.05, "sgd", (784, 1568, 1568, 1568, 10), 128, marks=pytest.mark.slow),
    ],
)
def test_networks_take_what_is_measured_here(
    form: str, density: float, optimizer: str, sizes: tuple[int, ...], batch: int
) -> None:
    measured = peak_of(form, density, optimizer, sizes, batch, False)
    plan = plan_model(outline_mlp(sizes, batch), density=density, optimizer=optimizer, threads=2)
    assert plan.costs[form].step == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(1024,) * 9 + (10,), (2048, 2048, 2048, 10)])
def test_updates_of_chains_take_what_is_measured_here(sizes: tuple[int, ...]) -> None:
    measured = peak_of("links", 0.1, "adam", sizes, 32, True)
    plan = plan_model(outline_mlp(sizes, 32), density=0.1, optimizer="adam", threads=2)
    assert plan.costs["links"].update == pytest.approx(measured, rel=0.25)


def peak_of(*task: object) -> int:
    """Return the measured peak of a network in bytes, of a step or of an update, in a process of its own."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peaks are exact on Linux alone")
    environment = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-W", "ignore", "-c", PROBE, json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("density", [0.01, 0.2])
def test_weights_lists_and_state_are_counted_to_the_byte(density: float) -> None:
    sizes = (40, 300, 200, 10)
    model = MLP(sizes[0], sizes[1:-1], sizes[-1], density=density, seed=0)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(8, 40)).sum().backward()
    optimizer.step()
    cost = plan_model(outline_mlp(sizes, 8), density=density).costs["links"]
    assert cost.weights == cost.gradients == sum(p.numel() * 4 for p in model.parameters())
    held = sum(m.numel() * 4 for state in optimizer.state.values() for m in state.values() if m.ndim)
    assert cost.optimizer == held
    topologies = [layer.topology for layer in sparse_layers(model).values()]
    assert cost.structure == sum(t.nbytes for t in topologies if t.narrow is not None)


def test_the_outline_of_a_module_is_that_of_its_sizes() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(40, 300), nn.ReLU(), nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 10))

    found = outline_model(build, lambda model: model(torch.rand(8, 40)).square().mean(), 8)
    wanted = outline_mlp((40, 300, 200, 10), 8)
    assert (found.shapes, found.other_weights, found.rows) == (wanted.shapes, wanted.other_weights, 8)
    # Inputs, both hidden layers and outputs are kept; on links the inputs of both layers once more, in tiles.
    assert found.dense_bytes == wanted.dense_bytes
    assert found.links_bytes == wanted.dense_bytes + 4 * 8 * 300


def test_wrong_requests_are_refused() -> None:
    outline = outline_mlp((4, 8, 2), 1)
    with pytest.raises(ConfigError, match="Expected density"):
        plan_model(outline, density=0)
    with pytest.raises(ConfigError, match="every layer a link"):
        plan_model(outline, density=0.001)
    with pytest.raises(UnknownNameError, match="adamw"):
        plan_model(outline, density=0.5, optimizer="adam2")
    with pytest.raises(ConfigError, match="inputs, hidden layers and outputs"):
        outline_mlp((4, 2), 1)
    assert set(OPTIMIZERS) == {"sgd", "momentum", "adam", "adamw"}


GIB = 2**30
V1 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file")
V2 = ("memory.max", "memory.current", "memory.stat", "inactive_file")


@pytest.mark.parametrize(
    ("files", "limit", "cache", "free"),
    [
        (V1, 16 * GIB, 5 * GIB, 11 * GIB),
        (V2, 16 * GIB, 5 * GIB, 11 * GIB),
        (V2, 16 * GIB, 12 * GIB, 16 * GIB),  # the counters are not read at one instant
        (V2, 8 * GIB, 1 * GIB, 0),
        (V2, 16 * GIB, None, 6 * GIB),
        (V2, "max", 5 * GIB, 64 * GIB),
    ],
)
def test_page_cache_of_a_container_is_free(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[str, ...],
    limit: int | str,
    cache: int | None,
    free: int,
) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {64 * 2**20} kB\n")
    contents = {files[0]: limit, files[1]: 10 * GIB}
    if cache is not None:
        contents[files[2]] = f"anon 1\ninactive_file_of_others 7\n{files[3]} {cache}\nactive_file 3"
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    assert this_machine().ram_bytes == free


def test_the_machine_says_how_much_is_free() -> None:
    found = this_machine()
    assert isinstance(found, Machine)
    if Path("/proc/meminfo").exists():
        assert found.ram_bytes is not None
        assert found.ram_bytes > 2**20
