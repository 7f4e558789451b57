"""The fall of the density under methods that remove more links than they grow."""

from __future__ import annotations

from collections.abc import Callable

from sparsecore.errors import ConfigError, check_fraction
from sparsecore.evolution.methods.parts import Parts
from sparsecore.schedules import Constant, Schedule

__all__ = ["falling"]


def falling(
    kind: Callable[[float, float, int], Schedule], start: float, end: float, steps: int | None, parts: Parts
) -> Schedule:
    """Return a schedule that brings the density of a model down.

    Parameters
    ----------
    kind : callable
        Makes a schedule of start, end and length.
    start, end : float
        Density of the model, and the one to end with.
    steps : int, optional
        Length of the fall.
    parts : Parts
        What was given in place of the method's own parts; a schedule of the density among it is all that counts.

    Raises
    ------
    ConfigError
        If there is no length, as everything would go at once, or the density would rise.
    """
    if "density_schedule" in parts:
        return Constant(start)
    check_fraction("density", end, "the density to end with", open_low=True)
    if end > 1.01 * start:
        raise ConfigError(
            f"Expected density at most that of the model, {start:.4g}, which it is brought down from. Got {end}."
        )
    if steps is None:
        raise ConfigError(
            "Expected the length of the training, over which the density falls. Got none. Give steps=..., or a "
            "density_schedule."
        )
    return kind(start, end, max(1, steps))
