"""Bytes of one training step in three forms: dense, dense under a mask, links."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from sparsecore import kernels
from sparsecore.errors import ConfigError, UnknownNameError, check_fraction
from sparsecore.kernels.cpu.plan import plan_batch
from sparsecore.planning.outline import FLOAT_BYTES, Outline
from sparsecore.storage.topology import NARROW_LIMIT, POSITION_LIMIT

__all__ = ["FORMS", "OPTIMIZERS", "UPDATE_BYTES", "Cost", "Plan", "plan_model"]

#: Floats of state that an optimizer keeps per parameter.
OPTIMIZERS = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}

#: Bytes of the peak of an update by CHTs under Adam, values, lists and state counted in: per link of all layers, and
#: per link of the largest one on top. Measured: bench/results/memory.json (one layer: 89 at 30% to 115 at 1% of
#: 4096 x 4096), and chains of two and eight layers (``tests/planning``).
UPDATE_BYTES, LARGEST_UPDATE_BYTES = 64, 36

FORMS = ("dense", "masked", "links")


@dataclass(frozen=True)
class Cost:
    """What one form of a model takes in training, in bytes.

    Attributes
    ----------
    weights, structure, gradients, optimizer, activations, working : int
        Parameters; mask or index lists; gradients of parameters; optimizer state; what the backward pass reads; what
        exists for a moment in a step.
    update : int
        Peak while links are replaced (links alone), weights, structure and optimizer state counted in.
    """

    weights: int
    structure: int
    gradients: int
    optimizer: int
    activations: int
    working: int
    update: int = 0

    @property
    def step(self) -> int:
        """Peak of a training step."""
        return self.weights + self.structure + self.gradients + self.optimizer + self.activations + self.working

    @property
    def peak(self) -> int:
        """Peak of training: of a step or of an update, whichever is higher."""
        return max(self.step, self.update)

    def as_dict(self) -> dict[str, int]:
        """Return all figures, with ``_bytes`` in their names."""
        figures = dataclasses.asdict(self) | {"step": self.step, "peak": self.peak}
        return {f"{name}_bytes": value for name, value in figures.items()}


@dataclass(frozen=True)
class Plan:
    """Costs of all three forms.

    Attributes
    ----------
    outline : Outline
        Of the model.
    density : float
        Links over possible links of the layers that become links.
    links : int
        Links of all of them.
    costs : dict of str to Cost
        By form: ``dense``, ``masked``, ``links``.
    """

    outline: Outline
    density: float
    links: int
    costs: dict[str, Cost]


def plan_model(outline: Outline, *, density: float, optimizer: str = "adam", threads: int | None = None) -> Plan:
    """Return what training takes in float32, dense, masked and on links.

    Parameters
    ----------
    outline : Outline
        From `outline_mlp` or `outline_model`.
    density : float
        Fraction of links in (0, 1] of every layer that becomes links.
    optimizer : {"sgd", "momentum", "adam", "adamw"}
        Decides the state per parameter.
    threads : int, optional
        Threads of the link kernels, each of which sums gradients on its own; those of this process when missing.

    Raises
    ------
    ConfigError
        If the density cannot work.
    UnknownNameError
        If there is no such optimizer.

    Notes
    -----
    Against measured peaks (bench/results/memory.json, ``tests/planning``) figures are within 15%, and within 5% where
    weights outweigh activations. Libraries (about 450 MB), data and pages the allocator keeps are not counted.

    Examples
    --------
    >>> from sparsecore.planning import outline_mlp
    >>> plan = plan_model(outline_mlp([784, 1568, 1568, 10], batch=32), density=0.01, optimizer="adam", threads=2)
    >>> plan.links, plan.costs["dense"].optimizer // plan.costs["links"].optimizer
    (36879, 65)
    """
    check_fraction("density", density, "the fraction of links of every layer that becomes links", open_low=True)
    if optimizer not in OPTIMIZERS:
        raise UnknownNameError("optimizer", optimizer, OPTIMIZERS)
    links = [round(density * n_out * n_in) for n_out, n_in in outline.shapes]
    if not all(links):
        raise ConfigError(f"Expected a density that gives every layer a link. Got {density}. Raise it.")
    state = OPTIMIZERS[optimizer]
    threads = kernels.get_num_threads() if threads is None else threads
    costs = {
        "dense": _dense(outline, state),
        "masked": _masked(outline, state),
        "links": _links(outline, links, state, threads),
    }
    return Plan(outline, density, sum(links), costs)


def _passing(outline: Outline) -> int:
    """Return the bytes of gradients that flow into and out of the widest layer while backward is there."""
    return FLOAT_BYTES * outline.rows * outline.widest


def _dense(outline: Outline, state: int) -> Cost:
    weights = FLOAT_BYTES * (outline.possible + outline.other_weights)
    return Cost(weights, 0, weights, state * weights, outline.dense_bytes, _passing(outline))


def _masked(outline: Outline, state: int) -> Cost:
    """Return the cost of ``weight * mask``: the product of every layer lives until its gradient takes its place."""
    weights = FLOAT_BYTES * (outline.possible + outline.other_weights)
    largest = FLOAT_BYTES * max(n_out * n_in for n_out, n_in in outline.shapes)
    mask = FLOAT_BYTES * outline.possible
    return Cost(weights, mask, weights, state * weights, outline.dense_bytes, largest + _passing(outline))


def _links(outline: Outline, links: list[int], state: int, threads: int) -> Cost:
    weights = FLOAT_BYTES * (sum(links) + outline.other_weights)
    lists = sum(_list_bytes(shape, n) for shape, n in zip(outline.shapes, links, strict=True))
    cut = plan_batch(outline.rows, (max(map(max, outline.shapes)),), threads, torch.float32)
    # Tiles are padded; every thread but the first has sums of its own; values are copied in the order of the outputs.
    padding = cut.lanes * cut.n_tiles / outline.rows
    copies = cut.n_parts - 1 + (cut.n_tiles > cut.n_parts)
    at_once = sum(links) if outline.chained else max(links)
    # Inside a chain gradients take the place of activations. One layer has them in rows, and one tile per part of each.
    passing = 0 if outline.chained else _passing(outline) + FLOAT_BYTES * cut.n_parts * cut.lanes * outline.widest
    working = FLOAT_BYTES * copies * at_once + passing
    activations = round(padding * outline.links_bytes) if outline.chained else outline.links_bytes
    update = (1 + state) * FLOAT_BYTES * outline.other_weights
    update += UPDATE_BYTES * sum(links) + LARGEST_UPDATE_BYTES * max(links)
    return Cost(weights, lists, weights, state * weights, activations, working, update)


def _list_bytes(shape: tuple[int, int], n_links: int) -> int:
    """Return the bytes of both reading orders of the links of a layer (`Topology`)."""
    n_out, n_in = shape
    positions = 4 if n_links <= POSITION_LIMIT else 8
    narrow = 6 if max(n_out, n_in, n_links) <= NARROW_LIMIT else 0
    return 8 * (n_out + n_in + 2) + n_links * (4 + 4 + positions + narrow)
