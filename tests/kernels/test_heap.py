"""Training under glibc's checking allocator, which ends a process whose kernels touch memory that is not theirs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import copy
import torch
from sparsecore import kernels
from sparsecore.engine.compiled import CompiledSteps
from sparsecore.models import MLP

kernels.set_num_threads(2)
for density in (0.001, 0.05, 0.001):
    for batch in (32, 128):
        model = MLP(784, (1568, 1568), 10, density=density, seed=0)
        twin = copy.deepcopy(model)
        draw = torch.Generator().manual_seed(batch)
        x, y = torch.rand(batch, 784, generator=draw), torch.randint(10, (batch,), generator=draw)
        plain, fast = (torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9) for net in (model, twin))
        for _ in range(5):
            torch.nn.functional.cross_entropy(model(x), y).backward()
            plain.step()
            plain.zero_grad()
        CompiledSteps.of(twin, fast).run(x, y, torch.arange(batch).repeat(5), batch, [0.01] * 5)
        for one, other in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
"""
CHECKER = next(
    (path for name in ("x86_64", "aarch64") for path in Path(f"/lib/{name}-linux-gnu").glob("libc_malloc_debug.so.0")),
    None,
)


@pytest.mark.skipif(CHECKER is None, reason="glibc's checking allocator, libc_malloc_debug.so.0, is not installed")
def test_kernels_touch_no_memory_that_is_not_theirs():
    environment = os.environ | {"LD_PRELOAD": str(CHECKER), "GLIBC_TUNABLES": "glibc.malloc.check=3"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
