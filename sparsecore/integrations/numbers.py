"""The numbers of an evolution, for loggers."""

from __future__ import annotations

from sparsecore.evolution import Evolution

__all__ = ["numbers_of"]


def numbers_of(evolution: Evolution) -> dict[str, float]:
    """Return links, density, active neurons, ITOP, overlap and updates of all layers, under names for loggers.

    Examples
    --------
    >>> import torch
    >>> from sparsecore import SET, SparseLinear
    >>> layer = SparseLinear(8, 4, density=0.5, seed=0)
    >>> numbers_of(SET(layer, torch.optim.SGD(layer.parameters()), every=1))["sparsecore/links"]
    16
    """
    report = evolution.report()
    return {
        "sparsecore/links": report.n_links,
        "sparsecore/density": report.density,
        "sparsecore/anp": report.anp,
        "sparsecore/itop": report.itop,
        "sparsecore/overlap": report.overlap,
        "sparsecore/updates": report.updates,
    }
