"""Schedules: plain functions ``step → value`` for density, zeta, temperature and the learning rate.

Every schedule is a frozen dataclass that can be called with a step (an integer >= 0). Past its last step it holds its
last value. Learning-rate schedules return a factor, so ``torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)``
takes them as they are, but for `INoam`, which counts from 1.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sparsecore.errors import ConfigError, check_count, check_fraction, check_positive
from sparsecore.registry import Registry

__all__ = [
    "Constant",
    "Cosine",
    "Cubic",
    "INoam",
    "Linear",
    "Noam",
    "Odds",
    "Schedule",
    "Sigmoid",
    "Steps",
    "get",
    "integral",
    "names",
    "register",
    "registry",
]


@runtime_checkable
class Schedule(Protocol):
    """Anything that turns a step (int, >= 0) into a value."""

    def __call__(self, step: int, /) -> float:
        """Return the value at `step`."""
        ...


registry: Registry[Schedule] = Registry("schedule")
register, get, names = registry.register, registry.get, registry.names

_RAMP = "the value of the schedule at that end"
_LENGTH = "the number of steps from the first value to the last"


def _check_finite(name: str, value: float, meaning: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"Expected {name} to be a finite number. Got {value!r}. {name} is {meaning}.")


def _check_step(step: int) -> int:
    return check_count("step", step, "the number of steps done so far")


@register("constant", paper="-", equation="value")
@dataclass(frozen=True)
class Constant:
    """The same value at every step.

    Parameters
    ----------
    value : float
        That value.

    Examples
    --------
    >>> Constant(0.3)(1_000)
    0.3
    """

    value: float

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        _check_finite("value", self.value, "what the schedule returns at every step")

    def __call__(self, step: int, /) -> float:
        """Return the value at `step`."""
        _check_step(step)
        return float(self.value)


@dataclass(frozen=True)
class _Ramp:
    """From `start` at step 0 to `end` at step `steps`, along the curve of `progress`."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        _check_finite("start", self.start, _RAMP)
        _check_finite("end", self.end, _RAMP)
        check_count("steps", self.steps, _LENGTH, low=1)

    def __call__(self, step: int, /) -> float:
        """Return the value at `step`."""
        done = min(_check_step(step) / self.steps, 1.0)
        # The ends are returned as given: a final density must not be off by a rounding error.
        if done in (0.0, 1.0):
            return float(self.end if done else self.start)
        return self.start + (self.end - self.start) * self.progress(done)

    def progress(self, done: float) -> float:
        """Return the share of the way covered when the share `done` of the steps, in (0, 1), has passed."""
        raise NotImplementedError


@register("linear", paper="-", equation="start + (end - start) t/T")
@dataclass(frozen=True)
class Linear(_Ramp):
    """A straight line: the learning rate of the CHTs recipes, or a temperature ramp.

    Parameters
    ----------
    start, end : float
        Values at step 0 and from step `steps` on.
    steps : int
        Length of the ramp.

    Examples
    --------
    >>> Linear(1.0, 3.0, steps=100)(50)
    2.0
    """

    def progress(self, done: float) -> float:
        """Return `done` itself."""
        return done


@register("cosine", paper="RigL, Evci et al. 2020", equation="end + (start - end)/2 (1 + cos(pi t/T))")
@dataclass(frozen=True)
class Cosine(_Ramp):
    """Half a cosine, options as in `Linear`; with ``end=0`` the annealed zeta of RigL and CHTs ("adaptive zeta").

    Examples
    --------
    >>> round(Cosine(0.3, 0.0, steps=100)(50), 12)
    0.15
    """

    def progress(self, done: float) -> float:
        """Return half the cosine's way."""
        return 0.5 - 0.5 * math.cos(math.pi * done)


@register("cubic", paper="GMP, Zhu & Gupta 2017; GraNet, Liu et al. 2021", equation="end + (start - end)(1 - t/T)^3")
@dataclass(frozen=True)
class Cubic(_Ramp):
    """Fast at first, then slower, options as in `Linear`: the density of gradual pruning (GMP) and GraNet.

    Examples
    --------
    >>> round(Cubic(0.5, 0.1, steps=100)(50), 12)
    0.15
    """

    def progress(self, done: float) -> float:
        """Return one minus the cube of what is left."""
        return 1.0 - (1.0 - done) ** 3


@register("sigmoid", paper="CHTss, Zhang et al. 2025", equation="start + (end - start) s(t), s logistic, from 0 to 1")
@dataclass(frozen=True)
class Sigmoid(_Ramp):
    """Slow, fast, slow: the density of CHTss.

    With ``x = (t - T/2)/(T/2)`` the logistic curve ``1/(1 + exp(-k x))`` is shifted and stretched so that it runs from
    exactly 0 to exactly 1. The printed equation has the opposite sign in the exponent; this is the one that decays.
    By symmetry its mean is the mean of its ends, so at equal cost it may last half as many steps as `Cubic`, whose mean
    lies a quarter of the way.

    Parameters
    ----------
    start, end : float
        Values at step 0 and from step `steps` on.
    steps : int
        Length of the ramp.
    k : float
        Steepness over half the duration.

    Examples
    --------
    >>> Sigmoid(0.5, 0.1, steps=100)(50)
    0.3
    """

    k: float = 6.0

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        super().__post_init__()
        check_positive("k", self.k, "the steepness of the sigmoid over half its duration")

    def progress(self, done: float) -> float:
        """Return the normalised logistic curve."""
        # tanh(k x / 2) is the logistic curve shifted and doubled; unlike exp it cannot overflow.
        return 0.5 + 0.5 * math.tanh(self.k * (done - 0.5)) / math.tanh(0.5 * self.k)


@register("odds", paper="CHTs, Zhang et al. 2025", equation="δ/(1 - δ), δ linear from start to end")
@dataclass(frozen=True)
class Odds:
    """Temperature of soft removal as the papers print it: ``δ/(1-δ)`` while δ rises linearly.

    Parameters
    ----------
    start, end : float
        δ at step 0 and from step `steps` on, in [0, 1).
    steps : int
        Length of the ramp.

    Examples
    --------
    >>> Odds(0.5, 0.75, steps=100)(0), Odds(0.5, 0.75, steps=100)(100)
    (1.0, 3.0)
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        for name, value in (("start", self.start), ("end", self.end)):
            if check_fraction(name, value, "δ, from which the temperature δ/(1-δ) is made") == 1.0:
                raise ConfigError(f"Expected {name} in [0, 1). Got 1.0. The temperature δ/(1-δ) would be infinite.")
        check_count("steps", self.steps, _LENGTH, low=1)

    def __call__(self, step: int, /) -> float:
        """Return the value at `step`."""
        delta = Linear(self.start, self.end, self.steps)(step)
        return delta / (1.0 - delta)


@register("steps", paper="MEST, Yuan et al. 2021", equation="values[i] for boundaries[i-1] <= t < boundaries[i]")
@dataclass(frozen=True)
class Steps:
    """A staircase.

    Parameters
    ----------
    values : sequence of float
        The value of each stair, first to last.
    boundaries : sequence of int
        The step at which each stair but the first begins; rising.

    Examples
    --------
    >>> stairs = Steps(values=(0.3, 0.2, 0.1), boundaries=(10, 20))
    >>> stairs(9), stairs(10), stairs(1_000)
    (0.3, 0.2, 0.1)
    """

    values: tuple[float, ...]
    boundaries: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        if len(self.values) != len(self.boundaries) + 1:
            raise ConfigError(
                f"Expected one value more than boundaries. Got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries. Each boundary is the step at which the next value begins."
            )
        for value in self.values:
            _check_finite("values", value, "the height of each stair")
        low = 0
        for boundary in self.boundaries:
            low = check_count("boundaries", boundary, "the steps at which stairs begin, rising", low=low) + 1

    @classmethod
    def em_s(cls, density: float, steps: int, every: int, extra: tuple[float, float] = (0.05, 0.025)) -> Steps:
        """Return the density of MEST with elastic mutation and shrink (EM&S).

        Parameters
        ----------
        density : float
            Density the training ends with.
        steps : int
            Step of the last update (T_end).
        every : int
            Steps between updates.
        extra : pair of float
            Density on top of `density`, as a share of all possible links: up to 60% of `steps`, and from there until
            the last update. Where the sum passes 1 the layer is full.

        Returns
        -------
        Steps
            ``density + extra[0]`` while ``t <= 0.6 steps``, ``density + extra[1]`` while ``t < steps - every``, then
            `density`: the published code shrinks one update early, so that the target holds even where a loop leaves
            out the update at `steps` itself.

        Examples
        --------
        >>> density = Steps.em_s(0.1, steps=1_000, every=100)
        >>> [round(density(step), 3) for step in (600, 601, 899, 900)]
        [0.15, 0.125, 0.125, 0.1]
        """
        check_fraction("density", density, "the density that training ends with")
        check_count("steps", steps, "the step of the last update", low=1)
        check_count("every", every, "the number of steps between updates", low=1)
        for value in extra:
            check_fraction("extra", value, "the density on top of the target")
        last = max(steps - every, 1)
        middle = min(6 * steps // 10 + 1, last)
        if middle == last:
            return cls((min(density + extra[0], 1.0), density), (last,))
        return cls((min(density + extra[0], 1.0), min(density + extra[1], 1.0), density), (middle, last))

    def __call__(self, step: int, /) -> float:
        """Return the value at `step`."""
        return float(self.values[bisect.bisect_right(self.boundaries, _check_step(step))])


@register("noam", paper="Vaswani et al. 2017", equation="d_model^-0.5 min(t^-0.5, t warmup^-1.5)")
@dataclass(frozen=True)
class Noam:
    """Learning-rate factor of the Transformer: linear warm-up, then the inverse square root.

    Parameters
    ----------
    d_model : int
        Width of the model.
    warmup : int
        Steps until the peak.

    Notes
    -----
    The formula counts steps from 1; step 0 gives the value of step 1, so that no optimizer step is lost.

    Examples
    --------
    >>> round(Noam(d_model=512, warmup=4_000)(4_000), 6)
    0.000699
    """

    d_model: int
    warmup: int

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        check_count("d_model", self.d_model, "the width of the model", low=1)
        check_count("warmup", self.warmup, "the number of steps until the peak", low=1)

    def __call__(self, step: int, /) -> float:
        """Return the value at `step`."""
        t = max(_check_step(step), 1)
        return float(self.d_model**-0.5 * min(t**-0.5, t * self.warmup**-1.5))


@register("inoam", paper="CHTs, Zhang et al. 2025", equation="noam(t) min(1, (t mod every)/rewarm)")
@dataclass(frozen=True)
class INoam:
    """Learning-rate factor `Noam` with a fresh linear warm-up after every topology update.

    Parameters
    ----------
    d_model : int
        Width of the model.
    warmup : int
        Steps until the peak of the global curve.
    every : int
        Steps between topology updates.
    rewarm : int
        Steps of each local warm-up; at most `every`.

    Notes
    -----
    The formula counts optimizer steps from 1, as `Noam` does: the factor is 0 at the steps that end with an update,
    where the published loop skips the optimizer. ``LambdaLR`` counts from 0, so give it
    ``lambda step: factor(step + 1)``; taken as it is, the step after each update would be the one that is lost.

    Examples
    --------
    >>> factor = INoam(d_model=512, warmup=4_000, every=100, rewarm=20)
    >>> [round(factor(step) / Noam(512, 4_000)(step), 6) for step in (200, 205, 220, 299)]
    [0.0, 0.25, 1.0, 1.0]
    """

    d_model: int
    warmup: int
    every: int
    rewarm: int

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        Noam(self.d_model, self.warmup)
        check_count("every", self.every, "the number of steps between topology updates", low=1)
        meaning = "the number of warm-up steps after each topology update"
        check_count("rewarm", self.rewarm, meaning, low=1, high=self.every)

    def __call__(self, step: int, /) -> float:
        """Return the value at `step`."""
        local = min(_check_step(step) % self.every / self.rewarm, 1.0)
        return Noam(self.d_model, self.warmup)(step) * local


def integral(schedule: Schedule, steps: int) -> float:
    """Return the mean of a schedule over the steps ``0 … steps - 1``.

    For a density schedule this is training cost (FLOPs of the sparse layers) over dense training cost: two schedules
    with equal integrals cost the same.

    Parameters
    ----------
    schedule : Schedule
        For instance the density over time.
    steps : int
        Length of the run.

    Raises
    ------
    ConfigError
        If `steps` is below 1.

    Examples
    --------
    >>> round(integral(Linear(0.5, 0.1, steps=1_000), steps=1_000), 3)
    0.3
    """
    n = check_count("steps", steps, "the length of the run", low=1)
    return math.fsum(schedule(step) for step in range(n)) / n
