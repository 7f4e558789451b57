"""BSF: a few neurons with very many links, by preferential attachment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sparsecore._typing import BoolArray, Int64Array, Shape
from sparsecore.errors import ShapeError, check_count
from sparsecore.generators.protocol import check_request, register
from sparsecore.generators.sampling import missing, shares, spread
from sparsecore.kernels.cpu.generate import preferential_edges
from sparsecore.storage import Topology

__all__ = ["BSF", "resort", "rewire_across"]

#: Stuck ends are given up after this many rounds in a row that placed less than one in as many of them.
_PATIENCE = 20
#: Swaps tried per link when links are shuffled with all degrees kept.
_SHUFFLE_ROUNDS = 10


@register(
    "bsf",
    paper="Barabási & Albert 1999; CHTs, Zhang et al. 2025",
    equation="Barabási-Albert on all neurons, same-side links rewired across with degrees kept",
)
@dataclass(frozen=True)
class BSF:
    """Bipartite scale-free: a Barabási-Albert graph over all neurons, its same-side links rewired across.

    A graph of `n_links` links grows by preferential attachment over ``n_out + n_in`` nodes, each of which is then an
    output or an input at random. Links between the sides stay. The ends of the others are paired across: degrees keep
    their values as far as both sides have the same number of such ends. The longer side gives up half of its
    surplus ends, and the other side gets as many, in proportion to its degrees. Ends that find no partner to which
    they are not yet linked become links at uniform empty positions: none at 5% density, about one in 200 at 30%.

    Parameters
    ----------
    equal_partition : bool
        Give all inputs the same number of links (give or take one) and keep only the outputs scale-free; meant for the
        first layer, where a hub would be a random feature of the data.

    See Also
    --------
    resort : line up the hubs of consecutive layers.

    Examples
    --------
    >>> t = BSF()((1_000, 1_000), n_links=10_000, seed=0)
    >>> t.n_links, bool(t.in_degrees.max() > 10 * t.in_degrees.mean())
    (10000, True)
    """

    equal_partition: bool = False

    def __call__(self, shape: Shape, n_links: int, seed: int) -> Topology:
        """Build a topology of exactly `n_links` links; see `Generator`."""
        n_out, n_in, n_links = check_request(shape, n_links, seed)
        rng = np.random.default_rng(seed)
        new, old = preferential_edges(rng, _arrivals(n_out + n_in, n_links))
        node = rng.permutation(n_out + n_in)
        rows, cols = rewire_across(rng, node[new], node[old], (n_out, n_in))
        if self.equal_partition:
            rows, cols = _level_inputs(rng, np.bincount(rows, minlength=n_out), n_in)
        return Topology.from_coo(rows, cols, shape=(n_out, n_in))


def _arrivals(n_nodes: int, n_links: int) -> Int64Array:
    """Return how many links each node brings: as many as there are earlier nodes, at most the same for all."""
    low, high = 0, max(n_nodes - 1, 0)
    while low < high:
        each = (low + high + 1) // 2
        if _brought(n_nodes, each) <= n_links:
            low = each
        else:
            high = each - 1
    counts = np.minimum(np.arange(n_nodes), low)
    late = n_nodes - 1 - low
    if late > 0:
        counts[low + 1 :] += spread(late, n_links - _brought(n_nodes, low))
    return counts


def _brought(n_nodes: int, each: int) -> int:
    return each * (each + 1) // 2 + each * (n_nodes - 1 - each)


def rewire_across(
    rng: np.random.Generator, u: Int64Array, v: Int64Array, shape: Shape
) -> tuple[Int64Array, Int64Array]:
    """Turn a graph over all neurons into links between outputs and inputs, keeping degrees where that is possible.

    Parameters
    ----------
    rng : numpy Generator
        Source of randomness; advanced.
    u, v : array, int64, (n_links,)
        Ends of every link of a simple graph; neurons below `n_out` are outputs, the others inputs.
    shape : tuple of int
        ``(n_out, n_in)``.

    Returns
    -------
    rows, cols : array, int64, (n_links,)
        Distinct links. Every neuron has its old degree where both sides have as many same-side links and a simple
        pairing was found; see `BSF` for the rest.
    """
    n_out, n_in = shape
    u_out, v_out = u < n_out, v < n_out
    across = u_out != v_out
    links = np.sort((np.maximum(u, v)[across] - n_out) * n_out + np.minimum(u, v)[across])
    outs = np.concatenate([u[u_out & v_out], v[u_out & v_out]])
    ins = np.concatenate([u[~u_out & ~v_out], v[~u_out & ~v_out]]) - n_out
    wanted = (outs.size + ins.size) // 2
    out_pool = np.concatenate([outs, links % max(n_out, 1)])
    in_pool = np.concatenate([ins, links // max(n_out, 1)])
    outs = _resize(rng, outs, wanted, out_pool, n_out)
    ins = _resize(rng, ins, wanted, in_pool, n_in)
    paired = _pair(rng, outs, ins, links, n_out)
    links = np.sort(np.concatenate([links, paired]))
    links = np.concatenate([links, missing(rng, links, n_out * n_in, u.size - links.size)])
    cols, rows = np.divmod(links, max(n_out, 1))
    return rows, cols


def _resize(rng: np.random.Generator, ends: Int64Array, size: int, pool: Int64Array, n: int) -> Int64Array:
    """Return `size` shuffled ends: a random part of them, or all and more drawn by degree (`pool` holds all ends)."""
    ends = rng.permutation(ends)[:size]
    lacking = size - ends.size
    if not lacking:
        return ends
    more = rng.choice(pool, lacking) if pool.size else rng.integers(n, size=lacking)
    return np.concatenate([ends, more])


def _pair(rng: np.random.Generator, outs: Int64Array, ins: Int64Array, links: Int64Array, n_out: int) -> Int64Array:
    """Pair ends to distinct links that do not exist yet; returns their keys, sorted, those of stuck ends left out.

    Two stuck ends exchange partners with a random link that is placed already, where that makes two new links.
    """
    keys = np.sort(ins * n_out + outs)
    stuck = _within(keys, links) | (np.diff(keys, prepend=-1) == 0)
    placed: Int64Array = keys[~stuck]
    waiting = keys[stuck]
    patience = _PATIENCE
    while waiting.size and placed.size and patience:
        n = min(waiting.size, placed.size)
        waiting = rng.permutation(waiting)
        apart = rng.choice(placed.size, n, replace=False)
        in_a, out_a = np.divmod(waiting[:n], n_out)
        in_b, out_b = np.divmod(placed[apart], n_out)
        made = np.concatenate([in_a * n_out + out_b, in_b * n_out + out_a])
        swap = _all_new(made, links, placed)
        placed = np.sort(np.concatenate([np.delete(placed, apart[swap]), made[:n][swap], made[n:][swap]]))
        waiting = np.concatenate([waiting[:n][~swap], waiting[n:]])
        patience = _PATIENCE if _PATIENCE * np.count_nonzero(swap) > n else patience - 1
    return placed


def _all_new(made: Int64Array, *existing: Int64Array) -> BoolArray:
    """Tell for each pair of links (in the first and second half of `made`) whether both are new and made once."""
    order = np.argsort(made)
    ranked = made[order]
    again = np.diff(ranked, prepend=-1) == 0
    again[:-1] |= again[1:]
    for links in existing:
        again |= _within(ranked, links)
    bad = np.empty(made.size, np.bool_)
    bad[order] = again
    return ~(bad[: made.size // 2] | bad[made.size // 2 :])


def _within(keys: Int64Array, links: Int64Array) -> BoolArray:
    """Tell which of the sorted `keys` are among the sorted `links`."""
    at = np.searchsorted(links, keys)
    found = at < links.size
    found[found] = links[at[found]] == keys[found]
    return found


def _level_inputs(rng: np.random.Generator, out_degrees: Int64Array, n_in: int) -> tuple[Int64Array, Int64Array]:
    """Return links with these output degrees and input degrees that differ by at most one, shuffled."""
    order = rng.permutation(out_degrees.size)
    group, _ = shares(out_degrees[order])
    # Taking inputs in turn gives them equal degrees, and no output the same one twice.
    cols = rng.permutation(n_in)[np.arange(group.size) % max(n_in, 1)]
    return _shuffle(rng, order[group], cols, n_in)


def _shuffle(rng: np.random.Generator, rows: Int64Array, cols: Int64Array, n_in: int) -> tuple[Int64Array, Int64Array]:
    """Exchange the inputs of random pairs of links, `_SHUFFLE_ROUNDS` times each, wherever that makes new links."""
    half = rows.size // 2
    for _ in range(_SHUFFLE_ROUNDS):
        order = rng.permutation(rows.size)
        a, b = order[:half], order[half : 2 * half]
        made = np.concatenate([rows[a] * n_in + cols[b], rows[b] * n_in + cols[a]])
        swap = _all_new(made, np.sort(rows * n_in + cols))
        a, b = a[swap], b[swap]
        cols[a], cols[b] = cols[b], cols[a]
    return rows, cols


def resort(chain: Sequence[Topology], seed: int, *, soft: bool = True) -> list[Topology]:
    """Renumber the inputs of every layer but the first, so that hubs meet hubs.

    The outputs of a layer in order of their degree meet the inputs of the next in order of theirs: a neuron with many
    links on one side gets many on the other. Number of links and degrees stay.

    Parameters
    ----------
    chain : sequence of Topology
        Consecutive layers, first to last.
    seed : int
        In ``[0, 2**64)``.
    soft : bool
        Order inputs by draws without replacement in proportion to their degrees rather than by the degrees themselves.

    Returns
    -------
    list of Topology
        The first one is unchanged.

    Raises
    ------
    ShapeError
        If the outputs of one layer are not as many as the inputs of the next.

    Examples
    --------
    >>> first, second = (BSF()((50, 50), n_links=200, seed=seed) for seed in (0, 1))
    >>> _, sorted_second = resort([first, second], seed=2, soft=False)
    >>> bool(sorted_second.in_degrees[first.out_degrees.argmax()] == second.in_degrees.max())
    True
    """
    rng = np.random.default_rng(check_count("seed", seed, "what a soft order depends on", high=2**64 - 1))
    result = list(chain[:1])
    for previous, layer in pairwise(chain):
        if previous.n_out != layer.n_in:
            raise ShapeError(
                f"Expected consecutive layers: n_in of each equal to n_out of the one before. "
                f"Got {layer.n_in} after {previous.n_out}."
            )
        place = np.empty(layer.n_in, np.int64)
        place[_order(rng, layer.in_degrees, soft)] = _order(rng, result[-1].out_degrees, soft=False)
        result.append(Topology.from_coo(layer.rows, place[layer.cols], shape=layer.shape))
    return result


def _order(rng: np.random.Generator, degrees: Int64Array, soft: bool) -> Int64Array:
    """Return neurons from most to fewest links; soft: as drawn without replacement in proportion to their links."""
    if not soft:
        return np.argsort(-degrees, kind="stable")
    with np.errstate(divide="ignore"):
        return np.argsort(rng.exponential(size=degrees.size) / degrees, kind="stable")
