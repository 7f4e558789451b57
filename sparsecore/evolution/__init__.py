"""Evolution: rules, planning, percolation, and the methods of the field."""

from sparsecore.evolution.evolution import Evolution
from sparsecore.evolution.methods import CHT, GMP, MEST, SET, CHTs, CHTss, GraNet, RigL, Static, methods
from sparsecore.evolution.percolation import active_neurons, percolate
from sparsecore.evolution.plan import LayerPlan, LayerView, plan_chain
from sparsecore.evolution.report import LayerReport, Report
from sparsecore.evolution.rule import Rule

__all__ = [
    "CHT",
    "GMP",
    "MEST",
    "SET",
    "CHTs",
    "CHTss",
    "Evolution",
    "GraNet",
    "LayerPlan",
    "LayerReport",
    "LayerView",
    "Report",
    "RigL",
    "Rule",
    "Static",
    "active_neurons",
    "methods",
    "percolate",
    "plan_chain",
]
