"""Numbers that are not finite: found before an update reads them, so that nothing is changed by them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from sparsecore._typing import FloatArray
from sparsecore.errors import NonFiniteError
from sparsecore.evolution.on_device import DeviceView
from sparsecore.evolution.rule import Rule

if TYPE_CHECKING:
    from sparsecore.evolution.plan import LayerView

__all__ = ["all_finite", "require_finite"]


def all_finite(numbers: torch.Tensor) -> bool:
    """Tell whether all numbers of a tensor are finite; one pass and no copy as long as they are.

    Examples
    --------
    >>> all_finite(torch.tensor([1.0, 3e38, 3e38])), all_finite(torch.tensor([1.0, float("nan")]))
    (True, False)
    """
    # A sum is finite only if all its terms are. Where it is not, it may have overflowed by itself.
    return math.isfinite(float(numbers.sum())) or bool(torch.isfinite(numbers).all())


def require_finite(view: LayerView | DeviceView, rule: Rule) -> None:
    """Raise unless everything is finite that `rule` reads of a layer.

    Raises
    ------
    NonFiniteError
        If values, or gradients, inputs or momentum that the rule reads, hold NaN or infinity.
    """
    parts: dict[str, FloatArray | torch.Tensor | None] = {"values": view.values}
    if "gradient" in rule.needs:
        parts["gradients of values"] = view.gradient
    if isinstance(view, DeviceView):
        if view.heard is not None:
            parts["inputs"], parts["gradients of outputs"] = view.heard
    else:
        parts["momentum"] = view.momentum
        if view.signals is not None:
            parts["inputs"], parts["gradients of outputs"] = view.signals.inputs, view.signals.grad_outputs
    for what, numbers in parts.items():
        if numbers is not None and not all_finite(torch.as_tensor(numbers)):
            raise NonFiniteError(
                f"Expected finite {what} of {view.name!r}. Got NaN or infinity; its links are as they were. "
                "Lower the learning rate, or leave such steps out (sparsecore.engine.FiniteSteps)."
            )
