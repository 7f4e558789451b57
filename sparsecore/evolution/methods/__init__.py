"""Methods of dynamic sparse training: each a short function that composes parts."""

from sparsecore.evolution.methods.cht import CHT
from sparsecore.evolution.methods.chts import CHTs
from sparsecore.evolution.methods.chtss import CHTss
from sparsecore.evolution.methods.deepr import DeepR
from sparsecore.evolution.methods.dsr import DSR
from sparsecore.evolution.methods.esml import ESML
from sparsecore.evolution.methods.gmp import GMP
from sparsecore.evolution.methods.granet import GraNet
from sparsecore.evolution.methods.mest import MEST
from sparsecore.evolution.methods.parts import PRESETS, Parts
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.methods.rigl import RigL
from sparsecore.evolution.methods.set import SET
from sparsecore.evolution.methods.snfs import SNFS
from sparsecore.evolution.methods.static import Static
from sparsecore.evolution.methods.top_kast import TopKAST

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
    "DeepR",
    "GraNet",
    "Parts",
    "RigL",
    "Static",
    "TopKAST",
    "methods",
]
