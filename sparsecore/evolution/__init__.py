"""Evolution: rules, planning, percolation, and the methods of the field."""

from sparsecore.evolution import redistribution
from sparsecore.evolution.companion import Companion
from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.forward_set import ForwardSet
from sparsecore.evolution.methods import (
    CHT,
    DSR,
    ESML,
    GMP,
    MEST,
    PRESETS,
    SET,
    SNFS,
    CHTs,
    CHTss,
    DeepR,
    GraNet,
    Parts,
    RigL,
    Static,
    TopKAST,
    methods,
)
from sparsecore.evolution.percolation import active_neurons, percolate
from sparsecore.evolution.plan import LayerPlan, LayerView, ModelPlan, plan_chain, plan_model
from sparsecore.evolution.report import LayerReport, Report
from sparsecore.evolution.rule import Rule
from sparsecore.evolution.signed import SignedWalk

__all__ = [
    "CHT",
    "DSR",
    "ESML",
    "GMP",
    "MEST",
    "PRESETS",
    "SET",
    "SNFS",
    "CHTs",
    "CHTss",
    "Companion",
    "DeepR",
    "Evolution",
    "ForwardSet",
    "GraNet",
    "LayerPlan",
    "LayerReport",
    "LayerView",
    "ModelPlan",
    "Parts",
    "Report",
    "RigL",
    "Rule",
    "SignedWalk",
    "Static",
    "TopKAST",
    "active_neurons",
    "methods",
    "percolate",
    "plan_chain",
    "plan_model",
    "redistribution",
]
