"""The only place where a layer's links change: values, optimizer state and history move together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sparsecore._typing import FloatArray
from sparsecore.kernels.gpu.remap import DeviceEdit
from sparsecore.nn import SparseLinear, link_std
from sparsecore.storage import TopologyEdit

__all__ = ["apply_edit", "fresh_values", "momentum_of", "remap_state"]


def apply_edit(
    layer: SparseLinear,
    edit: TopologyEdit | DeviceEdit,
    optimizer: torch.optim.Optimizer,
    fresh: FloatArray | torch.Tensor | None = None,
    momentum: FloatArray | None = None,
) -> None:
    """Give `layer` the new links of `edit`; surviving links keep value and optimizer state, new ones start at zero.

    Parameters
    ----------
    layer : SparseLinear
        Changed in place; its parameter object stays the same.
    edit : TopologyEdit or DeviceEdit
        Planned on the layer's present topology.
    optimizer : Optimizer
        Every state tensor of shape (n_links,) that belongs to the layer's values is moved.
    fresh : array or Tensor, float32, (edit.fresh.size,), optional
        Values of the new links; zeros when missing.
    momentum : array, float32, (edit.fresh.size,), optional
        SGD momentum of the new links; zeros when missing, and where the optimizer has none.
    """
    if edit.is_identity:
        return
    values = edit.remap(layer.values.detach())
    if fresh is not None and len(edit.fresh):
        values[torch.as_tensor(edit.fresh, device=values.device)] = torch.as_tensor(fresh).to(values)
    state = _state_of(optimizer, layer.values)
    if state:
        moved = remap_state(state, edit)
        if momentum is not None and "momentum_buffer" in moved:
            buffer = moved["momentum_buffer"]
            buffer[torch.as_tensor(edit.fresh, device=buffer.device)] = torch.from_numpy(momentum).to(buffer)
        layer.adopt(edit.new, values)
        state.update(moved)
    else:
        layer.adopt(edit.new, values)


def remap_state(state: dict[str, Any], edit: TopologyEdit | DeviceEdit) -> dict[str, torch.Tensor]:
    """Return the per-link tensors of one parameter's optimizer state in the new order."""
    return {
        key: edit.remap(entry)
        for key, entry in state.items()
        if isinstance(entry, torch.Tensor) and tuple(entry.shape) == (edit.old.n_links,)
    }


def momentum_of(optimizer: torch.optim.Optimizer, values: torch.Tensor) -> FloatArray | None:
    """Return the momentum of every link, float32, (n_links,), or ``None`` if the optimizer has none yet.

    That is the momentum buffer of SGD, or the mean gradient of the Adam family over the root of its mean square.
    """
    state = _state_of(optimizer, values)
    momentum = state.get("momentum_buffer")
    if momentum is None and "exp_avg" in state:
        momentum = state["exp_avg"]
        if "exp_avg_sq" in state:
            momentum = momentum / (state["exp_avg_sq"].sqrt() + 1e-8)
    return None if momentum is None else momentum.detach().float().cpu().numpy()


def _state_of(optimizer: torch.optim.Optimizer, values: torch.Tensor) -> dict[str, Any]:
    """Return the live state of one parameter; ZeroRedundancyOptimizer keeps it in an optimizer of its own, `optim`."""
    state: dict[str, Any] = getattr(optimizer, "optim", optimizer).state.get(values, {})
    return state


def fresh_values(
    kind: str, edit: TopologyEdit | DeviceEdit, history_values: FloatArray, seed: int
) -> FloatArray | None:
    """Return values for the new links of `edit`, float32, (edit.fresh.size,), or ``None`` for zeros.

    Parameters
    ----------
    kind : str
        ``"zero"``, ``"swi"`` or ``"history"``.
    edit : TopologyEdit or DeviceEdit
        The planned change.
    history_values : array, float32, (edit.fresh.size,)
        What each new link held when it was last removed.
    seed : int
        For drawn values.
    """
    if kind == "zero" or len(edit.fresh) == 0:
        return None
    if kind == "history":
        return history_values
    std = float(link_std("swi", edit.new))
    draw = np.random.Generator(np.random.Philox(seed)).standard_normal(len(edit.fresh))
    return (draw * std).astype(np.float32)
