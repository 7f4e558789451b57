"""What training would need, before anything is built: bytes of a model dense, masked and on links."""

from sparsecore.planning.cost import OPTIMIZERS, UPDATE_BYTES, Cost, Plan, plan_model
from sparsecore.planning.machine import Machine, this_machine
from sparsecore.planning.outline import Outline, outline_mlp, outline_model

__all__ = [
    "OPTIMIZERS",
    "UPDATE_BYTES",
    "Cost",
    "Machine",
    "Outline",
    "Plan",
    "outline_mlp",
    "outline_model",
    "plan_model",
    "this_machine",
]
