"""The declared grid: which cells tables, ablations and searches are made of, and in which order they are run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsecore.bench.papers.cells import Cell, Protocol, Shape, Variant
from sparsecore.models.recipes import DENSE

__all__ = ["ABLATIONS", "ABLATION_DATA", "BASE", "SEARCHES", "TABLES", "Ablation", "Table", "cells"]


def _variant(name: str, label: str, method: str, **changes: Any) -> Variant:
    return Variant(name, label, {"method": method, **changes})


def _linear(start: float, end: float) -> dict[str, Any]:
    """Return the change of a rule whose temperature goes from `start` to `end` over the run."""
    return {"temperature": ["linear", start, end]}


def _tried(row: Variant, name: str, label: str, **changes: Any) -> Variant:
    """Return `row` changed in what might explain its gap to the printed figure."""
    changed = {**row.changes, **changes}
    return Variant(f"{row.name}_{name}", f"{row.label}, {label}", changed, heavy=row.heavy, tried_for=row.name)


_FC = Variant("dense", "FC (dense)", {"method": DENSE}, heavy=True)
_RI: dict[str, Any] = {"removal": "relative_importance"}
_RI_EPSILON: dict[str, Any] = {"removal": "relative_importance:epsilon=1e-5"}
BASE = _variant("chts_n", "CHTs, CH2-L3n", "chts", predictor="ch2_l3n")
_CHTS_N_RI = _variant("chts_n_ri", "CHTs, CH2-L3n, RI-soft", "chts", predictor="ch2_l3n", **_RI)
_CHTS_P_RI = _variant("chts_p_ri", "CHTs, CH3-L3p, RI-soft", "chts", predictor="ch3_l3p", **_RI)
_SET = _variant("set", "SET", "set")
_STATIC = _variant("static_csti", "static, CSTI", "static", topology="csti")
_STATIC_ER = _variant("static_er", "static, ER", "static", topology="er")
_RIGL = _variant("rigl", "RigL", "rigl")
_CHT = _variant("cht", "CHT", "cht")
_CHTS_P = _variant("chts_p", "CHTs, CH3-L3p", "chts", predictor="ch3_l3p")
_MEST = _variant("mest", "MEST (EM&S)", "mest")
_WEIGHTS = Variant("dense_weights", "dense, as many weights", {"method": DENSE}, shape="weights")
_CORE = Variant("dense_core", "dense, shape left by CHTs", {"method": DENSE}, shape="core", core_of=BASE)
_UNCHANGED = (
    _variant("chts_n_unchanged", "CHTs, CH2-L3n, images unchanged", "chts", predictor="ch2_l3n", augment="none"),
    _variant("set_unchanged", "SET, images unchanged", "set", augment="none"),
    _variant("static_csti_unchanged", "static, CSTI, images unchanged", "static", topology="csti", augment="none"),
)
_SET_KAIMING = _tried(_SET, "kaiming", "first values as in a dense layer (Kaiming)", init="kaiming_dense")
_SET_MAGNITUDE = _tried(
    _SET, "magnitude", "Kaiming, smallest magnitudes removed", init="kaiming_dense", removal="magnitude"
)
_RIGL_KAIMING = _tried(_RIGL, "kaiming", "first values as in a dense layer (Kaiming)", init="kaiming_dense")
_CHT_SIGNED = _tried(_CHT, "signed", "smallest of either sign removed", removal="set_signed")
_CHT_NO_STOP = _tried(_CHT, "no_stop", "no early stop", rule={"early_stop": None})
_CHT_TOGETHER = _tried(
    _CHT, "together", "no layer stops before all have settled, as in the published code", rule={"stop_together": True}
)
_CHT_SWI = _tried(_CHT, "swi", "new links with drawn values (SWI)", rule={"fresh": "swi"})
_CHTS_P_COSINE = _tried(_CHTS_P_RI, "cosine", "ζ falling by cosine", zeta=0.3, zeta_schedule="cosine")
_CHTS_N_EPSILON, _CHTS_P_EPSILON = (
    _tried(row, "epsilon", "ε of the published code", **_RI_EPSILON) for row in (_CHTS_N_RI, _CHTS_P_RI)
)
_RIGL_STOPPED = _tried(
    _RIGL, "stopped", "Kaiming, no updates after 75% of the epochs", init="kaiming_dense",
    rule={"zeta": ["cosine", 0.3, 0.0, 0.75]},
)  # fmt: skip
_GMP = Variant("gmp", "GMP", {"method": "gmp"}, heavy=True)
_GRANET = Variant("granet", "GraNet", {"method": "granet", "zeta": 0.3}, heavy=True)
_CHTSS = Variant("chtss", "CHTss", {"method": "chtss"}, heavy=True)
_CHTSS_RI = _tried(_CHTSS, "ri", "RI-soft", **_RI)
#: Found by the searches on held-out samples below.
_CHTSS_SEARCHED = _variant(
    "chtss_10_t_9", "CHTss from 10% of the links, T 1 to 9 (searched)", "chtss", density_start=0.1,
    rule=_linear(1.0, 9.0),
)  # fmt: skip
_MOVED: dict[str, Any] = {"augment": "crop_flip:padding=1"}
_MOVED_SLOWLY_DECAYED: dict[str, Any] = {**_MOVED, "weight_decay": 2e-4}


def _moved(name: str, label: str, method: str, shape: Shape = "papers", heavy: bool = False, **changes: Any) -> Variant:
    """Return a row of Fashion-MNIST under the images and the weight decay that the search below ends with."""
    return Variant(
        name, f"{label}, images moved, weight decay 2e-4", {"method": method, **changes, **_MOVED_SLOWLY_DECAYED},
        shape=shape, heavy=heavy,
    )  # fmt: skip


#: The searched setting first, then CHTs as everywhere else, then controls.
_MOVED_ROWS = (
    _moved(
        "wm_move_1_mirror_from_0.1_t_9_decay_0.0002", "CHTss from 10% of the links, T 1 to 9 (searched)", "chtss",
        predictor="ch2_l3n", density_start=0.1, rule=_linear(1.0, 9.0),
    ),
    _moved("wm_move_1_mirror_decay_0.0002", "CHTs, CH2-L3n", "chts", predictor="ch2_l3n"),
    _moved("set_moved", "SET", "set"),
    _moved("rigl_moved", "RigL", "rigl"),
    _moved("static_csti_moved", "static, CSTI", "static", topology="csti"),
    _moved("dense_weights_moved", "dense, as many weights", DENSE, "weights"),
    _moved("dense_moved", "FC (dense)", DENSE, heavy=True),
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table per data set.

    Attributes
    ----------
    density : float
        Of the hidden layers.
    variants : sequence of Variant
        Rows, in the order in which they are shown.
    only : mapping of str to sequence of Variant
        Rows of one data set alone.
    """

    density: float
    variants: Sequence[Variant]
    only: Mapping[str, Sequence[Variant]]

    def rows(self, data: str) -> list[Variant]:
        """Return the rows of a data set."""
        return [*self.variants, *self.only.get(data, ())]


TABLES = (
    Table(
        0.01,
        (
            _FC, _WEIGHTS, _CORE, _STATIC_ER, _STATIC, _SET, _RIGL, _MEST, _CHT, _CHTS_P, BASE, _GMP, _GRANET, _CHTSS,
        ),
        {
            "mnist": (_SET_KAIMING, _SET_MAGNITUDE, _CHT_SIGNED, _CHT_NO_STOP, _CHT_TOGETHER, _CHT_SWI),
            "fashion_mnist": (
                _CHTS_P_RI, _CHTS_N_RI, _CHTS_P_EPSILON, _CHTS_N_EPSILON, _CHTS_P_COSINE, _SET_KAIMING, _SET_MAGNITUDE,
                _CHT_NO_STOP, _CHT_TOGETHER, _CHTSS_RI, *_MOVED_ROWS,
            ),
            "cifar10": (
                _CHTS_P_RI, _CHTS_N_RI, _SET_KAIMING, _SET_MAGNITUDE, _RIGL_KAIMING, _RIGL_STOPPED, _CHT_SIGNED,
                _CHT_NO_STOP, _CHT_TOGETHER, _CHT_SWI, _CHTSS_SEARCHED, *_UNCHANGED,
            ),
        },
    ),
    Table(0.001, (_WEIGHTS, _CORE, _STATIC, _SET, _RIGL, _CHT, BASE), {}),
)  # fmt: skip


@dataclass(frozen=True)
class Ablation:
    """Runs that differ from a base in one choice, on one data set, compared on held-out samples.

    Attributes
    ----------
    title : str
        The choice.
    base : str
        What the base takes.
    variants : tuple of Variant
        The other values.
    data : str
        Data set.
    base_variant : Variant
        The base itself.
    """

    title: str
    base: str
    variants: tuple[Variant, ...]
    data: str = "fashion_mnist"
    base_variant: Variant = BASE


ABLATION_DATA, _ABLATION_DENSITY = "fashion_mnist", 0.01


def _other(name: str, label: str, every_epochs: float = 1.0, **changes: Any) -> Variant:
    return Variant(name, label, {**BASE.changes, **changes}, every_epochs=every_epochs)


def _generator(name: str, label: str, topology: str, **options: Any) -> Variant:
    return _other(f"gen_{name}", label, topology=topology, topology_options=options)


def _ramp(name: str, label: str, *schedule: Any) -> Variant:
    return _other(f"ramp_{name}", label, rule={"temperature": list(schedule)})


def _hard(name: str, label: str, removal: str) -> Variant:
    return _other(f"removal_{name}_hard", label, removal=removal, rule={"keep": "top", "temperature": None})


_GRADIENT_RULES = ("mest", "snip", "sensitivity", "reciprocal_sensitivity")

ABLATIONS = (
    Ablation(
        "First links",
        "CSTI",
        (
            _generator("er", "ER", "er"),
            *(_generator(f"bsw_{beta:g}", f"BSW, β = {beta:g}", "bsw", beta=beta) for beta in (0.0, 0.1, 0.5)),
            _generator("bsf", "BSF", "bsf"),
            *(_generator(f"brf_{r:g}", f"BRF, r = {r:g}", "brf", r=r) for r in (0.0, 0.1, 0.25, 0.5)),
        ),
    ),
    Ablation(
        "Removal",
        "weight magnitude, soft (WMs)",
        (
            _hard("magnitude", "weight magnitude, hard (WM)", "magnitude"),
            _other("removal_ri", "relative importance, soft (RIs)", **_RI),
            _hard("ri", "relative importance, hard (RI)", "relative_importance"),
            _hard("set_signed", "smallest of either sign, hard (SET)", "set_signed"),
            *(_other(f"removal_{rule}", f"{rule.replace('_', ' ')}, soft", removal=rule) for rule in _GRADIENT_RULES),
            _other("removal_random", "random", removal="random"),
        ),
    ),
    Ablation(
        "Regrowth",
        "CH2-L3n",
        (
            _other("grow_random", "random", predictor="random"),
            _other("grow_ch3_l3n", "CH3-L3n", predictor="ch3_l3n"),
            _other("grow_ch3_l3p", "CH3-L3p", predictor="ch3_l3p"),
            _other("grow_ch2_l3p", "CH2-L3p", predictor="ch2_l3p"),
            _other("grow_top", "CH2-L3n, the highest scores", rule={"grow": "top"}),
        ),
    ),
    Ablation(
        "Replaced fraction ζ",
        "0.3",
        (
            *(_other(f"zeta_{zeta:g}", f"{zeta:g}", zeta=zeta) for zeta in (0.05, 0.1, 0.2, 0.5)),
            _other("zeta_cosine", "0.3, falling to 0 by cosine", zeta=0.3, zeta_schedule="cosine"),
        ),
    ),
    Ablation(
        "Temperature of removal",
        "1 to 3, linear",
        (
            _ramp("1", "1 throughout", "linear", 1.0, 1.0),
            _ramp("9", "1 to 9, linear", "linear", 1.0, 9.0),
            _ramp("odds_75", "δ/(1-δ), δ 0.5 to 0.75", "odds", 0.5, 0.75),
            _ramp("odds_90", "δ/(1-δ), δ 0.5 to 0.9", "odds", 0.5, 0.9),
        ),
    ),
    Ablation(
        "Values of new links",
        "zero",
        tuple(
            _other(f"fresh_{kind}", label, rule={"fresh": kind})
            for kind, label in (("history", "what they held when last removed"), ("swi", "drawn (SWI)"))
        ),
    ),
    Ablation("Percolation", "on", (_other("no_percolation", "off", rule={"percolate": False}),)),
    Ablation(
        "Epochs between updates",
        "1",
        tuple(_other(f"every_{every:g}", f"{every:g}", every_epochs=every) for every in (0.25, 0.5, 2.0, 5.0)),
    ),
)


def _search(data: str, base: Variant, title: str, prefix: str, common: Mapping[str, Any], *more: Variant) -> Ablation:
    """Return settings around the removal rule that does better on a data set."""

    def other(name: str, label: str, every_epochs: float = 1.0, **changes: Any) -> Variant:
        return _other(f"{prefix}{name}", label, every_epochs, **{**common, **changes})

    candidates = (
        other("t_9", "T 1 to 9", rule=_linear(1.0, 9.0)),
        other("zeta_0.5", "ζ 0.5", zeta=0.5),
        other("zeta_0.1", "ζ 0.1", zeta=0.1),
        other("zeta_cosine", "ζ 0.3, falling to 0 by cosine", zeta=0.3, zeta_schedule="cosine"),
        other("t_1", "T 1 throughout", rule=_linear(1.0, 1.0)),
        other("every_0.5", "half an epoch between updates", 0.5),
        other("history", "new links with what they held when last removed", rule={"fresh": "history"}),
        other("er", "first links uniform", topology="er"),
        *(
            other(f"from_{start:g}", f"CHTss from {100 * start:g}% of the links", method="chtss", density_start=start)
            for start in (0.1, 0.05)
        ),
        other(
            "from_0.1_t_9",
            "CHTss from 10% of the links, T 1 to 9",
            method="chtss",
            density_start=0.1,
            rule=_linear(1.0, 9.0),
        ),
        other("shared_momentum", "new links shared among layers by momentum", rule={"redistribution": "momentum"}),
        _other("removal_mest", "removal by MEST's importance, soft", removal="mest"),
        _other("removal_snip", "removal by SNIP's importance, soft", removal="snip"),
    )
    return Ablation("Setting", title, (*candidates, *more), data, base)


def _by_magnitude() -> Iterator[Variant]:
    """Yield settings under which magnitudes decide what is removed, as on other data; nearly all change images."""

    def other(name: str, label: str, **changes: Any) -> Variant:
        return _other(name, label, **_MOVED, **changes)

    yield _other("wm_decay_0.0002", "WM-soft, weight decay 2e-4", weight_decay=2e-4)
    yield other("wm_move_1_mirror", "WM-soft, images moved by up to a pixel and mirrored")
    yield other("wm_move_1_mirror_decay_0.0001", "the same, weight decay 1e-4", weight_decay=1e-4)
    yield other("wm_move_1_mirror_t_9", "the same, T 1 to 9", rule=_linear(1.0, 9.0))
    yield other(
        "wm_move_1_mirror_t_9_decay_0.0002", "the same, T 1 to 9, weight decay 2e-4", rule=_linear(1.0, 9.0),
        weight_decay=2e-4,
    )  # fmt: skip
    yield other(
        "wm_move_1_mirror_from_0.1_t_9", "the same, CHTss from 10% of the links, T 1 to 9", method="chtss",
        density_start=0.1, rule=_linear(1.0, 9.0),
    )  # fmt: skip
    yield from _MOVED_ROWS[:2]


#: What might do better than the printed settings, compared on held-out samples alone.
SEARCHES = (
    _search(
        "cifar10", BASE, "CHTs, CH2-L3n, WM-soft, CSTI, T 1 to 3, ζ 0.3", "wm_", {},
        _other("ri_t_9", "RI-soft, T 1 to 9", rule=_linear(1.0, 9.0), **_RI),
    ),
    _search(
        "fashion_mnist", _CHTS_N_RI, "CHTs, CH2-L3n, RI-soft, CSTI, T 1 to 3, ζ 0.3", "ri_", _RI,
        _CHTS_P_RI, _CHTS_N_EPSILON, _CHTS_P_EPSILON,
        _other("ri_random", "regrowth at random", predictor="random", **_RI),
        _other(
            "ri_epsilon_from_0.1", "CHTss from 10% of the links, ε of the published code", method="chtss",
            density_start=0.1, **_RI_EPSILON,
        ),
        _other("ri_decay_0.0002", "weight decay 2e-4", weight_decay=2e-4, **_RI),
        _other("ri_decay_0.001", "weight decay 1e-3", weight_decay=1e-3, **_RI),
        _other("ri_decay_0.002", "weight decay 2e-3", weight_decay=2e-3, **_RI),
        _other("ri_mirror", "images mirrored", augment="crop_flip:padding=0", **_RI),
        _other("ri_move_1", "images moved by up to a pixel", augment="crop_flip:padding=1,mirror=False", **_RI),
        _other("ri_move_1_mirror", "images moved by up to a pixel and mirrored", **_MOVED, **_RI),
        _other("ri_move_2_mirror", "images moved by up to 2 pixels and mirrored", augment="crop_flip:padding=2", **_RI),
        *(
            _other(
                f"ri_move_1_mirror_from_{start:g}",
                f"CHTss from {100 * start:g}% of the links, images moved by up to a pixel and mirrored",
                method="chtss", density_start=start, **_MOVED, **_RI,
            )
            for start in (0.1, 0.05)
        ),
        _other(
            "ri_move_1_mirror_decay_0.0002", "images moved by up to a pixel and mirrored, weight decay 2e-4",
            weight_decay=2e-4, **_MOVED, **_RI,
        ),
        *_by_magnitude(),
    ),
)  # fmt: skip

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
                yield Cell(ABLATION_DATA, variant, _ABLATION_DENSITY, seed, held=True, stage=7 if seed else 4)


def _search_cells(protocol: Protocol) -> Iterator[Cell]:
    for search in SEARCHES:
        if search.data in protocol.widths:
            for variant in (search.base_variant, *search.variants):
                yield Cell(search.data, variant, _ABLATION_DENSITY, 0, held=True, stage=2)
