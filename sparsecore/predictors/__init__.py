"""Predictors: how likely each missing link is."""

from sparsecore.predictors.gradient import Gradient, Momentum
from sparsecore.predictors.node_based import CH2L3n, CH3L3n, CH31L3n
from sparsecore.predictors.path_based import CNL3, RAL3, CH2L3p, CH3L3p, CH31L3p
from sparsecore.predictors.protocol import Predictor, Sampler, ScoreBlock, Signals, get, names, register, registry
from sparsecore.predictors.retired import Retired
from sparsecore.predictors.uniform import Random

__all__ = [
    "CNL3",
    "RAL3",
    "CH2L3n",
    "CH2L3p",
    "CH3L3n",
    "CH3L3p",
    "CH31L3n",
    "CH31L3p",
    "Gradient",
    "Momentum",
    "Predictor",
    "Random",
    "Retired",
    "Sampler",
    "ScoreBlock",
    "Signals",
    "get",
    "names",
    "register",
    "registry",
]
