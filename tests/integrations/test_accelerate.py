from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

accelerate = pytest.importorskip("accelerate", reason="the extra 'huggingface' is not installed")

import sparsecore as sc  # noqa: E402


def test_an_evolution_is_an_object_that_accelerate_saves_and_loads(tmp_path: Path) -> None:
    def ready() -> tuple[nn.Module, torch.optim.Optimizer, sc.Evolution, accelerate.Accelerator]:
        torch.manual_seed(0)
        model = sc.sparsify(nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 3)), density=0.3, seed=0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        dst = sc.CHTs(model, optimizer, every=2, steps=20, zeta=0.3)
        model, optimizer = accelerator.prepare(model, optimizer)
        accelerator.register_for_checkpointing(dst)
        return model, optimizer, dst, accelerator

    def train(ready: tuple[nn.Module, torch.optim.Optimizer, sc.Evolution, accelerate.Accelerator], seed: int) -> None:
        model, optimizer, dst, accelerator = ready
        torch.manual_seed(seed)
        for _ in range(6):
            with accelerator.accumulate(model):
                accelerator.backward(model(torch.randn(4, 12)).square().mean())
                optimizer.step()
                if accelerator.sync_gradients:
                    dst.step()
                optimizer.zero_grad()

    one, two = ready(), ready()
    train(one, seed=1)
    one[3].save_state(str(tmp_path))
    train(one, seed=2)
    two[3].load_state(str(tmp_path))
    train(two, seed=2)
    assert one[2].report().updates == two[2].report().updates == 3
    for (name, a), (_, b) in zip(one[0].state_dict().items(), two[0].state_dict().items(), strict=True):
        assert torch.equal(a, b), name
