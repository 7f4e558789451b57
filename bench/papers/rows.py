"""The rows of the tables: variants of the network on every data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparsecore.bench.papers.cells import Shape, Variant
from sparsecore.models.recipes import DENSE

__all__ = [
    "BASE",
    "CHTS_N_EPSILON",
    "CHTS_N_RI",
    "CHTS_P_EPSILON",
    "CHTS_P_RI",
    "MOVED",
    "MOVED_SEARCHED",
    "RI",
    "RI_EPSILON",
    "TABLES",
    "Table",
    "linear",
]

#: ζ of the published code when it is adaptive: no updates after 75% of the epochs.
_ZETA_ADAPTIVE = ["cosine", 0.3, 0.0, 0.75]


def _variant(name: str, label: str, method: str, **changes: Any) -> Variant:
    return Variant(name, label, {"method": method, **changes})


def linear(start: float, end: float) -> dict[str, Any]:
    """Return the change of a rule whose temperature goes from `start` to `end` over the run."""
    return {"temperature": ["linear", start, end]}


def _tried(row: Variant, name: str, label: str, **changes: Any) -> Variant:
    """Return `row` changed in what might explain its gap to the printed figure."""
    return replace(
        row, name=f"{row.name}_{name}", label=f"{row.label}, {label}", changes={**row.changes, **changes},
        tried_for=row.tried_for or row.name,
    )  # fmt: skip


def _as_torch(row: Variant) -> Variant:
    """Return `row` with dense layers and biases as the published code has them, which leaves them to torch."""
    return _tried(row, "torch", "dense layers and biases as in torch.nn.Linear", dense_init="torch")


def _adaptive(row: Variant) -> Variant:
    """Return `row` with the adaptive ζ of the published code, which ends the updates and the ramp of T early."""
    return _tried(
        row, "adaptive", "ζ falling by cosine and T rising until 75% of the epochs",
        rule={**row.changes.get("rule", {}), "zeta": _ZETA_ADAPTIVE, "temperature": ["linear", 1.0, 3.0, 0.75]},
    )  # fmt: skip


_FC = Variant("dense", "FC (dense)", {"method": DENSE}, heavy=True)
RI: dict[str, Any] = {"removal": "relative_importance"}
RI_EPSILON: dict[str, Any] = {"removal": "relative_importance:epsilon=1e-5"}
BASE = _variant("chts_n", "CHTs, CH2-L3n", "chts", predictor="ch2_l3n")
CHTS_N_RI = _variant("chts_n_ri", "CHTs, CH2-L3n, RI-soft", "chts", predictor="ch2_l3n", **RI)
CHTS_P_RI = _variant("chts_p_ri", "CHTs, CH3-L3p, RI-soft", "chts", predictor="ch3_l3p", **RI)
_SET = _variant("set", "SET", "set")
_STATIC = _variant("static_csti", "static, CSTI", "static", topology="csti")
_STATIC_ER = _variant("static_er", "static, ER", "static", topology="er")
_RIGL = _variant("rigl", "RigL", "rigl")
_CHT = _variant("cht", "CHT", "cht")
_CHTS_P = _variant("chts_p", "CHTs, CH3-L3p", "chts", predictor="ch3_l3p")
_MEST = _variant("mest", "MEST (EM&S)", "mest")
_MEST_ENDED = _variant("mest_ended", "MEST (EM&S), updates until 75% of the epochs", "mest", update_until=0.75)
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
_FC_TORCH, _SET_TORCH = (_as_torch(row) for row in (_FC, _SET_MAGNITUDE))
_WEIGHTS_TORCH = replace(_as_torch(_WEIGHTS), tried_for=None)
_CHTS_P_COSINE = _tried(CHTS_P_RI, "cosine", "ζ falling by cosine", zeta=0.3, zeta_schedule="cosine")
CHTS_N_EPSILON, CHTS_P_EPSILON = (
    _tried(row, "epsilon", "ε of the published code", **RI_EPSILON) for row in (CHTS_N_RI, CHTS_P_RI)
)
_CHTS_P_TORCH = _as_torch(CHTS_P_EPSILON)
_CHTS_N_ADAPTIVE, _CHTS_N_EPSILON_ADAPTIVE, _CHTS_P_ADAPTIVE = (
    _adaptive(row) for row in (BASE, CHTS_N_EPSILON, CHTS_P_RI)
)
_RIGL_STOPPED = _tried(
    _RIGL, "stopped", "Kaiming, no updates after 75% of the epochs", init="kaiming_dense",
    rule={"zeta": _ZETA_ADAPTIVE},
)  # fmt: skip
_GMP = Variant("gmp", "GMP", {"method": "gmp"}, heavy=True)
_GRANET = Variant("granet", "GraNet", {"method": "granet", "zeta": 0.3}, heavy=True)
_CHTSS = Variant("chtss", "CHTss", {"method": "chtss"}, heavy=True)
_CHTSS_RI = _tried(_CHTSS, "ri", "RI-soft", **RI)
_CHTSS_RI_ADAPTIVE = _adaptive(
    _tried(_CHTSS_RI, "epsilon", "ε of the published code", **RI_EPSILON, rule={"prune": RI_EPSILON["removal"]})
)
_CHTSS_ADAPTIVE = _adaptive(_CHTSS)
_CHTSS_10 = _tried(_CHTSS, "from_10", "from 10% of the links", density_start=0.1)
#: Found by the searches on held-out samples (`sparsecore.bench.papers.ablations.SEARCHES`).
_CHTSS_SEARCHED = _variant(
    "chtss_10_t_9", "CHTss from 10% of the links, T 1 to 9 (searched at 1%)", "chtss", density_start=0.1,
    rule=linear(1.0, 9.0),
)  # fmt: skip
MOVED: dict[str, Any] = {"augment": "crop_flip:padding=1"}
_MOVED_SLOWLY_DECAYED: dict[str, Any] = {**MOVED, "weight_decay": 2e-4}


def _moved(name: str, label: str, method: str, shape: Shape = "papers", heavy: bool = False, **changes: Any) -> Variant:
    """Return a row of Fashion-MNIST under the images and the weight decay that the search there ends with."""
    return Variant(
        name, f"{label}, images moved, weight decay 2e-4", {"method": method, **changes, **_MOVED_SLOWLY_DECAYED},
        shape=shape, heavy=heavy,
    )  # fmt: skip


#: The setting that the search ends with, and CHTs as everywhere else; both are runs of that search too.
MOVED_SEARCHED = (
    _moved(
        "wm_move_1_mirror_from_0.1_t_9_decay_0.0002", "CHTss from 10% of the links, T 1 to 9 (searched)", "chtss",
        predictor="ch2_l3n", density_start=0.1, rule=linear(1.0, 9.0),
    ),
    _moved("wm_move_1_mirror_decay_0.0002", "CHTs, CH2-L3n", "chts", predictor="ch2_l3n"),
)  # fmt: skip
_MOVED_CONTROLS = (
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
            _FC, _WEIGHTS, _CORE, _STATIC_ER, _STATIC, _SET, _RIGL, _MEST, _MEST_ENDED, _CHT, _CHTS_P,
            BASE, _GMP, _GRANET, _CHTSS,
        ),
        {
            "mnist": (
                _CHTS_N_ADAPTIVE, _SET_KAIMING, _SET_MAGNITUDE, _SET_TORCH, _CHT_SIGNED, _CHT_NO_STOP, _CHT_TOGETHER,
                _CHT_SWI,
            ),
            "fashion_mnist": (
                CHTS_P_RI, CHTS_N_RI, CHTS_P_EPSILON, CHTS_N_EPSILON, _CHTS_P_COSINE, _CHTS_P_ADAPTIVE,
                _CHTS_N_EPSILON_ADAPTIVE, _CHTS_P_TORCH, _SET_KAIMING, _SET_MAGNITUDE, _SET_TORCH, _CHT_NO_STOP,
                _CHT_TOGETHER, _CHTSS_RI, _CHTSS_RI_ADAPTIVE, *MOVED_SEARCHED, *_MOVED_CONTROLS,
            ),
            "cifar10": (
                _FC_TORCH, _WEIGHTS_TORCH, CHTS_P_RI, CHTS_N_RI, _CHTS_N_ADAPTIVE, _SET_KAIMING, _SET_MAGNITUDE,
                _RIGL_KAIMING, _RIGL_STOPPED, _CHT_SIGNED, _CHT_NO_STOP, _CHT_TOGETHER, _CHT_SWI, _CHTSS_ADAPTIVE,
                _CHTSS_10, _CHTSS_SEARCHED, *_UNCHANGED,
            ),
        },
    ),
    Table(0.001, (_WEIGHTS, _CORE, _STATIC, _SET, _RIGL, _CHT, BASE, _CHTSS_SEARCHED), {}),
)  # fmt: skip
