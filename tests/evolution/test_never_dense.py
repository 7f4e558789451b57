"""The whole cycle at a size whose dense form cannot exist, under a limit on address space."""

import subprocess
import sys

import pytest

CYCLE = """
import resource, sys, tempfile, pathlib
LIMIT = 16 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
import torch, sparsecore as sc
from sparsecore.io import load, save

N, LINKS = 200_000, 2_000_000
def build(seed):
    layers = [sc.SparseLinear(N, N, density=LINKS / N / N, topology=topology, seed=seed + i)
              for i, topology in enumerate((sc.generators.ER(), sc.generators.BRF(r=0.25)))]
    model = sc.SparseSequential(layers[0], torch.nn.ReLU(), layers[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return model, optimizer, sc.CHTs(model, optimizer, every=2, zeta=0.3, seed=7)

def step(model, optimizer, evolution, seed):
    x = torch.randn(4, N, generator=torch.Generator().manual_seed(seed))
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    evolution.step()
    optimizer.zero_grad()
    return loss.item()

model, optimizer, evolution = build(0)
losses = [step(model, optimizer, evolution, s) for s in range(2)]
assert evolution.report().updates == 1
assert all(row.n_links == LINKS for row in evolution.report().layers)
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "state.safetensors"
    save(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "evolution": evolution.state_dict()})
    expected = [step(model, optimizer, evolution, s) for s in (2, 3)]
    links = [row.n_links for row in evolution.report().layers]
    digests = [layer.topology.digest for layer in sc.sparse_layers(model).values()]
    del model, optimizer, evolution
    model, optimizer, evolution = build(5)
    state = load(path)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    evolution.load_state_dict(state["evolution"])
assert [step(model, optimizer, evolution, s) for s in (2, 3)] == expected
assert [layer.topology.digest for layer in sc.sparse_layers(model).values()] == digests
print("never dense", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MiB")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced on Linux")
def test_a_layer_of_200_000_by_200_000_trains_evolves_and_resumes():
    done = subprocess.run([sys.executable, "-c", CYCLE], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "never dense" in done.stdout
