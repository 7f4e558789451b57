"""Regular: every output has the same number of links."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import Shape
from sparsecore.generators.protocol import check_request, register
from sparsecore.generators.sampling import spread
from sparsecore.kernels.cpu.generate import uniform_rows
from sparsecore.storage import Topology

__all__ = ["Regular"]


@register("regular", paper="-", equation="n_links / n_out uniform inputs per output")
@dataclass(frozen=True)
class Regular:
    """Fixed fan-in: every output gets the same number of inputs (give or take one), drawn uniformly.

    Examples
    --------
    >>> set(Regular()((100, 50), n_links=300, seed=0).out_degrees.tolist())
    {3}
    """

    def __call__(self, shape: Shape, n_links: int, seed: int) -> Topology:
        """Build a topology of exactly `n_links` links; see `Generator`."""
        n_out, n_in, n_links = check_request(shape, n_links, seed)
        degrees = spread(n_out, n_links)
        cols = uniform_rows(np.random.default_rng(seed), degrees, n_in)
        return Topology.from_coo(np.repeat(np.arange(n_out), degrees), cols, shape=(n_out, n_in))
