"""Figures that the papers print, as data; nothing here is measured."""

from __future__ import annotations

from dataclasses import dataclass

from sparsecore.bench.papers.cells import Variant

__all__ = ["PRINTED", "SOURCE", "Printed", "printed"]

#: Where all figures are from.
SOURCE = (
    "Y. Zhang et al., Brain network science modelling of sparse neural networks enables Transformers and LLMs to "
    "perform as fully connected (2025), MLP tables at 99% sparsity"
)


@dataclass(frozen=True)
class Printed:
    """One printed cell.

    Attributes
    ----------
    accuracy : float
        Test accuracy in percent.
    anp : float, optional
        Active neurons in percent.
    error : float, optional
        Printed standard error of the accuracy.
    """

    accuracy: float
    anp: float | None = None
    error: float | None = None


#: By data set, then by variant (see `sparsecore.bench.papers.rows`); all at 1% of the links but the dense network.
PRINTED: dict[str, dict[str, Printed]] = {
    "mnist": {
        "dense": Printed(98.78),
        "set": Printed(98.14, 100.0),
        "rigl": Printed(98.61),
        "cht": Printed(98.48),
        "chts_p": Printed(98.81, 20.0),
        "chts_n": Printed(98.76, 27.0, 0.05),
        "gmp": Printed(98.62),
        "granet": Printed(98.81),
        "chtss": Printed(98.83),
    },
    "fashion_mnist": {
        "dense": Printed(90.88),
        "set": Printed(89.00, 100.0),
        "rigl": Printed(89.91),
        "cht": Printed(88.70),
        "chts_p_ri": Printed(90.93, 89.0),
        "chts_n_ri": Printed(90.67, 73.0),
        "gmp": Printed(90.29),
        "granet": Printed(89.98),
        "chtss": Printed(90.81),
    },
    "cifar10": {
        "dense": Printed(62.85),
        "set": Printed(62.70),
        "rigl": Printed(63.90),
        "cht": Printed(59.10),
        "chts_n": Printed(69.97, 54.0),
        "chtss": Printed(71.29),
    },
}


def printed(data: str, variant: Variant, density: float) -> Printed | None:
    """Return what is printed for a row, if anything is; the 99% tables alone are held here."""
    return PRINTED.get(data, {}).get(variant.tried_for or variant.name) if density == 0.01 else None
