"""One cell of the grid: a variant of the network on one data set, with one seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sparsecore.bench.papers.results import Results
from sparsecore.errors import ConfigError
from sparsecore.models.data import ImageData
from sparsecore.models.recipes import DENSE, ImageRun

__all__ = ["Cell", "Protocol", "Variant", "configure", "equal_width"]

#: Hidden sizes: those of the papers; a dense network with as many weights; a dense one of the shape left after CHTs.
Shape = Literal["papers", "weights", "core"]


@dataclass(frozen=True)
class Variant:
    """A row of a table.

    Attributes
    ----------
    name, label : str
        In file names, and in tables.
    changes : mapping
        Fields of `ImageRun` that differ from the papers' settings.
    shape : str
        See `Shape`.
    core_of : Variant, optional
        Whose active neurons the shape ``"core"`` copies.
    every_epochs : float
        Epochs between updates.
    heavy : bool
        Whether it costs as much as a dense network, at least at first.
    tried_for : str, optional
        Row whose gap to its printed figure this one was run to explain; it is held against the same figure.
    """

    name: str
    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    shape: Shape = "papers"
    core_of: Variant | None = None
    every_epochs: float = 1.0
    heavy: bool = False
    tried_for: str | None = None

    @property
    def is_dense(self) -> bool:
        """Whether no layer is sparse."""
        return self.changes.get("method") == DENSE

    @property
    def is_full(self) -> bool:
        """Whether it is the dense network of the papers, which has no density."""
        return self.is_dense and self.shape == "papers"


@dataclass(frozen=True)
class Protocol:
    """What all cells share.

    Attributes
    ----------
    epochs, batch_size : int
        Length of a run and samples per step.
    widths : mapping of str to int
        Size of the three hidden layers by data set; its order is the order in which data sets are run.
    augmented : tuple of str
        Data sets whose training images are changed at random.
    n_held : int
        Training samples kept apart in the runs that choose an epoch; the same ones for every seed.
    threads : int
        Threads of a run; they decide the last bits, not the setting.
    """

    epochs: int = 100
    batch_size: int = 32
    widths: Mapping[str, int] = field(
        default_factory=lambda: {"mnist": 1568, "fashion_mnist": 1568, "cifar10": 3072},
    )
    augmented: tuple[str, ...] = ("cifar10",)
    n_held: int = 5000
    threads: int = 1


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes
    ----------
    data : str
        Data set.
    variant : Variant
        What is trained.
    density : float
        Fraction of links of the hidden layers; 1 for the dense network of the papers.
    seed : int
        Seed of the run.
    held : bool
        Whether some training samples are kept apart to choose an epoch by.
    stage : int
        Cells of lower stages are run first.
    """

    data: str
    variant: Variant
    density: float
    seed: int
    held: bool = False
    stage: int = 0

    @property
    def key(self) -> str:
        """Name of the cell and of its files."""
        links = "" if self.density == 1.0 else f"-{100 * self.density:g}pc"
        return f"{self.data}-{self.variant.name}{links}-s{self.seed}{'-held' if self.held else ''}"

    @property
    def core(self) -> Cell | None:
        """The run whose active neurons decide the shape of this one, if there is such a run."""
        of = self.variant.core_of
        return None if of is None else replace(self, variant=of, held=False)

    def setting(self, protocol: Protocol) -> dict[str, Any]:
        """Return everything declared about the run as plain values: a result of another setting is out of date."""
        augment = {"augment": self.variant.changes.get("augment", "auto")} if self.data in protocol.augmented else {}
        return {
            "data": self.data,
            "variant": self.variant.name,
            "changes": dict(self.variant.changes),
            "shape": self.variant.shape,
            "every_epochs": self.variant.every_epochs,
            "density": self.density,
            "seed": self.seed,
            "n_held": protocol.n_held if self.held else 0,
            "epochs": protocol.epochs,
            "batch_size": protocol.batch_size,
            "width": protocol.widths[self.data],
            **augment,
        }

    def is_done(self, results: Results, protocol: Protocol) -> bool:
        """Tell whether there is a result of this setting."""
        found = results.read(self.key)
        return found is not None and found["setting"] == self.setting(protocol)

    def is_ready(self, results: Results, protocol: Protocol) -> bool:
        """Tell whether the result that it is built on is there, and of the setting that is declared."""
        return self.core is None or self.core.is_done(results, protocol)


def configure(cell: Cell, protocol: Protocol, data: ImageData, results: Results) -> ImageRun:
    """Return the run of a cell on `data`, whose held-out samples are set apart already.

    Raises
    ------
    ConfigError
        If the shape follows from a run that has no result.
    """
    steps_per_epoch = math.ceil(len(data.train_y) / protocol.batch_size)
    updates = cell.variant.changes.get("method") not in (DENSE, "static")
    return ImageRun(
        data=cell.data,
        density=0.01 if cell.density == 1.0 else cell.density,
        epochs=protocol.epochs,
        batch_size=protocol.batch_size,
        seed=cell.seed,
        hidden=_hidden(cell, protocol, data, results),
        every=max(1, round(cell.variant.every_epochs * steps_per_epoch)) if updates else None,
        holdout=protocol.n_held if cell.held else 0,
        threads=protocol.threads,
        **cell.variant.changes,
    )


def equal_width(n_features: int, width: int, n_classes: int, density: float) -> int:
    """Return the width of three dense hidden layers that have as many weights as sparse ones, heads counted in.

    Examples
    --------
    >>> equal_width(784, 1568, 10, 0.01)
    81
    """
    n_links = sum(round(density * n_in * width) for n_in in (n_features, width, width))
    wanted, per_unit = n_links + n_classes * width, n_features + n_classes
    return max(1, round((math.sqrt(per_unit**2 + 8 * wanted) - per_unit) / 4))


def _hidden(cell: Cell, protocol: Protocol, data: ImageData, results: Results) -> tuple[int, ...]:
    width = protocol.widths[cell.data]
    if cell.variant.shape == "weights":
        return (equal_width(data.n_features, width, data.n_classes, cell.density),) * 3
    if cell.core is None:
        return (width,) * 3
    found = results.read(cell.core.key) if cell.is_ready(results, protocol) else None
    if found is None:
        raise ConfigError(f"Expected a result of {cell.core.key}, whose shape {cell.key} copies. Got none.")
    return tuple(max(1, entry["active"]) for entry in found["neurons"][1:])
