"""What can be foretold of an image run before its first step: surprises, and what methods cost."""

from __future__ import annotations

import math

from sparsecore.evolution import methods
from sparsecore.models.data import ImageData
from sparsecore.models.image_run import ImageRun, on_one_layer
from sparsecore.models.options import DENSE, accepted

__all__ = ["planned_costs", "warnings_of"]


def warnings_of(run: ImageRun, data: ImageData) -> list[str]:
    """Return what a user may not expect of a run: other first links, no update, a density that is not reached."""
    if run.method == DENSE:
        return []
    found = [run.first_links(data.n_features).warning, _density_left(run, len(data.train_y))]
    return [text for text in found if text is not None]


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


def _density_left(run: ImageRun, n_samples: int) -> str | None:
    """Return a warning if no update falls inside the run, or the last one leaves another density than is asked for."""
    every, steps = run.length(n_samples)
    first = max(run.first_density, 1e-4)
    rule = on_one_layer(run.method, first, every=every, steps=steps, **run.method_options(steps)).rule
    if rule is None:
        return None
    last = (steps - 1) // every * every
    asked = first if rule.density is None else rule.density(steps)
    left = rule.density(last) if rule.density is not None and last else first
    reached = math.isclose(left, asked, rel_tol=0.01)
    if last and reached:
        return None
    what = f"The last update is at step {last} of {steps}"
    if not last:
        what = f"No update falls into the {steps} steps of the run, one comes every {every}"
    density = "" if reached else f"; the density ends at {left:.2%}, not at {asked:.2%}"
    return f"{what}{density}. Raise --epochs (epochs), or lower --every (every)."
