"""The declared grid: all cells of tables, ablations and searches, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Iterator

from sparsecore.bench.papers.ablations import ABLATION_DATA, ABLATION_DENSITY, ABLATIONS, SEARCHES
from sparsecore.bench.papers.cells import Cell, Protocol, Variant
from sparsecore.bench.papers.rows import TABLES

__all__ = ["cells"]

#: Cheap and telling rows come first within a data set; the base comes before the control that copies its shape.
_FIRST = ("chts_n", "set", "static_csti", "chts_n_ri", "dense_weights", "dense_core", "chts_p", "chts_p_ri", "cht")
_SEEDS = (0, 1, 2)


def cells(protocol: Protocol) -> list[Cell]:
    """Return all cells in the order in which they are to be run.

    One seed of every table at fixed density comes first, then the same with held-out samples, the searches, further
    seeds, one seed of the ablations, further seeds with held-out samples, dense and decaying networks, and further
    seeds of the ablations.
    """
    every = [*_table_cells(protocol), *_ablation_cells(protocol), *_search_cells(protocol)]
    unique = {cell.key: cell for cell in reversed(every)}
    ranks = {name: rank for rank, name in enumerate(_FIRST)}
    places = {name: place for place, name in enumerate(protocol.widths)}
    order = {cell.key: at for at, cell in enumerate(_table_cells(protocol))}
    return sorted(
        unique.values(),
        key=lambda cell: (
            cell.stage,
            places[cell.data],
            -cell.density,
            cell.seed,
            ranks.get(cell.variant.name, len(ranks)),
            order.get(cell.key, 0),
        ),
    )


def _table_cells(protocol: Protocol) -> Iterator[Cell]:
    for table in TABLES:
        for data in protocol.widths:
            for variant in table.rows(data):
                density = 1.0 if variant.is_full else table.density
                for seed in _SEEDS:
                    for held in (False, True):
                        yield Cell(data, variant, density, seed, held, _stage(variant, seed, held))


def _stage(variant: Variant, seed: int, held: bool) -> int:
    if variant.heavy:
        return 6 + 2 * (seed > 0) + held
    return (5 if seed else 1) if held else (3 if seed else 0)


def _ablation_cells(protocol: Protocol) -> Iterator[Cell]:
    if ABLATION_DATA not in protocol.widths:
        return
    for ablation in ABLATIONS:
        for variant in ablation.variants:
            for seed in _SEEDS:
                yield Cell(ABLATION_DATA, variant, ABLATION_DENSITY, seed, held=True, stage=7 if seed else 4)


def _search_cells(protocol: Protocol) -> Iterator[Cell]:
    for search in SEARCHES:
        if search.data in protocol.widths:
            for variant in (search.base_variant, *search.variants):
                yield Cell(search.data, variant, ABLATION_DENSITY, 0, held=True, stage=2)
