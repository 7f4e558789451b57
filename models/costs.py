"""What methods cost, before any training."""

from __future__ import annotations

from sparsecore.evolution import methods
from sparsecore.models.image_run import on_one_layer
from sparsecore.models.options import accepted

__all__ = ["planned_costs"]


def planned_costs(density_start: float = 0.5, density: float = 0.01, updates: int = 100) -> dict[str, float]:
    """Return the mean density over a training by every method that changes the density.

    That is the cost of the links over the cost of a dense layer (FLOPs): methods are compared fairly at equal cost.

    Parameters
    ----------
    density_start, density : float
        At the first step and at the end; the start of methods that rise above `density` on their way is `density`.
    updates : int
        Updates of the links over the training.
    """
    costs = {}
    for entry in methods:
        falls = "density" in accepted(entry.name)
        start, end = (density_start, {"density": density}) if falls else (density, {})
        rule = on_one_layer(entry.name, start, every=10, steps=10 * updates, **end).rule
        if rule is not None and rule.density is not None:
            costs[entry.name] = rule.planned_density(start, every=10, steps=10 * updates)
    return costs
