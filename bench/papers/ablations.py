"""Runs that differ from a base in one choice, and searches for what does better, compared on held-out samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sparsecore.bench.papers.cells import Variant
from sparsecore.bench.papers.rows import (
    BASE,
    CHTS_N_EPSILON,
    CHTS_N_RI,
    CHTS_P_EPSILON,
    CHTS_P_RI,
    MOVED,
    MOVED_SEARCHED,
    RI,
    RI_EPSILON,
    linear,
)

__all__ = ["ABLATIONS", "ABLATION_DATA", "ABLATION_DENSITY", "SEARCHES", "Ablation"]


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


ABLATION_DATA, ABLATION_DENSITY = "fashion_mnist", 0.01


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
            _other("removal_ri", "relative importance, soft (RIs)", **RI),
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
        other("t_9", "T 1 to 9", rule=linear(1.0, 9.0)),
        other("zeta_0.5", "ζ 0.5", zeta=0.5),
        other("zeta_0.1", "ζ 0.1", zeta=0.1),
        other("zeta_cosine", "ζ 0.3, falling to 0 by cosine", zeta=0.3, zeta_schedule="cosine"),
        other("t_1", "T 1 throughout", rule=linear(1.0, 1.0)),
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
            rule=linear(1.0, 9.0),
        ),
        other("shared_momentum", "new links shared among layers by momentum", rule={"redistribution": "momentum"}),
        _other("removal_mest", "removal by MEST's importance, soft", removal="mest"),
        _other("removal_snip", "removal by SNIP's importance, soft", removal="snip"),
    )
    return Ablation("Setting", title, (*candidates, *more), data, base)


def _by_magnitude() -> Iterator[Variant]:
    """Yield settings under which magnitudes decide what is removed, as on other data; nearly all change images."""

    def other(name: str, label: str, **changes: Any) -> Variant:
        return _other(name, label, **MOVED, **changes)

    yield _other("wm_decay_0.0002", "WM-soft, weight decay 2e-4", weight_decay=2e-4)
    yield other("wm_move_1_mirror", "WM-soft, images moved by up to a pixel and mirrored")
    yield other("wm_move_1_mirror_decay_0.0001", "the same, weight decay 1e-4", weight_decay=1e-4)
    yield other("wm_move_1_mirror_t_9", "the same, T 1 to 9", rule=linear(1.0, 9.0))
    yield other(
        "wm_move_1_mirror_t_9_decay_0.0002", "the same, T 1 to 9, weight decay 2e-4", rule=linear(1.0, 9.0),
        weight_decay=2e-4,
    )  # fmt: skip
    yield other(
        "wm_move_1_mirror_from_0.1_t_9", "the same, CHTss from 10% of the links, T 1 to 9", method="chtss",
        density_start=0.1, rule=linear(1.0, 9.0),
    )  # fmt: skip
    yield from MOVED_SEARCHED


#: What might do better than the printed settings, compared on held-out samples alone.
SEARCHES = (
    _search(
        "cifar10", BASE, "CHTs, CH2-L3n, WM-soft, CSTI, T 1 to 3, ζ 0.3", "wm_", {},
        _other("ri_t_9", "RI-soft, T 1 to 9", rule=linear(1.0, 9.0), **RI),
    ),
    _search(
        "fashion_mnist", CHTS_N_RI, "CHTs, CH2-L3n, RI-soft, CSTI, T 1 to 3, ζ 0.3", "ri_", RI,
        CHTS_P_RI, CHTS_N_EPSILON, CHTS_P_EPSILON,
        _other("ri_random", "regrowth at random", predictor="random", **RI),
        _other(
            "ri_epsilon_from_0.1", "CHTss from 10% of the links, ε of the published code", method="chtss",
            density_start=0.1, **RI_EPSILON,
        ),
        _other("ri_decay_0.0002", "weight decay 2e-4", weight_decay=2e-4, **RI),
        _other("ri_decay_0.001", "weight decay 1e-3", weight_decay=1e-3, **RI),
        _other("ri_decay_0.002", "weight decay 2e-3", weight_decay=2e-3, **RI),
        _other("ri_mirror", "images mirrored", augment="crop_flip:padding=0", **RI),
        _other("ri_move_1", "images moved by up to a pixel", augment="crop_flip:padding=1,mirror=False", **RI),
        _other("ri_move_1_mirror", "images moved by up to a pixel and mirrored", **MOVED, **RI),
        _other("ri_move_2_mirror", "images moved by up to 2 pixels and mirrored", augment="crop_flip:padding=2", **RI),
        *(
            _other(
                f"ri_move_1_mirror_from_{start:g}",
                f"CHTss from {100 * start:g}% of the links, images moved by up to a pixel and mirrored",
                method="chtss", density_start=start, **MOVED, **RI,
            )
            for start in (0.1, 0.05)
        ),
        _other(
            "ri_move_1_mirror_decay_0.0002", "images moved by up to a pixel and mirrored, weight decay 2e-4",
            weight_decay=2e-4, **MOVED, **RI,
        ),
        *_by_magnitude(),
    ),
)  # fmt: skip
