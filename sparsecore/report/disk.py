"""Hyperbolic disk: angle by coalescent embedding, hubs at the centre, communities by colour."""

from __future__ import annotations

import numpy as np

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.metrics import Angles, Network
from sparsecore.report.groups import NAMED, Groups
from sparsecore.report.markup import Node, node
from sparsecore.report.network import Structure

__all__ = ["disk_picture"]

_SIZE, _RADIUS = 360, 168.0
#: Neurons and links that are drawn, at most.
_NODES, _LINKS = 2500, 1500
#: Marks of few, of more and of most links.
_MARKS = ("small", "middle", "large")


def disk_picture(structure: Structure, groups: Groups, angles: Angles, radii: Float64Array) -> Node:
    """Return the picture; of many neurons and links a drawn sample, which the text below states.

    Parameters
    ----------
    structure : Structure
        The network.
    groups : Groups
        Communities of its core.
    angles : Angles
        Places of the neurons of the core's giant component.
    radii : array, float64, (n_nodes,)
        Distances of the core's neurons from the centre.
    """
    network = Network.of(structure.core.layers)
    random = np.random.default_rng(structure.seed)
    nodes, turn = angles.nodes, angles.angles
    if nodes.size > _NODES:
        chosen = np.sort(random.choice(nodes.size, _NODES, replace=False))
        nodes, turn = nodes[chosen], turn[chosen]
    reach = _RADIUS * radii / max(float(radii[angles.nodes].max()), 1e-9)
    places = np.full((network.n_nodes, 2), np.nan)
    places[nodes] = reach[nodes, None] * np.stack([np.sin(turn), -np.cos(turn)], axis=1)
    links, n_drawable = _sampled(network, places, random)
    alt = (
        f"Network in the hyperbolic disk: {nodes.size:,} neurons of {groups.n_communities} communities around the hubs "
        "at the centre"
    )
    picture = node(
        "svg",
        node("circle", cx=0, cy=0, r=_RADIUS + 5, class_="rim"),
        *_curves(network, groups, places, links),
        *_dots(network, groups, places, nodes),
        viewBox=f"{-_SIZE / 2:g} {-_SIZE / 2:g} {_SIZE} {_SIZE}",
        role="img",
        aria_label=alt,
    )
    text = _note(structure, angles, nodes, links.size, n_drawable)
    caption = node("figcaption", node("b", "Hyperbolic disk"), " (coalescent embedding)")
    return node("figure", caption, picture, node("p", text, class_="note"), class_="chart")


def _sampled(network: Network, places: Float64Array, random: np.random.Generator) -> tuple[Int64Array, int]:
    """Return positions of the links to draw, and how many have both ends in the picture."""
    below, above = network.links
    drawn = ~np.isnan(places[:, 0])
    both = np.flatnonzero(drawn[below] & drawn[above]).astype(np.int64)
    if both.size <= _LINKS:
        return both, both.size
    return np.sort(random.choice(both, _LINKS, replace=False)), both.size


def _curves(network: Network, groups: Groups, places: Float64Array, links: Int64Array) -> list[Node]:
    """Return one path of the links between communities, and one of those within each."""
    one, two = (ends[links] for ends in network.links)
    colours = np.where(groups.member[one] == groups.member[two], groups.member[one], -1)
    first, second = places[one], places[two]
    bend = 0.2 * (first + second)  # pulled to the centre, as geodesics are
    parts = []
    for colour in np.unique(colours):
        points = (place[colours == colour].round(1).tolist() for place in (first, bend, second))
        path = "".join(f"M{a:g} {b:g}Q{c:g} {d:g} {e:g} {f:g}" for (a, b), (c, d), (e, f) in zip(*points, strict=True))
        parts.append(node("path", d=path, class_="net" if colour < 0 else f"net g{colour}"))
    return parts


def _dots(network: Network, groups: Groups, places: Float64Array, nodes: Int64Array) -> list[Node]:
    """Return one path per community and size of mark: a dot is a line of no length with a round end."""
    degrees = network.degrees[nodes]
    rank = np.searchsorted(np.quantile(degrees, (0.75, 0.97)), degrees, side="left")
    colours = np.where(groups.member[nodes] < 0, NAMED, groups.member[nodes])
    parts = []
    for size, mark in enumerate(_MARKS):
        for colour in np.unique(colours):
            chosen = nodes[(rank == size) & (colours == colour)]
            path = "".join(f"M{x:g} {y:g}h0" for x, y in places[chosen].round(1).tolist())
            if path:
                parts.append(node("path", d=path, class_=f"mark {mark} g{colour}"))
    return parts


def _note(structure: Structure, angles: Angles, nodes: Int64Array, n_links: int, n_drawable: int) -> str:
    n = angles.nodes.size
    neurons = f"all {n:,}" if nodes.size == n else f"{nodes.size:,} of {n:,}, drawn at random"
    links = f"all {n_links:,}" if n_links == n_drawable else f"{n_links:,} of {n_drawable:,}, drawn at random"
    how = "isomap of all distances" if angles.exact else "isomap of distances to landmarks"
    return (
        f"Shown are neurons of the giant component, {neurons}, and links between these, {links}; those within a "
        f"community have its colour. Angle: {how}; distance from the centre: falling degree. {structure.core.note}"
    ).strip()
