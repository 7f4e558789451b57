from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest

from sparsecore import metrics
from tests.strategies import random_topology

#: A dense matrix of floats of this layer takes 800 MB.
SHAPE, DENSITY = (20_000, 5_000), 0.0005


@pytest.mark.parametrize(
    "measure",
    [
        metrics.anp,
        metrics.itop_rate,
        metrics.credit_paths,
        metrics.hub_share,
        metrics.degree_power_law,
        metrics.find_communities,
        partial(metrics.characteristic_path_length, max_sources=64),
        partial(metrics.structural_consistency, repeats=1, rank=4),
        partial(metrics.angular_separability, labels=np.arange(25_000) % 3, max_landmarks=128, shuffles=10),
    ],
    ids=lambda measure: getattr(measure, "func", measure).__name__,
)
def test_memory_follows_links_and_neurons(measure) -> None:
    layer = random_topology(*SHAPE, DENSITY)
    tracemalloc.start()
    try:
        measure(layer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150e6
