"""A rule: what one update removes and what it grows, as parts that compose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sparsecore.errors import ConfigError, check_count, check_fraction
from sparsecore.evolution.companion import Companion
from sparsecore.evolution.redistribution import Redistribution
from sparsecore.predictors import CH2L3n, Momentum, Predictor
from sparsecore.removal import Amount, Fraction, Magnitude, Removal
from sparsecore.schedules import Constant, Schedule
from sparsecore.selection import Selection, Soft, Top
from sparsecore.selection.subrank import require_scores_of_links

__all__ = ["Rule"]

FreshValues = Literal["zero", "swi", "history"]

_KINDS: tuple[tuple[str, Any, str], ...] = (
    ("removal", Removal, "sparsecore.removal.Magnitude()"),
    ("prune", Removal, "sparsecore.removal.Magnitude()"),
    ("keep", Selection, "sparsecore.selection.Top()"),
    ("grow", Selection, "sparsecore.selection.Soft()"),
    ("predictor", Predictor, "sparsecore.predictors.CH2L3n()"),
    ("amount", Amount, "sparsecore.removal.Fraction()"),
)


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
    density_start : float, optional
        Density of the whole model that `density` starts from. A layer that starts with another one follows in
        proportion; when missing, every layer has the density itself.
    density_from : callable, optional
        Returns `density`, given the density of the first links; an `Evolution` asks it when it knows them.
    prune : Removal, optional
        Importance used when the density falls; `removal` when missing.
    percolate : bool
        Remove the links of inactive neurons before growing.
    fresh : str
        Value of a new link: ``"zero"``, ``"swi"`` (drawn) or ``"history"`` (what it held when last removed).
    early_stop : float, optional
        Freeze a layer once this share of its grown links was removed in the same update: its links stay.
    stop_together : bool
        Freeze no layer before all have come to `early_stop`, then all at once, as the published code of CHT has it.
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
    density_start: float | None = None
    density_from: Callable[[float], Schedule] | None = field(default=None, repr=False, compare=False)
    prune: Removal | None = None
    percolate: bool = True
    fresh: FreshValues = "zero"
    early_stop: float | None = None
    stop_together: bool = False
    amount: Amount = field(default_factory=Fraction)
    redistribution: Redistribution | None = None
    companion: Companion | None = None
    fresh_momentum: bool = False

    def __post_init__(self) -> None:
        """Check options that have a range or a kind."""
        self._require_parts()
        if self.fresh not in ("zero", "swi", "history"):
            raise ConfigError(f"Expected fresh to be 'zero', 'swi' or 'history'. Got {self.fresh!r}.")
        if self.temperature is not None and not isinstance(self.keep, Soft):
            raise ConfigError(f"Expected a Soft keep with a temperature schedule. Got {self.keep!r}.")
        if self.early_stop is not None:
            check_fraction("early_stop", self.early_stop, "the overlap of removed and grown links that freezes a layer")
            if self.density is not None:
                raise ConfigError(
                    "Expected either a density schedule or an early stop. Got both. "
                    "One removes links to the end, the other leaves them as they are."
                )
        if self.redistribution is not None and self.density is not None:
            raise ConfigError(
                "Expected either a density schedule or a redistribution. Got both. "
                "One fixes the links of every layer, the other moves them between layers."
            )
        if self.fresh_momentum and not isinstance(self.predictor, Momentum):
            raise ConfigError(f"Expected the predictor Momentum with fresh_momentum. Got {self.predictor!r}.")

    def _require_parts(self) -> None:
        for name, kind, example in _KINDS:
            part = getattr(self, name)
            if isinstance(part, type):
                raise ConfigError(
                    f"Expected {name} to be a part such as {example}. Got a class. Write {part.__name__}()."
                )
            if not isinstance(part, kind) and not (part is None and name in ("predictor", "prune")):
                raise ConfigError(f"Expected {name} to be a part such as {example}. Got {part!r}.")
        if isinstance(self.grow, Top) and self.grow.subrank == "spcorr" and self.predictor is not None:
            require_scores_of_links(self.predictor)

    def require_ranges(self, every: int, steps: int | None) -> None:
        """Raise if a schedule leaves its range at the first or the last update of a training.

        Raises
        ------
        ConfigError
            If ζ or the density is no fraction there, or the temperature is none of a soft selection.
        """
        last = every if steps is None else (steps - 1) // every * every
        for step in {min(every, last), last} - {0}:
            self.zeta_at(step)
            self.keep_at(step)
            if self.density is not None:
                check_fraction("density", self.density(step), "the fraction of possible links")

    def shortfall(self, start: float, *, every: int, steps: int) -> str | None:
        """Return what a training of `steps` steps leaves undone for a model of density `start`; nothing if all is done.

        Examples
        --------
        >>> Rule().shortfall(0.1, every=100, steps=50)
        'no update falls into the 50 steps, one comes every 100'
        """
        last = (steps - 1) // every * every
        asked = start if self.density is None else self.density(steps)
        left = start if self.density is None or not last else self.density(last)
        reached = math.isclose(left, asked, rel_tol=0.01)
        if last and reached:
            return None
        what = f"the last update is at step {last} of {steps}"
        if not last:
            what = f"no update falls into the {steps} steps, one comes every {every}"
        return what if reached else f"{what}; the density ends at {left:.2%}, not at {asked:.2%}"

    @property
    def needs(self) -> frozenset[str]:
        """What the rule reads: a subset of ``{"gradient", "signals", "momentum", "signs", "history", "steps"}``."""
        parts = [self.removal, self.prune, self.predictor, self.amount, self.redistribution, self.companion]
        return frozenset[str]().union(*(part.needs for part in parts if part is not None))

    @property
    def grows_anew(self) -> bool:
        """Whether a link that comes back within an update starts anew, as where it went for leaving its sign."""
        return "signs" in self.needs

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

    def starting_at(self, start: float) -> Rule:
        """Return the rule for a model whose first links have density `start`.

        Raises
        ------
        ConfigError
            If there is no schedule from there.

        Examples
        --------
        >>> from sparsecore.schedules import Cubic
        >>> rule = Rule(density_from=lambda start: Cubic(start, 0.1, steps=100))
        >>> rule.starting_at(0.3).density(0)
        0.3
        """
        if self.density_from is None:
            return self
        return replace(self, density=self.density_from(start), density_start=start)

    def planned_density(self, start: float, *, every: int, steps: int) -> float:
        """Return the mean density over ``steps`` steps of a layer that starts at density `start`.

        The density changes at updates only: after every `every` steps, but not at the last. `Report.mean_density` tells
        what a run has really spent.
        """
        check_count("every", every, "the number of steps between updates", low=1)
        check_count("steps", steps, "the number of training steps", low=1)
        if self.density is None:
            return check_fraction("start", start, "the density of the first links")
        share = self._share(start)
        spans = [min(every, steps - done) for done in range(0, steps, every)]
        heights = [start, *(min(share * self.density(done), 1.0) for done in range(every, steps, every))]
        return sum(span * height for span, height in zip(spans, heights, strict=True)) / steps

    def links_at(self, step: int, n_start: int, n_possible: int) -> int:
        """Return how many links a layer has after the update at `step`."""
        if self.density is None:
            return n_start
        density = check_fraction("density", self.density(step), "the fraction of possible links")
        if self.density_start is not None and abs(n_start - self.density_start * n_possible) > 1:  # beyond rounding
            density *= self._share(n_start / n_possible)
        return max(1, min(round(density * n_possible), n_possible))

    def _share(self, start: float) -> float:
        """Return the density of a layer that started at `start` over that of the whole model."""
        return start / self.density_start if self.density_start else 1.0
