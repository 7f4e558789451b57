"""The fall of the density under methods that remove more links than they grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sparsecore.errors import ConfigError, check_count, check_fraction
from sparsecore.schedules import Schedule

__all__ = ["Fall"]


@dataclass(frozen=True)
class Fall:
    """Brings the density of a model down: called with the density of its first links, returns the schedule.

    Attributes
    ----------
    kind : callable
        Makes a schedule of start, end and length.
    end : float
        Density to end with.
    steps : int, optional
        Length of the training.
    share : float
        Share of the training after which `end` is reached.
    """

    kind: Callable[[float, float, int], Schedule]
    end: float
    steps: int | None
    share: float

    def __call__(self, start: float) -> Schedule:
        """Return the schedule that begins at density `start`.

        Raises
        ------
        ConfigError
            If there is no length, as everything would go at once, or the density would rise.
        """
        check_fraction("density", self.end, "the density to end with", open_low=True)
        if self.end > 1.01 * start:
            raise ConfigError(
                f"Expected density at most that of the model, {start:.4g}, which it is brought down from. "
                f"Got {self.end}."
            )
        if self.steps is None:
            raise ConfigError(
                "Expected the length of the training, over which the density falls. Got none. Give steps=..., or a "
                "density_schedule."
            )
        steps = check_count("steps", self.steps, "the number of training steps", low=1)
        return self.kind(start, self.end, max(1, int(self.share * steps)))
