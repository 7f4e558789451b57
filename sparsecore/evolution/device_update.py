"""Where an update is planned, and how a plan of the device is applied."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import numpy as np
import torch

from sparsecore._typing import FloatArray
from sparsecore.evolution.apply import apply_edit, fresh_values
from sparsecore.evolution.device_history import DeviceHistory
from sparsecore.evolution.history import History
from sparsecore.evolution.on_device import why_not
from sparsecore.evolution.rule import Rule
from sparsecore.kernels.gpu import engine
from sparsecore.kernels.gpu.remap import DeviceEdit
from sparsecore.kernels.gpu.runtime import Runtime
from sparsecore.nn import SparseLinear

__all__ = ["apply_on_device", "runtime_for"]

_log = logging.getLogger("sparsecore.evolution")


def runtime_for(layers: Sequence[SparseLinear], rule: Rule) -> Runtime | None:
    """Return what plans an update of `layers` on their device, or ``None`` where the host plans it.

    The host plans for layers on the CPU or on several devices, and for rules with parts that the device does not know;
    these are named in the log.
    """
    devices = {layer.values.device for layer in layers}
    runtime = engine(devices.pop()) if len(devices) == 1 else None
    if runtime is not None:
        reason = why_not(rule)
        if reason is not None:
            _say_once(reason)
            return None
    return runtime


@functools.cache
def _say_once(reason: str) -> None:
    _log.warning("updates are planned on the host: the GPU does not know %s of this rule", reason)


def apply_on_device(
    layer: SparseLinear,
    edit: DeviceEdit,
    optimizer: torch.optim.Optimizer,
    fresh: str,
    history: History,
    seed: int,
) -> DeviceHistory:
    """Apply `edit` and return the layer's history after it; both stay on the device.

    Parameters
    ----------
    layer : SparseLinear
        Changed in place.
    edit : DeviceEdit
        Planned on the layer's present topology.
    optimizer : Optimizer
        Its state of the layer's values is moved.
    fresh : str
        Value of a new link, see `Rule`; values that are drawn are drawn on the host and sent.
    history : History
        Before the edit.
    seed : int
        For drawn values.
    """
    kept = DeviceHistory.of(history, layer.values.device)
    values: FloatArray | torch.Tensor | None
    if fresh == "history":
        values = kept.held_by(edit.ids_of(edit.fresh, new=True))
    else:
        values = fresh_values(fresh, edit, np.zeros(0, np.float32), seed)
    kept = kept.after_on_device(edit, layer.values.detach())
    apply_edit(layer, edit, optimizer, values)
    return kept
