"""Heat maps of the links over time: counts in tiles, never a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsecore._typing import Int64Array
from sparsecore.report.markup import Node, node
from sparsecore.report.moments import Moment
from sparsecore.report.tiles import picture, tile_counts

__all__ = ["heat_maps"]

#: Layers shown of each run, at most.
_LAYERS = 6


def heat_maps(moments: Sequence[Moment]) -> list[Node]:
    """Return one row of pictures per layer, in order of time; of many layers, the first, the last and some between."""
    names = list(moments[-1].layers)
    shown = [names[at] for at in np.unique(np.linspace(0, len(names) - 1, _LAYERS).round().astype(int))]
    rows = [_row(name, moments) for name in shown]
    if len(shown) < len(names):
        rows.append(node("p", f"Shown are {len(shown)} of {len(names)} layers.", class_="note"))
    return rows


def _row(name: str, moments: Sequence[Moment]) -> Node:
    topology = moments[-1].layers[name]
    counts = [tile_counts(moment.layers[name]) for moment in moments]
    top = _top(counts)
    height, width = counts[0].shape
    cells = -(-topology.n_out // height), -(-topology.n_in // width)
    each = "one possible link" if cells == (1, 1) else f"up to {cells[0]} x {cells[1]} possible links"
    maps = [
        node(
            "figure",
            node("img", src=picture(_shades(count, top)), alt=_alt(name, moment, count), class_="ink"),
            node("figcaption", moment.label),
            class_="map",
        )
        for moment, count in zip(moments, counts, strict=True)
    ]
    scale = node("span", "0", node("span", class_="ramp"), f"{top:g} or more links per tile", class_="scale")
    return node(
        "section",
        node("h4", node("code", name), f": {topology.n_out:,} outputs (down) x {topology.n_in:,} inputs (across)"),
        node("div", *maps, class_="maps"),
        node("p", f"{height} x {width} tiles of {each}. ", scale, class_="note"),
        class_="layer",
    )


def _top(counts: Sequence[Int64Array]) -> int:
    """Return the count that is darkest: few tiles have more, so that hubs do not turn all others pale."""
    filled = np.concatenate([count[count > 0] for count in counts])
    return max(1, round(float(np.quantile(filled, 0.98)))) if filled.size else 1


def _shades(count: Int64Array, top: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.round(255 * np.sqrt(np.minimum(count / top, 1.0))).astype(np.uint8)


def _alt(name: str, moment: Moment, count: Int64Array) -> str:
    layer = moment.layers[name]
    empty = float(np.mean(count == 0))
    return f"Links of {name} {moment.label}: {layer.n_links:,} links, {empty:.0%} of the tiles are empty"
