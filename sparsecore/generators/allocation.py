"""Allocation: how many links each layer of a network gets when the whole network has a given density."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from sparsecore._typing import BoolArray, Float64Array
from sparsecore.errors import ShapeError, check_fraction
from sparsecore.registry import Registry

__all__ = ["Allocation", "allocate", "allocations"]

#: Shape of a layer's weight, ``(n_out, n_in, *kernel)`` → how dense it is compared with other layers.
Allocation: TypeAlias = Callable[[tuple[int, ...]], float]

allocations: Registry[float] = Registry("allocation")


@allocations.register("uniform", paper="-", equation="d_l equal for all layers")
def uniform(shape: tuple[int, ...]) -> float:
    """Every layer has the same density."""
    return 1.0


@allocations.register("er", paper="SET, Mocanu et al. 2018", equation="d_l ∝ (n_out + n_in)/(n_out n_in)")
def erdos_renyi(shape: tuple[int, ...]) -> float:
    """Erdős-Rényi: links grow with the number of neurons, so that wide layers are sparser."""
    return (shape[0] + shape[1]) / (shape[0] * shape[1])


@allocations.register(
    "erk",
    paper="RigL, Evci et al. 2020",
    equation="d_l ∝ (n_out + n_in + Σ kernel)/(n_out n_in Π kernel)",
)
def erdos_renyi_kernel(shape: tuple[int, ...]) -> float:
    """Erdős-Rényi with the kernel's axes counted too; the same as ER for a layer without a kernel."""
    return sum(shape) / math.prod(shape)


def allocate(name: str, shapes: Sequence[tuple[int, ...]], density: float) -> list[int]:
    """Share the links of a network between its layers.

    Layers that the rule would give more links than they can hold are full, and the rule is applied to the others with
    what is left, until none overflows.

    Parameters
    ----------
    name : str
        ``"uniform"``, ``"er"`` or ``"erk"``, or what else is in `allocations`.
    shapes : sequence of tuple of int
        Shape of every layer's weight, ``(n_out, n_in)`` or ``(n_out, n_in, *kernel)``; all numbers >= 1.
    density : float
        Links over possible links, of all layers together.

    Returns
    -------
    list of int
        Links of every layer; together exactly ``round(density * possible links)``.

    Raises
    ------
    UnknownNameError
        If no allocation has that name.
    ShapeError
        If a shape has fewer than two numbers or one below 1.
    ConfigError
        If `density` is not in [0, 1].

    Examples
    --------
    >>> allocate("erk", [(300, 784), (100, 300), (10, 100)], density=0.05)
    [9051, 3340, 919]
    """
    rule = allocations.entry(name).factory
    check_fraction("density", density, "links over possible links of all layers together")
    for shape in shapes:
        if len(shape) < 2 or not all(hasattr(n, "__index__") and n >= 1 for n in shape):
            raise ShapeError(f"Expected every shape as (n_out, n_in) or more, all >= 1. Got {shape!r}.")
    room = [math.prod(int(n) for n in shape) for shape in shapes]
    weight = np.array([rule(tuple(shape)) * size for shape, size in zip(shapes, room, strict=True)], np.float64)
    total = round(density * sum(room))
    return _round(_fill(weight, np.array(room, np.float64), total), room, total)


def _fill(weight: Float64Array, room: Float64Array, total: int) -> Float64Array:
    """Return shares in proportion to `weight`, none above its `room`, that add up to `total` (but for rounding)."""
    share = np.zeros(room.size)
    full: BoolArray = np.zeros(room.size, np.bool_)
    while not full.all():
        share = np.where(full, room, weight * ((total - room[full].sum()) / weight[~full].sum()))
        over = ~full & (share > room)
        if not over.any():
            break
        full |= over
    return np.minimum(share, room)


def _round(share: Float64Array, room: list[int], total: int) -> list[int]:
    """Round down, then hand out what is lacking one by one, largest remainder first, earlier layers first."""
    links = [min(int(part), most) for part, most in zip(share, room, strict=True)]
    order = sorted(range(len(room)), key=lambda layer: links[layer] - share[layer])
    while lacking := total - sum(links):
        for layer in [layer for layer in order if links[layer] < room[layer]][:lacking]:
            links[layer] += 1
    return links
