"""Chord picture: communities on a circle, ribbons as wide as the links between them are many."""

from __future__ import annotations

import math

import numpy as np

from sparsecore.report.groups import Groups
from sparsecore.report.markup import Node, node

__all__ = ["chord_picture"]

_SIZE = 360
_OUTER, _INNER = 150.0, 138.0
_GAP = 0.035

Arc = tuple[float, float]


def chord_picture(groups: Groups, note: str) -> Node:
    """Return the picture; every link is counted, none is drawn by itself.

    Parameters
    ----------
    groups : Groups
        At least one.
    note : str
        Written below.
    """
    n = len(groups.sizes)
    arcs, pieces = _places(groups)
    ribbons = [
        _ribbon(groups, first, second, pieces)
        for first in range(n)
        for second in range(first, n)
        if groups.links[first, second]
    ]
    inside = int(groups.links.diagonal().sum())
    total = inside + (int(groups.links.sum()) - inside) // 2
    labels = [_label(groups, group, arc) for group, arc in enumerate(arcs)]
    rims = [
        node("path", node("title", _rim_title(groups, group)), d=_band(arc), class_=f"fill g{_colour(groups, group)}")
        for group, arc in enumerate(arcs)
    ]
    alt = (
        f"Chord picture of {groups.n_communities} communities: {inside / max(1, total):.0%} of {total:,} links lie "
        "within the same group"
    )
    picture = node(
        "svg",
        *ribbons,
        *rims,
        *labels,
        viewBox=f"{-_SIZE / 2:g} {-_SIZE / 2:g} {_SIZE} {_SIZE}",
        role="img",
        aria_label=alt,
    )
    caption = node("figcaption", node("b", "Communities"), " and the links within and between them")
    return node("figure", caption, picture, node("p", note, class_="note"), class_="chart")


def _places(groups: Groups) -> tuple[list[Arc], dict[tuple[int, int], Arc]]:
    """Return the arc of every group, and within it the arc of its links to every group."""
    links = groups.links.astype(float)
    ends = links + np.diag(links.diagonal())  # a link within a group has both ends there
    n = len(links)
    gap = _GAP if n > 1 else 0.0
    scale = (2 * math.pi - n * gap) / max(1.0, float(ends.sum()))
    at, arcs, pieces = 0.0, [], {}
    for group in range(n):
        start = at
        for step in range(n):
            other = (group - step) % n  # the nearest neighbours get the nearest ends
            width = scale * float(ends[group, other])
            pieces[group, other] = (at, at + width)
            at += width
        arcs.append((start, at))
        at += gap
    return arcs, pieces


def _point(angle: float, radius: float) -> str:
    return f"{radius * math.sin(angle):.1f} {-radius * math.cos(angle):.1f}"


def _sweep(arc: Arc, radius: float) -> str:
    return f"A{radius:g} {radius:g} 0 {int(arc[1] - arc[0] > math.pi)} 1 {_point(arc[1], radius)}"


def _band(arc: Arc) -> str:
    back = f"A{_INNER:g} {_INNER:g} 0 {int(arc[1] - arc[0] > math.pi)} 0 {_point(arc[0], _INNER)}"
    return f"M{_point(arc[0], _OUTER)}{_sweep(arc, _OUTER)}L{_point(arc[1], _INNER)}{back}Z"


def _ribbon(groups: Groups, first: int, second: int, pieces: dict[tuple[int, int], Arc]) -> Node:
    one, two = pieces[first, second], pieces[second, first]
    radius = _INNER - 2
    shape = f"M{_point(one[0], radius)}{_sweep(one, radius)}Q0 0 {_point(two[0], radius)}"
    if first != second:
        shape += f"{_sweep(two, radius)}Q0 0 {_point(one[0], radius)}"
    number = int(groups.links[first, second])
    names = groups.label(first), groups.label(second)
    where = f"within {names[0]}" if first == second else f"between {names[0]} and {names[1]}"
    colour = _colour(groups, first)
    return node("path", node("title", f"{number:,} links {where}"), d=shape + "Z", class_=f"ribbon g{colour}")


def _label(groups: Groups, group: int, arc: Arc) -> Node:
    middle = (arc[0] + arc[1]) / 2
    x, y = 163 * math.sin(middle), -163 * math.cos(middle)
    return node("text", groups.label(group), x=x, y=y + 4, class_="tick mid")


def _rim_title(groups: Groups, group: int) -> str:
    inside = int(groups.links[group, group])
    return f"{groups.label(group)}: {int(groups.sizes[group]):,} neurons, {inside:,} links within"


def _colour(groups: Groups, group: int) -> int:
    return 7 if groups.label(group) == "others" else group
