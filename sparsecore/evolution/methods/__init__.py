"""Methods of dynamic sparse training: each a short function that composes parts."""

from sparsecore.evolution.methods.cht import CHT
from sparsecore.evolution.methods.chts import CHTs
from sparsecore.evolution.methods.chtss import CHTss
from sparsecore.evolution.methods.gmp import GMP
from sparsecore.evolution.methods.granet import GraNet
from sparsecore.evolution.methods.mest import MEST
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.methods.rigl import RigL
from sparsecore.evolution.methods.set import SET
from sparsecore.evolution.methods.static import Static

__all__ = ["CHT", "GMP", "MEST", "SET", "CHTs", "CHTss", "GraNet", "RigL", "Static", "methods"]
