"""Removal: how important each stored link is."""

from sparsecore.removal.gradient import Mest, ReciprocalSensitivity, Sensitivity, Snip
from sparsecore.removal.protocol import Links, Removal, get, names, register, registry
from sparsecore.removal.weight import Magnitude, Random, RelativeImportance, SetSigned

__all__ = [
    "Links",
    "Magnitude",
    "Mest",
    "Random",
    "ReciprocalSensitivity",
    "RelativeImportance",
    "Removal",
    "Sensitivity",
    "SetSigned",
    "Snip",
    "get",
    "names",
    "register",
    "registry",
]
