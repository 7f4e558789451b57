"""Generators: the first links of a layer, exact in number, without anything of size ``n_out * n_in``."""

from sparsecore.generators.allocation import allocate, allocations
from sparsecore.generators.correlated import CSTI
from sparsecore.generators.erdos_renyi import ER
from sparsecore.generators.protocol import Generator, get, names, register, registry
from sparsecore.generators.receptive_field import BRF
from sparsecore.generators.regular import Regular
from sparsecore.generators.scale_free import BSF, resort
from sparsecore.generators.small_world import BSW

__all__ = [
    "BRF",
    "BSF",
    "BSW",
    "CSTI",
    "ER",
    "Generator",
    "Regular",
    "allocate",
    "allocations",
    "get",
    "names",
    "register",
    "registry",
    "resort",
]
