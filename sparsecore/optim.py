"""torch's optimizers with a faster step for many small parameters, which is what sparse layers have.

Results, options and state are those of `torch.optim`; what the fast step does not cover takes torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.optim.optimizer as _every_optimizer

from sparsecore._typing import Int64Array
from sparsecore.kernels.cpu.optimize import momentum_sgd

__all__ = ["SGD", "is_watched"]

Closure = Callable[[], torch.Tensor]


_torch_step: Callable[..., torch.Tensor | None] = torch.optim.SGD.step
if not getattr(_torch_step, "hooked", False):
    _torch_step = torch.optim.Optimizer.profile_hook_step(_torch_step)


def is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether hooks, its own or those of all optimizers, wait for the steps of an optimizer."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _every_optimizer._global_optimizer_pre_hooks
        or _every_optimizer._global_optimizer_post_hooks
    )


class SGD(torch.optim.SGD):
    """`torch.optim.SGD` whose step takes one kernel call for all float32 CPU parameters of a group.

    Takes the arguments of `torch.optim.SGD`. The fast step covers momentum and weight decay; groups with Nesterov
    momentum, dampening, maximisation, a learning rate in a tensor, or other parameters take torch's step.

    Examples
    --------
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> w.grad = torch.ones(3)
    >>> SGD([w], lr=0.5, momentum=0.9).step()
    >>> w.data
    tensor([0.5000, 0.5000, 0.5000])
    """

    def step(self, closure: Closure | None = None) -> torch.Tensor | None:  # type: ignore[override]
        """Take one step; returns the loss if `closure` computes it."""
        special = closure is not None or is_watched(self) or self._is_scaled()
        if special or not all(map(self._is_plain_group, self.param_groups)):
            return _torch_step(self, closure)
        for group in self.param_groups:
            rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            momentum_sgd(self._table(group), np.float32(rate), np.float32(momentum), np.float32(decay))
            torch.autograd.graph.increment_version([p for p in group["params"] if p.grad is not None])
        return None

    # Torch wraps every `step` in calls of hooks and of its profiler, unless it finds this mark. Where there are hooks,
    # the step above leaves all to torch.
    step.hooked = True  # type: ignore[attr-defined]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or set them to zero."""
        if not set_to_none:
            super().zero_grad(set_to_none=False)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _is_scaled(self) -> bool:
        """Tell whether a gradient scaler has left the unscaling of this step to the optimizer."""
        return getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None

    def _is_plain_group(self, group: dict[str, Any]) -> bool:
        """Tell whether the kernel can do the step of a group."""
        plain = group["momentum"] > 0 and not (group["nesterov"] or group["maximize"] or group["dampening"])
        if not plain or group["differentiable"] or isinstance(group["lr"], torch.Tensor):
            return False
        for parameter in group["params"]:
            if parameter.grad is not None:
                buffer = self.state[parameter].get("momentum_buffer")
                for tensor in (parameter, parameter.grad, parameter if buffer is None else buffer):
                    if not _is_plain(tensor) or tensor.shape != parameter.shape:
                        return False
        return True

    def _table(self, group: dict[str, Any]) -> Int64Array:
        """Return addresses and sizes for the kernel; makes the momentum buffers that do not exist yet."""
        rows = []
        for parameter in group["params"]:
            grad = parameter.grad
            if grad is None:
                continue
            state, size = self.state[parameter], parameter.numel()
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = torch.empty_like(parameter)
                size = -size
            rows.append((parameter.data_ptr(), grad.data_ptr(), buffer.data_ptr(), size))
        return np.array(rows, np.int64).reshape(-1, 4)


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.dtype is torch.float32 and tensor.is_cpu and tensor.layout is torch.strided and tensor.is_contiguous()
