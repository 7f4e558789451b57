"""The kernels compiled for each vector width that this processor has, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORK = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
import torch
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher
from strategies import random_topology
import sparsecore as sc
from sparsecore import kernels
from sparsecore.kernels import Layer
from sparsecore.ops import sparse_chain

def results(name, dtype, batch):
    draw = torch.Generator().manual_seed(batch)
    layers = []
    for n_in, n_out in ((37, 50), (50, 19)):
        topology = random_topology(n_out, n_in, 0.2, n_in)
        values = torch.randn(topology.n_links, dtype=dtype, generator=draw).requires_grad_()
        layers.append(Layer(topology, values, torch.randn(n_out, dtype=dtype, generator=draw).requires_grad_(), True))
    x = torch.randn(batch, 37, dtype=dtype, generator=draw).requires_grad_()
    with kernels.use(name):
        y = sparse_chain(x, layers)
        params = [x, *(part for layer in layers for part in (layer.values, layer.bias))]
        return [y.detach(), *torch.autograd.grad(y, params, torch.cos(y.detach()))]

whole = sys.argv[2] == "whole"
for dtype in (torch.float32, torch.float64) if whole else (torch.float32,):
    for batch in (1, 7, 16, 33, 64, 100) if whole else (7, 33):
        for got, expected in zip(results("numba", dtype, batch), results("reference", dtype, batch), strict=True):
            torch.testing.assert_close(got, expected, rtol=2e-4, atol=2e-4)

model = sc.SparseSequential(
    sc.SparseLinear(40, 60, density=0.1, seed=0), torch.nn.ReLU(), sc.SparseLinear(60, 30, density=0.1, seed=1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
evolution = sc.CHTs(model, optimizer, every=1, steps=3, zeta=0.3, seed=5)
for step in range(3 if whole else 0):
    model(torch.randn(20, 40, generator=torch.Generator().manual_seed(step))).square().mean().backward()
    optimizer.step()
    evolution.step()
    optimizer.zero_grad()

compiled = [item for item in gc.get_objects() if isinstance(item, Dispatcher) and item.signatures]
code = " ".join(text for item in compiled for text in item.inspect_asm().values())
code += " ".join(item._library.get_asm_str() for item in gc.get_objects() if isinstance(item, CFunc))
widest = "zmm" if "%zmm" in code else "ymm" if "%ymm" in code else "xmm" if "%xmm" in code else "other"
print(json.dumps({"widest": widest, "links": [layer.topology.n_links for layer in model[::2]]}))
"""

#: Widest register that the code may use, by the processor that it is compiled for.
TARGETS = {"xmm": "x86-64", "ymm": "haswell", "zmm": "skylake-avx512"}
NEEDS = {"xmm": "sse2", "ymm": "avx2", "zmm": "avx512f"}


def flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith("flags")), set())


def widest(tmp_path: Path, target: str, extent: str) -> str:
    """Compile and check everything in a new process and return its report."""
    settings = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-c", WORK, str(Path(__file__).resolve().parents[1]), extent]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["links"] == [240, 180]
    return str(report["widest"])


@pytest.mark.parametrize("extent", ["products", pytest.param("whole", marks=pytest.mark.slow)])
@pytest.mark.parametrize("register", TARGETS)
def test_every_vector_width_gives_the_results_of_the_reference(tmp_path, register, extent):
    if NEEDS[register] not in flags():
        pytest.skip(f"this processor has no {NEEDS[register]}")
    assert widest(tmp_path, TARGETS[register], extent) == register


@pytest.mark.slow
def test_code_for_no_processor_in_particular_gives_the_results_of_the_reference(tmp_path):
    assert widest(tmp_path, "generic", "whole") in ("xmm", "other")
