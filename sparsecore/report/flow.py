"""Credit-assignment paths: how the chains of links from inputs to outputs divide between hubs and other neurons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.metrics import Network, credit_paths
from sparsecore.report.markup import Node, node
from sparsecore.storage import Topology

__all__ = ["BANDS", "flow_picture", "flows"]

#: Neurons of each layer, in order of falling number of links: up to which fraction, and what they are called.
BANDS = ((0.1, "tenth with most links"), (0.5, "next 40%"), (1.0, "other half"))
#: Layers of links in the picture, at most.
_LAYERS = 7
_WIDTH, _HEIGHT, _TOP, _BOTTOM, _BAR, _GAP = 360, 240, 6, 34, 12, 3


def flows(chain: Sequence[Topology]) -> list[Float64Array]:
    """Return for every layer of links the share of all input-to-output chains that goes from each band to each.

    Parameters
    ----------
    chain : sequence of Topology
        Layers that share their neurons.

    Returns
    -------
    list of array, float64, (3, 3)
        From band (row) to band (column); each adds up to 1, or is 0 where there is no chain.

    Notes
    -----
    A link carries the chains that reach its input times those that leave its output. Both follow from `credit_paths` of
    the layers below and above it, and no chain is listed. The bands are those of `hub_share`: rows of a result add up
    to the same share.
    """
    bands = _bands(chain)
    found: list[Float64Array] = []
    for at, layer in enumerate(chain):
        ahead = credit_paths(chain[:at]).shares[-1] if at else np.ones(layer.n_in)
        back = credit_paths(chain[at + 1 :]).shares[0] if at + 1 < len(chain) else np.ones(layer.n_out)
        carried = ahead[layer.cols] * back[layer.rows]
        pair = len(BANDS) * bands[at][layer.cols] + bands[at + 1][layer.rows]
        total = np.bincount(pair, weights=carried, minlength=len(BANDS) ** 2).astype(np.float64).reshape(len(BANDS), -1)
        found.append(total / total.sum() if total.sum() > 0 else total)
    return found


def flow_picture(when: str, chain: Sequence[Topology]) -> Node:
    """Return the picture of one time: a column per neuron layer, ribbons as high as the paths they carry."""
    shown = list(chain[:_LAYERS])
    found = flows(shown)
    columns = [found[0].sum(axis=1), *(matrix.sum(axis=0) for matrix in found)]
    gap = (_WIDTH - 60 - _BAR) / len(found)
    lefts = [12 + gap * at for at in range(len(columns))]
    exponent = credit_paths(chain).log10_count
    number = f"{10 ** (exponent % 1):.1f} x 10^{math.floor(exponent)} paths" if math.isfinite(exponent) else "no path"
    hubs = ", ".join(f"{column[0]:.0%}" for column in columns)
    ribbons = [
        part
        for matrix, (left, right) in zip(found, pairwise(lefts), strict=True)
        for part in _ribbons(matrix, left + _BAR, right)
    ]
    bars = [
        part
        for at, (column, left) in enumerate(zip(columns, lefts, strict=True))
        for part in _bars(column, left, "inputs" if at == 0 else f"layer {at}")
    ]
    picture = node(
        "svg",
        *ribbons,
        *bars,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"Paths {when}: {number}. Through the tenth of neurons with most links, layer by layer: {hubs}",
    )
    note = "" if len(shown) == len(chain) else f"The first {len(shown)} of {len(chain)} layers."
    caption = node("figcaption", node("b", when[:1].upper() + when[1:]), ": ", _power(number))
    return node("figure", caption, picture, node("p", note, class_="note") if note else None, class_="chart")


def _power(number: str) -> Node:
    base, _, rest = number.partition("^")
    exponent, _, word = rest.partition(" ")
    return node("span", base, node("sup", exponent) if exponent else None, f" {word}" if word else None)


def _bands(chain: Sequence[Topology]) -> list[Int64Array]:
    """Return the band of every neuron, layer by layer, the inputs first; ranked as `hub_share` ranks."""
    network = Network.of(chain)
    bands = []
    for start, share in zip(network.starts, credit_paths(chain).shares, strict=False):
        order = np.lexsort((-share, -network.degrees[start : start + share.size]))
        ends = [math.ceil(fraction * share.size) for fraction, _ in BANDS]
        band = np.empty(share.size, np.int64)
        band[order] = np.searchsorted(ends, np.arange(share.size), side="right")
        bands.append(band)
    return bands


def _heights(column: Float64Array) -> list[tuple[float, float]]:
    """Return top and height of every band of a column."""
    room = _HEIGHT - _TOP - _BOTTOM - _GAP * (len(BANDS) - 1)
    tops = _TOP + room * np.concatenate([[0.0], np.cumsum(column)[:-1]]) + _GAP * np.arange(len(BANDS))
    return list(zip(tops.tolist(), (room * column).tolist(), strict=True))


def _bars(column: Float64Array, left: float, label: str) -> list[Node]:
    parts = []
    for band, ((top, height), share) in enumerate(zip(_heights(column), column, strict=True)):
        title = node("title", f"{label}, {BANDS[band][1]}: {share:.1%} of the paths")
        parts.append(node("rect", title, x=left, y=top, width=_BAR, height=max(height, 0.5), class_=f"fill g{band}"))
        if height >= 11:
            label_at = {"x": left + _BAR + 3, "y": top + height / 2 + 4}
            parts.append(node("text", f"{share:.0%}", class_="tick halo", **label_at))
    parts.append(node("text", label, x=left + _BAR / 2, y=_HEIGHT - 14, class_="tick mid"))
    return parts


def _ribbons(matrix: Float64Array, left: float, right: float) -> list[Node]:
    outs, ins = _heights(matrix.sum(axis=1)), _heights(matrix.sum(axis=0))
    room = _HEIGHT - _TOP - _BOTTOM - _GAP * (len(BANDS) - 1)
    middle = (left + right) / 2
    from_at, to_at = [top for top, _ in outs], [top for top, _ in ins]
    parts = []
    for first in range(len(BANDS)):
        for second in range(len(BANDS)):
            height = room * float(matrix[first, second])
            a, b = from_at[first], to_at[second]
            from_at[first] += height
            to_at[second] += height
            if height < 0.3:
                continue
            shape = (
                f"M{left:.1f} {a:.1f}C{middle:.1f} {a:.1f} {middle:.1f} {b:.1f} {right:.1f} {b:.1f}v{height:.1f}"
                f"C{middle:.1f} {b + height:.1f} {middle:.1f} {a + height:.1f} {left:.1f} {a + height:.1f}Z"
            )
            parts.append(node("path", d=shape, class_=f"ribbon g{first}"))
    return parts
