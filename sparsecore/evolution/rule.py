"""A rule: what one update removes and what it grows, as parts that compose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from sparsecore.errors import ConfigError, check_count, check_fraction
from sparsecore.evolution.companion import Companion
from sparsecore.evolution.redistribution import Redistribution
from sparsecore.predictors import CH2L3n, Momentum, Predictor
from sparsecore.removal import Amount, Fraction, Magnitude, Removal
from sparsecore.schedules import Constant, Schedule
from sparsecore.selection import Selection, Soft, Top

__all__ = ["Rule"]

FreshValues = Literal["zero", "swi", "history"]


@dataclass(frozen=True)
class Rule:
    """What one update does to a layer.

    Attributes
    ----------
    removal : Removal
        Importance of every link.
    keep : Selection
        Which links stay, given the importance.
    predictor : Predictor, optional
        Scores missing links; ``None`` grows nothing back.
    grow : Selection
        Which missing links are grown, given the scores.
    zeta : Schedule
        Fraction of links replaced, by step.
    temperature : Schedule, optional
        Temperature of a soft `keep`, by step; its own temperature when missing.
    density : Schedule, optional
        Density of every layer by step; the links it starts with when missing.
    prune : Removal, optional
        Importance used when the density falls; `removal` when missing.
    percolate : bool
        Remove the links of inactive neurons before growing.
    fresh : str
        Value of a new link: ``"zero"``, ``"swi"`` (drawn) or ``"history"`` (what it held when last removed).
    early_stop : float, optional
        Freeze a layer once this share of its grown links was removed in the same update.
    amount : Amount
        How many links go.
    redistribution : Redistribution, optional
        Which layers grow the links that were removed; every layer its own when missing.
    companion : Companion, optional
        What happens beside every optimizer step, and what it keeps per link.
    fresh_momentum : bool
        Give new links the momentum that they would have had, as far as the predictor `Momentum` knows it.
    """

    removal: Removal = field(default_factory=Magnitude)
    keep: Selection = field(default_factory=Top)
    predictor: Predictor | None = field(default_factory=CH2L3n)
    grow: Selection = field(default_factory=Soft)
    zeta: Schedule = field(default_factory=lambda: Constant(0.3))
    temperature: Schedule | None = None
    density: Schedule | None = None
    prune: Removal | None = None
    percolate: bool = True
    fresh: FreshValues = "zero"
    early_stop: float | None = None
    amount: Amount = field(default_factory=Fraction)
    redistribution: Redistribution | None = None
    companion: Companion | None = None
    fresh_momentum: bool = False

    def __post_init__(self) -> None:
        """Check options that have a range."""
        if self.fresh not in ("zero", "swi", "history"):
            raise ConfigError(f"Expected fresh to be 'zero', 'swi' or 'history'. Got {self.fresh!r}.")
        if self.temperature is not None and not isinstance(self.keep, Soft):
            raise ConfigError(f"Expected a Soft keep with a temperature schedule. Got {self.keep!r}.")
        if self.early_stop is not None:
            check_fraction("early_stop", self.early_stop, "the overlap of removed and grown links that freezes a layer")
        if self.redistribution is not None and self.density is not None:
            raise ConfigError(
                "Expected either a density schedule or a redistribution. Got both. "
                "One fixes the links of every layer, the other moves them between layers."
            )
        if self.fresh_momentum and not isinstance(self.predictor, Momentum):
            raise ConfigError(f"Expected the predictor Momentum with fresh_momentum. Got {self.predictor!r}.")

    @property
    def needs(self) -> frozenset[str]:
        """What the rule reads: a subset of ``{"gradient", "signals", "momentum", "signs", "history", "steps"}``."""
        parts = [self.removal, self.prune, self.predictor, self.amount, self.redistribution, self.companion]
        return frozenset[str]().union(*(part.needs for part in parts if part is not None))

    @property
    def read_steps(self) -> int | None:
        """Steps up to an update whose gradients the rule reads; ``None`` if it has to see every step."""
        if "steps" in self.needs:
            return None
        return self.window_steps if "signals" in self.needs else int("gradient" in self.needs)

    @property
    def window_steps(self) -> int:
        """Steps before an update whose inputs and gradients the predictor reads."""
        return int(getattr(self.predictor, "window_steps", 1))

    def zeta_at(self, step: int) -> float:
        """Return the replaced fraction at a step, checked to lie in [0, 1]."""
        return check_fraction("zeta", self.zeta(step), "the fraction of links replaced per update")

    def keep_at(self, step: int) -> Selection:
        """Return the removal selection at a step."""
        if self.temperature is None or not isinstance(self.keep, Soft):
            return self.keep
        return replace(self.keep, temperature=self.temperature(step))

    def planned_density(self, start: float, *, every: int, steps: int) -> float:
        """Return the mean density over ``steps`` steps of a layer that starts at density `start`.

        The density changes at updates only: after every `every` steps, but not at the last. `Report.mean_density` tells
        what a run has really spent.
        """
        check_count("every", every, "the number of steps between updates", low=1)
        check_count("steps", steps, "the number of training steps", low=1)
        if self.density is None:
            return check_fraction("start", start, "the density of the first links")
        spans = [min(every, steps - done) for done in range(0, steps, every)]
        heights = [start, *(self.density(done) for done in range(every, steps, every))]
        return sum(span * height for span, height in zip(spans, heights, strict=True)) / steps

    def links_at(self, step: int, n_start: int, n_possible: int) -> int:
        """Return how many links a layer has after the update at `step`."""
        if self.density is None:
            return n_start
        density = check_fraction("density", self.density(step), "the fraction of possible links")
        return max(1, min(round(density * n_possible), n_possible))
