"""Methods of dynamic sparse training: each a short function that composes parts."""

from sparsecore.evolution.methods.chts import CHTs
from sparsecore.evolution.methods.registry import methods
from sparsecore.evolution.methods.set import SET
from sparsecore.evolution.methods.static import Static

__all__ = ["SET", "CHTs", "Static", "methods"]
