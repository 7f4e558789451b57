import copy

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from sparsecore.optim import SGD

OPTIONS = [
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2},
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.5},
    {"lr": 0.1, "momentum": 0.9, "maximize": True},
    {"lr": torch.tensor(0.1), "momentum": 0.9},
]


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(n, generator=generator, dtype=dtype)) for n in (1, 15, 16, 17, 1000)]


def run(kind, options, steps=5, dtype=torch.float32):
    params = parameters(dtype)
    optimizer = kind(params, **options)
    for step in range(steps):
        for index, parameter in enumerate(params):
            parameter.grad = None if (index + step) % 4 == 0 else torch.cos(parameter.detach() * (index + step))
        optimizer.step()
        optimizer.zero_grad()
        assert all(parameter.grad is None for parameter in params)
    return params, optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS)
def test_steps_are_those_of_torch(options, dtype):
    ours, optimizer = run(SGD, options, dtype=dtype)
    theirs, reference = run(torch.optim.SGD, options, dtype=dtype)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    mine, other = optimizer.state_dict(), reference.state_dict()
    assert mine["state"].keys() == other["state"].keys()
    for index, state in other["state"].items():
        assert mine["state"][index].keys() == state.keys()


def test_state_can_be_handed_over_in_both_directions():
    params, optimizer = run(SGD, OPTIONS[1])
    twins = copy.deepcopy(params)
    reference = torch.optim.SGD(twins, **OPTIONS[1])
    reference.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for parameter, twin in zip(params, twins, strict=True):
        parameter.grad, twin.grad = torch.ones_like(parameter), torch.ones_like(twin)
    optimizer.step()
    reference.step()
    for one, other in zip(params, twins, strict=True):
        torch.testing.assert_close(one, other)


def test_hooks_closures_and_schedulers_work():
    parameter = nn.Parameter(torch.ones(3))
    optimizer = SGD([parameter], lr=1.0, momentum=0.9)
    seen = []
    optimizer.register_step_pre_hook(lambda *args: seen.append("pre"))
    optimizer.register_step_post_hook(lambda *args: seen.append("post"))
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    def closure():
        optimizer.zero_grad()
        loss = parameter.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert seen == ["pre", "post"]


def test_gradients_can_be_zeroed_in_place():
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    optimizer = SGD([parameter], lr=1.0, momentum=0.9)
    optimizer.zero_grad(set_to_none=False)
    assert parameter.grad.tolist() == [0.0, 0.0, 0.0]


def test_momentum_of_another_size_is_refused_as_by_torch():
    params, optimizer = run(SGD, OPTIONS[0])
    params[-1].data = torch.ones(5000)
    params[-1].grad = torch.ones(5000)
    with pytest.raises(RuntimeError, match="size"):
        optimizer.step()


def test_a_gradient_scaler_is_obeyed():
    for fused in (False, True):
        parameter = nn.Parameter(torch.ones(3))
        optimizer, scaler = SGD([parameter], lr=0.1, momentum=0.9, fused=fused), torch.amp.GradScaler("cpu", 1024.0)
        scaler.scale(parameter.sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.9))
        parameter.grad = torch.full((3,), torch.inf)
        scaler.step(optimizer)
        torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.9))


def test_a_step_between_forward_and_backward_is_noticed():
    w = nn.Parameter(torch.ones(3))
    loss, w.grad = (w * w).sum(), torch.ones(3)
    SGD([w], lr=0.1, momentum=0.9).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_hooks_of_all_optimizers_are_called():
    calls = []
    handle = register_optimizer_step_post_hook(lambda *_: calls.append(1))
    try:
        run(SGD, OPTIONS[0], steps=3)
    finally:
        handle.remove()
    assert len(calls) == 3
