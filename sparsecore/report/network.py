"""What the page says about a chain at one time; every size has a bound, so that large networks take seconds too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from sparsecore import metrics
from sparsecore._typing import Float64Array
from sparsecore.errors import SparseCoreError
from sparsecore.metrics import Angles, Communities, Measure, Network, PowerLaw
from sparsecore.report.core import Core, core_of
from sparsecore.storage import Topology

__all__ = ["Structure"]

T = TypeVar("T")

#: Communities and angles of more links are those of the busiest part.
_LINKS = 80_000
#: Degrees that the exponent is fitted to, at most.
_DEGREES = 30_000
#: Links passed, in all, by searches for shortest paths from landmarks and sources.
_STEPS = 30_000_000


@dataclass(frozen=True, eq=False)
class Structure:
    """A chain of layers at one time.

    Attributes
    ----------
    chain : sequence of Topology
        The layers.
    seed : int
        Of all that is drawn at random.
    """

    chain: Sequence[Topology]
    seed: int = 0

    @cached_property
    def network(self) -> Network:
        """The chain as one undirected graph."""
        return Network.of(self.chain)

    @cached_property
    def core(self) -> Core:
        """The part that communities and angles are found in."""
        return core_of(self.chain, _LINKS)

    @cached_property
    def law(self) -> PowerLaw | str:
        """The power law of the degrees, or why there is none."""
        degrees = self.network.degrees
        if degrees.size > _DEGREES:
            degrees = np.random.default_rng(self.seed).choice(degrees, _DEGREES, replace=False)
        return _or_reason(lambda: metrics.power_law(degrees))

    @cached_property
    def communities(self) -> Communities | str:
        """Communities of the core, or why there are none."""
        return _or_reason(lambda: metrics.find_communities(self.core.layers, seed=self.seed))

    @cached_property
    def angles(self) -> Angles | str:
        """Places of the core on the circle, or why there are none."""
        n_links = sum(layer.n_links for layer in self.core.layers)
        landmarks = int(np.clip(_STEPS // max(1, n_links), 32, 256))
        return _or_reason(lambda: metrics.coalescent_angles(self.core.layers, max_landmarks=landmarks, seed=self.seed))

    def radii(self) -> Float64Array | str:
        """Distances of the core's neurons from the centre, float64, (n_nodes,), or why there are none."""
        law = self.law
        if isinstance(law, str):
            return law
        return metrics.hyperbolic_radii(self.core.layers, law.gamma)

    @cached_property
    def measures(self) -> list[Measure]:
        """Rows of the table: those measures that take no longer than a second or two."""
        return [
            Measure("active neurons (ANP), inputs counted in", metrics.anp(self.chain)),
            Measure("active neurons without inputs", metrics.anp(self.chain, inputs=False)),
            self._exponent(),
            self._modularity(),
            self._number_of_communities(),
            self._path_length(),
            self._paths(),
        ]

    def _exponent(self) -> Measure:
        name = "degree exponent γ"
        if isinstance(self.law, str):
            return Measure(name, None, self.law)
        law = self.law
        drawn = f" of {_DEGREES:,} drawn ones" if self.network.n_nodes > _DEGREES else ""
        note = (
            f"± {law.standard_error:.2f}; {law.n_tail:,} degrees{drawn} from {law.x_min} on, KS {law.ks_distance:.3f}"
        )
        return Measure(name, law.gamma, note)

    def _modularity(self) -> Measure:
        found = self.communities
        if isinstance(found, str):
            return Measure("modularity", None, found)
        return Measure("modularity", found.modularity, f"Leiden. {self.core.note}".strip())

    def _number_of_communities(self) -> Measure:
        found = self.communities
        if isinstance(found, str):
            return Measure("communities", None, found)
        return Measure("communities", float(np.count_nonzero(np.bincount(found.labels) > 1)), "of two or more neurons")

    def _path_length(self) -> Measure:
        sources = int(np.clip(_STEPS // max(1, self.network.n_links), 4, 1024))
        name = "characteristic path length"
        found = _or_reason(lambda: metrics.characteristic_path_length(self.chain, max_sources=sources, seed=self.seed))
        if isinstance(found, str):
            return Measure(name, None, found)
        how = "all pairs" if found.exact else f"± {found.standard_error:.3f}, from {found.n_sources} neurons"
        return Measure(
            name, found.mean, f"{how}; giant component: {found.n_nodes / self.network.n_nodes:.0%} of neurons"
        )

    def _paths(self) -> Measure:
        exponent = metrics.credit_paths(self.chain).log10_count
        return Measure("credit-assignment paths, log10", exponent if np.isfinite(exponent) else None)


def _or_reason(find: Callable[[], T]) -> T | str:
    try:
        return find()
    except SparseCoreError as error:
        return str(error)
