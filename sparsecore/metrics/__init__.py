"""Measures: what network science says about the links of a layer, a chain of layers, or a training run."""

from sparsecore.metrics.communities import Communities, find_communities, modularity
from sparsecore.metrics.consistency import StructuralConsistency, structural_consistency
from sparsecore.metrics.credit import CreditPaths, credit_paths, hub_share
from sparsecore.metrics.degrees import PowerLaw, degree_power_law, power_law
from sparsecore.metrics.distances import PathLength, characteristic_path_length
from sparsecore.metrics.embedding import Angles, coalescent_angles, hyperbolic_radii
from sparsecore.metrics.network import Network
from sparsecore.metrics.separability import Separability, angular_separability, separability_of
from sparsecore.metrics.summary import Measure, chains_of, measure_layers, measure_network
from sparsecore.metrics.training import (
    anp,
    anp_per_layer,
    area_across_epochs,
    at_local_minimum,
    itop_rate,
    link_overlap,
    regrown_share,
)

__all__ = [
    "Angles",
    "Communities",
    "CreditPaths",
    "Measure",
    "Network",
    "PathLength",
    "PowerLaw",
    "Separability",
    "StructuralConsistency",
    "angular_separability",
    "anp",
    "anp_per_layer",
    "area_across_epochs",
    "at_local_minimum",
    "chains_of",
    "characteristic_path_length",
    "coalescent_angles",
    "credit_paths",
    "degree_power_law",
    "find_communities",
    "hub_share",
    "hyperbolic_radii",
    "itop_rate",
    "link_overlap",
    "measure_layers",
    "measure_network",
    "modularity",
    "power_law",
    "regrown_share",
    "separability_of",
    "structural_consistency",
]
