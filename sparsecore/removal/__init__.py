"""Removal: how important each stored link is, and how many go."""

from sparsecore.removal.amount import Amount, Candidates, Fraction, Outranked, Threshold, Unimportant, amounts
from sparsecore.removal.gradient import Mest, ReciprocalSensitivity, Sensitivity, Snip
from sparsecore.removal.protocol import Links, Removal, get, names, register, registry
from sparsecore.removal.weight import Magnitude, Random, RelativeImportance, SetSigned, SignKept

__all__ = [
    "Amount",
    "Candidates",
    "Fraction",
    "Links",
    "Magnitude",
    "Mest",
    "Outranked",
    "Random",
    "ReciprocalSensitivity",
    "RelativeImportance",
    "Removal",
    "Sensitivity",
    "SetSigned",
    "SignKept",
    "Snip",
    "Threshold",
    "Unimportant",
    "amounts",
    "get",
    "names",
    "register",
    "registry",
]
