"""Machine code that several processes have put into numba's cache on disk."""

import os
import subprocess
import sys

CODE = """
import copy, sys
import torch
from sparsecore.engine.compiled import CompiledSteps
from sparsecore.models import MLP

for batch, density in ((int(word.split("/")[0]), float(word.split("/")[1])) for word in sys.argv[1:]):
    model = MLP(300, (280, 290), 5, density=density, seed=0)
    twin = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, 300, generator=draw)
    y = torch.randint(5, (batch,), generator=draw)
    plain, fast = (torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9) for net in (model, twin))
    for _ in range(3):
        torch.nn.functional.cross_entropy(model(x), y).backward()
        plain.step()
        plain.zero_grad()
    CompiledSteps.of(twin, fast).run(x, y, torch.arange(batch).repeat(3), batch, [0.01] * 3)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
"""


COMPILE = """
import sys
from sparsecore.kernels.cpu import chain

width = int(sys.argv[1])
chain.backward_stage(32, 4, width)
chain.forward_stage(32, 4, width, width)
"""


def run(cache, code, *words):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


def test_variants_compiled_by_different_processes_are_not_mixed_up(tmp_path):
    # Each process compiles one variant, as the same number in its count of functions: numba's names would be equal.
    run(tmp_path, COMPILE, "2")
    run(tmp_path, COMPILE, "4")
    # Narrow lists, then wide ones (more than 65,536 links).
    run(tmp_path, CODE, "32/0.1", "32/0.9")
    run(tmp_path, CODE, "32/0.9", "32/0.1")
