"""BRF: every output looks at inputs around its place, near ones more likely."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sparsecore._typing import Float64Array, Int64Array, Shape
from sparsecore.errors import ConfigError, check_fraction
from sparsecore.generators.protocol import check_request, register
from sparsecore.generators.sampling import centres, nearest_inputs, spread
from sparsecore.kernels.cpu.generate import ring_rows
from sparsecore.storage import Topology

__all__ = ["BRF", "Degrees"]

Degrees: TypeAlias = Literal["fixed", "uniform", "multinomial"]

#: Beyond this exponent the order of distances is certain to far below one part in 2**64.
_MAX_EXPONENT = 1e12


@register(
    "brf",
    paper="CHTs, Zhang et al. 2025",
    equation="inputs drawn without replacement by weight (1 + ring distance)^(-(1-r)/r)",
)
@dataclass(frozen=True)
class BRF:
    """Bipartite receptive field: inputs drawn by ``(1 + ring distance)^(-(1-r)/r)`` around each output's place.

    Both sides lie on one ring and output `i` sits opposite input ``floor(i n_in / n_out)``. Its inputs are drawn one
    after the other without replacement. The printed weight grows with distance; this is the inverse power of the
    published code, with its limits: ``r=0`` takes the nearest inputs (the lattice of `BSW`, whatever the seed, when
    degrees are fixed) and ``r=1`` draws uniformly.

    Parameters
    ----------
    r : float
        Randomness.
    degrees : {"fixed", "uniform", "multinomial"}
        Links per output. ``"fixed"``: the mean, rounded down or up. ``"uniform"``: a uniform integer in the widest
        interval centred at the mean within ``[1, n_in]`` (``[0, n_in]`` where there are fewer links than outputs),
        then one link more or less at random outputs until the total is exact. ``"multinomial"``: one each, the rest
        thrown on outputs at random (published code).

    Examples
    --------
    >>> BRF(r=0.25)((1_000, 2_000), n_links=20_000, seed=0)
    Topology(1000 x 2000, 20000 links, density 0.01)
    """

    r: float = 0.25
    degrees: Degrees = "fixed"

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        check_fraction("r", self.r, "the randomness of the receptive field: 0 takes the nearest inputs, 1 is uniform")
        if self.degrees not in _DEGREES:
            raise ConfigError(
                f"Expected degrees out of {', '.join(_DEGREES)}. Got {self.degrees!r}. "
                "degrees says how links are shared between outputs."
            )

    def __call__(self, shape: Shape, n_links: int, seed: int) -> Topology:
        """Build a topology of exactly `n_links` links; see `Generator`."""
        n_out, n_in, n_links = check_request(shape, n_links, seed)
        rng = np.random.default_rng(seed)
        degrees = _DEGREES[self.degrees](rng, n_out, n_in, n_links)
        if self.r == 0.0:
            rows, cols = nearest_inputs(degrees, n_in)
        else:
            rows = np.repeat(np.arange(n_out), degrees)
            cols = ring_rows(rng, degrees, centres(n_out, n_in), n_in, *_log_law(n_in, self.r))
        return Topology.from_coo(rows, cols, shape=(n_out, n_in))


def _log_law(n_in: int, r: float) -> tuple[Float64Array, Float64Array]:
    """Return the logarithms of the weight at each ring distance and of the total weight at that distance or beyond.

    In logarithms, because weights such as ``(1 + 50_000)^-99`` underflow, and tails, because a sum that starts with
    the largest weight loses the small ones.
    """
    distance = np.arange(n_in // 2 + 1)
    log_weight = -min((1.0 - r) / r, _MAX_EXPONENT) * np.log1p(distance)
    twice = (distance > 0) & (2 * distance != n_in)
    log_mass = log_weight + np.where(twice, np.log(2.0), 0.0)
    return log_weight, np.logaddexp.accumulate(log_mass[::-1])[::-1].copy()


def _fixed(rng: np.random.Generator, n_out: int, n_in: int, n_links: int) -> Int64Array:
    return spread(n_out, n_links)


def _uniform(rng: np.random.Generator, n_out: int, n_in: int, n_links: int) -> Int64Array:
    mean, least = n_links / max(n_out, 1), int(n_links >= n_out)
    width = max(min(mean - least, n_in - mean), 0.0)
    low, high = max(math.floor(mean - width), least), min(math.ceil(mean + width), n_in)
    drawn = rng.integers(
        math.ceil(mean - width), max(math.floor(mean + width), math.ceil(mean - width)) + 1, size=n_out
    )
    return _adjust(rng, np.clip(drawn, low, max(low, high)), low, high, n_links)


def _multinomial(rng: np.random.Generator, n_out: int, n_in: int, n_links: int) -> Int64Array:
    least = int(n_links >= n_out)
    drawn = np.bincount(rng.integers(max(n_out, 1), size=n_links - least * n_out), minlength=n_out)
    return _adjust(rng, np.minimum(least + drawn, n_in), least, n_in, n_links)


def _adjust(rng: np.random.Generator, degrees: Int64Array, low: int, high: int, total: int) -> Int64Array:
    """Add or take single links at random outputs until there are `total`, keeping degrees within [low, high]."""
    degrees = degrees.copy()
    while gap := total - int(degrees.sum()):
        free = np.flatnonzero(degrees < high if gap > 0 else degrees > low)
        count = min(abs(gap), free.size)
        chosen = rng.choice(free, count, replace=False)
        room = high - degrees[chosen] if gap > 0 else degrees[chosen] - low
        degrees[chosen] += np.sign(gap) * np.minimum(room, abs(gap) // count)
    return degrees


_DEGREES: dict[str, Callable[[np.random.Generator, int, int, int], Int64Array]] = {
    "fixed": _fixed,
    "uniform": _uniform,
    "multinomial": _multinomial,
}
