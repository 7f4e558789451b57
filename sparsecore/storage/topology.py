"""The frozen pattern of a sandwich layer: which links exist, in both reading orders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csc_array

from sparsecore._typing import BoolArray, IndexArray, Int32Array, Int64Array, Shape, UInt16Array
from sparsecore.errors import ShapeError, TopologyError

__all__ = ["POSITION_LIMIT", "Topology", "checked_integers", "checked_shape"]

#: Most neurons on one side: their ids are int32.
NEURON_LIMIT = 2**31 - 1

#: Most neurons and links that lists of uint16 can number.
NARROW_LIMIT = 2**16

#: Most links whose positions fit int32. Tests lower it to run the int64 paths on tiny data.
POSITION_LIMIT = 2**31 - 1


@final
class Topology:
    """Links of a bipartite graph between `n_in` input and `n_out` output neurons.

    Links are kept in *input-major* order (sorted by input, then by output): this is the order of the values,
    gradients and optimizer state of a layer. The output-major order is derived on first use and cached.
    A topology never changes; evolution builds a new one through `TopologyEdit`.

    Parameters
    ----------
    shape : tuple of int
        ``(n_out, n_in)``.
    col_ptr : array, int64, (n_in + 1,)
        Links of input ``i`` sit at positions ``col_ptr[i]:col_ptr[i + 1]``.
    rows : array, int32, (n_links,)
        Output neuron of every link, increasing within one input.
    trust : bool
        Skip validation; for arrays that are canonical by construction.

    Raises
    ------
    TopologyError
        If indices are out of range, unsorted or duplicate, or the pointers do not fit.

    Examples
    --------
    >>> t = Topology.from_coo([0, 2, 1], [1, 1, 0], shape=(3, 2))
    >>> t.n_links, t.rows.tolist(), t.col_ptr.tolist()
    (3, [1, 0, 2], [0, 1, 3])
    """

    def __init__(self, shape: Shape, col_ptr: ArrayLike, rows: ArrayLike, *, trust: bool = False) -> None:
        self.shape: Shape = (int(shape[0]), int(shape[1])) if trust else checked_shape(shape)
        if not trust:
            col_ptr, rows = checked_integers(col_ptr, "col_ptr"), checked_integers(rows, "rows")
            if rows.size and (rows.min() < 0 or rows.max() >= self.shape[0]):  # before int32 can wrap them
                _fail(f"rows in [0, {self.shape[0]})", f"{rows.min()} to {rows.max()}")
        self._lists = _frozen(col_ptr, np.int64), _frozen(rows, np.int32)
        self.col_ptr, self.rows = self._lists
        self.n_links = int(self.rows.size)
        if not trust:
            self._validate()

    @classmethod
    def held_elsewhere(cls, shape: Shape, n_links: int, fetch: Callable[[], tuple[ArrayLike, ArrayLike]]) -> Topology:
        """Build from canonical lists that another device holds; ``fetch()`` returns them when the host first asks.

        Parameters
        ----------
        shape : tuple of int
            ``(n_out, n_in)``.
        n_links : int
            Number of links.
        fetch : callable
            Returns ``col_ptr`` and ``rows``.
        """
        topology = cls.__new__(cls)
        topology.shape = shape
        topology.__dict__.update(n_links=n_links, _fetch=fetch)
        return topology

    @cached_property
    def col_ptr(self) -> Int64Array:
        """Input-major pointers, int64, (n_in + 1,)."""
        return self._lists[0]

    @cached_property
    def rows(self) -> Int32Array:
        """Output neuron of every link, int32, (n_links,), in input-major order."""
        return self._lists[1]

    @cached_property
    def _lists(self) -> tuple[Int64Array, Int32Array]:
        col_ptr, rows = self.__dict__.pop("_fetch")()
        return _frozen(col_ptr, np.int64), _frozen(rows, np.int32)

    @cached_property
    def mirrors(self) -> dict[Any, Any]:
        """What devices hold of this topology, by device."""
        return {}

    @classmethod
    def from_ids(cls, ids: ArrayLike, shape: Shape) -> Topology:
        """Build from link ids ``row * n_in + col``, in any order.

        Parameters
        ----------
        ids : array, int64, (n_links,)
            Distinct link ids.
        shape : tuple of int
            ``(n_out, n_in)``.
        """
        shape = checked_shape(shape)
        flat = checked_integers(ids, "ids")
        if flat.size and (flat.min() < 0 or flat.max() >= shape[0] * shape[1]):
            _fail(f"link ids in [0, {shape[0] * shape[1]})", f"{flat.min()} to {flat.max()}")
        rows, cols = np.divmod(flat, max(shape[1], 1))
        return cls._from_valid_coo(rows, cols, shape)

    @classmethod
    def from_coo(cls, rows: ArrayLike, cols: ArrayLike, *, shape: Shape) -> Topology:
        """Build from output and input neuron of every link, in any order.

        Parameters
        ----------
        rows, cols : array, integer, (n_links,)
            Output and input neuron of each link; no pair may come twice.
        shape : tuple of int
            ``(n_out, n_in)``.

        Raises
        ------
        TopologyError
            If an index is out of range or a link comes twice.
        """
        shape = checked_shape(shape)
        row, col = checked_integers(rows, "rows"), checked_integers(cols, "cols")
        if row.shape != col.shape:
            _fail("rows and cols of equal length", f"{row.size} and {col.size}")
        for name, index, bound in (("rows", row, shape[0]), ("cols", col, shape[1])):
            if index.size and (index.min() < 0 or index.max() >= bound):
                _fail(f"{name} in [0, {bound})", f"{index.min()} to {index.max()}")
        return cls._from_valid_coo(row, col, shape)

    @classmethod
    def _from_valid_coo(cls, rows: Int64Array, cols: Int64Array, shape: Shape) -> Topology:
        key = cols * shape[0] + rows
        key.sort()
        return cls.from_keys(key, shape)

    @classmethod
    def from_keys(cls, keys: Int64Array, shape: Shape) -> Topology:
        """Build from sorted input-major keys ``col * n_out + row``, which are in range.

        Raises
        ------
        TopologyError
            If a link comes twice.
        """
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if twice.size:
            col, row = divmod(int(keys[twice[0]]), shape[0])
            _fail("every link once", f"link (row {row}, col {col}) more than once")
        cols, rows = np.divmod(keys, max(shape[0], 1))
        return cls(shape, _pointers(cols, shape[1]), rows.astype(np.int32), trust=True)

    @classmethod
    def full(cls, shape: Shape) -> Topology:
        """Build the topology that holds every link (a dense layer)."""
        n_out, n_in = checked_shape(shape)
        rows = np.tile(np.arange(n_out, dtype=np.int32), n_in)
        return cls((n_out, n_in), np.arange(n_in + 1, dtype=np.int64) * n_out, rows, trust=True)

    def _validate(self) -> None:
        n_in, ptr, rows = self.n_in, self.col_ptr, self.rows
        if ptr.shape != (n_in + 1,):
            _fail(f"col_ptr of shape ({n_in + 1},)", f"shape {ptr.shape}")
        if rows.ndim != 1 or ptr[0] != 0 or ptr[-1] != rows.size or bool((np.diff(ptr) < 0).any()):
            _fail("col_ptr rising from 0 to n_links", f"{ptr[0]} to {ptr[-1]} with n_links = {rows.size}")
        key = self.keys
        if bool((np.diff(key) <= 0).any()):
            _fail("rows sorted and unique within every input", "rows that are not; Topology.from_coo sorts them")

    @property
    def n_out(self) -> int:
        """Number of output neurons (rows)."""
        return self.shape[0]

    @property
    def n_in(self) -> int:
        """Number of input neurons (columns)."""
        return self.shape[1]

    @cached_property
    def n_links(self) -> int:
        """Number of links."""
        return int(self.rows.size)

    @property
    def n_possible(self) -> int:
        """Number of links a dense layer of this shape would have."""
        return self.shape[0] * self.shape[1]

    @property
    def density(self) -> float:
        """Links over possible links."""
        return self.n_links / max(self.n_possible, 1)

    @cached_property
    def cols(self) -> Int32Array:
        """Input neuron of every link, int32, (n_links,), in input-major order."""
        cols: Int32Array = _frozen(np.repeat(np.arange(self.n_in, dtype=np.int32), np.diff(self.col_ptr)), np.int32)
        return cols

    @property
    def keys(self) -> Int64Array:
        """Sort keys ``col * n_out + row``, int64, (n_links,), increasing."""
        return self.cols.astype(np.int64) * self.n_out + self.rows

    @property
    def link_ids(self) -> Int64Array:
        """Link ids ``row * n_in + col``, int64, (n_links,), in input-major order."""
        return self.rows.astype(np.int64) * self.n_in + self.cols

    @cached_property
    def _output_major(self) -> tuple[Int64Array, Int32Array, IndexArray]:
        index = np.int32 if self.n_links <= POSITION_LIMIT else np.int64
        # A conversion between compressed formats, with positions as the values, is a counting sort.
        positions = np.arange(self.n_links, dtype=index)
        by_output = csc_array((positions, self.rows, self.col_ptr), shape=self.shape).tocsr()
        return _frozen(by_output.indptr, np.int64), _frozen(by_output.indices, np.int32), _frozen(by_output.data, index)

    @property
    def row_ptr(self) -> Int64Array:
        """Output-major pointers, int64, (n_out + 1,)."""
        return self._output_major[0]

    @property
    def row_cols(self) -> Int32Array:
        """Input neuron of every link in output-major order, int32, (n_links,)."""
        return self._output_major[1]

    @property
    def row_order(self) -> IndexArray:
        """Position among the values of every output-major link, int32 or int64, (n_links,)."""
        return self._output_major[2]

    @cached_property
    def out_degrees(self) -> Int64Array:
        """Links of every output neuron, int64, (n_out,)."""
        degrees: Int64Array = _frozen(np.bincount(self.rows, minlength=self.n_out), np.int64)
        return degrees

    @property
    def in_degrees(self) -> Int64Array:
        """Links of every input neuron, int64, (n_in,)."""
        return np.diff(self.col_ptr)

    def find(self, ids: ArrayLike) -> Int64Array:
        """Return the position of each link id among the values, or -1 where there is no such link.

        Parameters
        ----------
        ids : array, int64, (n,)
            Link ids ``row * n_in + col``.

        Returns
        -------
        array, int64, (n,)
        """
        rows, cols = np.divmod(checked_integers(ids, "ids"), max(self.n_in, 1))
        return self._find_pairs(rows, cols)

    def _find_pairs(self, rows: Int64Array, cols: Int64Array) -> Int64Array:
        """Return the position of each pair of neurons among the values, or -1 without a link or such neurons."""
        inside = (rows >= 0) & (rows < self.n_out) & (cols >= 0) & (cols < self.n_in)
        return self.find_keys(np.where(inside, cols * self.n_out + rows, -1))

    def find_keys(self, keys: Int64Array) -> Int64Array:
        """Return the position of each sort key ``col * n_out + row`` among the values, or -1; int64, (n,)."""
        have = self.keys
        at = np.searchsorted(have, keys)
        at[at == have.size] = 0
        if have.size == 0:
            return np.full(keys.size, -1, np.int64)
        return np.where(have[at] == keys, at, -1).astype(np.int64, copy=False)

    def contains(self, rows: ArrayLike, cols: ArrayLike) -> BoolArray:
        """Tell for each pair of neurons whether the link exists; bool, (n,)."""
        return self._find_pairs(checked_integers(rows, "rows"), checked_integers(cols, "cols")) >= 0

    def subset(self, positions: ArrayLike) -> Topology:
        """Return the topology of some of the links.

        Parameters
        ----------
        positions : array, int64, (n,)
            Increasing positions among the values.

        Raises
        ------
        TopologyError
            If positions are out of range or do not increase.
        """
        at = checked_integers(positions, "positions")
        if at.size and (at[0] < 0 or at[-1] >= self.n_links or bool((np.diff(at) <= 0).any())):
            _fail(f"increasing positions in [0, {self.n_links})", f"{at.size} from {at.min()} to {at.max()}")
        return Topology(self.shape, np.searchsorted(at, self.col_ptr), self.rows[at], trust=True)

    def transpose(self) -> Topology:
        """Return the topology with inputs and outputs exchanged."""
        return Topology((self.n_in, self.n_out), self.row_ptr, self.row_cols, trust=True)

    def to_dense(self) -> BoolArray:
        """Return the dense adjacency, bool, (n_out, n_in): only for small layers, asked for by name."""
        dense = np.zeros(self.shape, np.bool_)
        dense[self.rows, self.cols] = True
        return dense

    @cached_property
    def narrow(self) -> tuple[UInt16Array, UInt16Array, UInt16Array] | None:
        """``rows, row_cols, row_order`` as uint16, to take less room in cache; ``None`` where ids do not fit."""
        if max(self.n_out, self.n_in, self.n_links) > NARROW_LIMIT:
            return None
        lists = self.rows, self.row_cols, self.row_order
        return _frozen(lists[0], np.uint16), _frozen(lists[1], np.uint16), _frozen(lists[2], np.uint16)

    @cached_property
    def addresses(self) -> tuple[int, int, int, int, int]:
        """Memory addresses of ``col_ptr, rows, row_ptr, row_cols, row_order``; valid as long as the topology lives."""
        arrays = (self.col_ptr, self.rows, self.row_ptr, self.row_cols, self.row_order)
        return tuple(array.ctypes.data for array in arrays)  # type: ignore[return-value]

    @cached_property
    def narrow_addresses(self) -> tuple[int, int, int, int, int]:
        """`addresses` with the lists of `narrow`, which must exist."""
        assert self.narrow is not None
        rows, row_cols, row_order = self.narrow
        arrays = (self.col_ptr, rows, self.row_ptr, row_cols, row_order)
        return tuple(array.ctypes.data for array in arrays)  # type: ignore[return-value]

    @cached_property
    def digest(self) -> str:
        """Hash of shape and links: equal topologies have equal digests on every machine."""
        state = hashlib.blake2b(np.asarray(self.shape, "<i8").tobytes(), digest_size=16)
        state.update(self.col_ptr.astype("<i8", copy=False).data)
        state.update(self.rows.astype("<i4", copy=False).data)
        return state.hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes held by the index lists that exist right now, the derived ones included."""
        arrays: list[Any] = [*self.__dict__.get("_lists", ())]
        arrays += [self.__dict__[name] for name in ("cols", "out_degrees") if name in self.__dict__]
        arrays += [*self.__dict__.get("_output_major", ()), *(self.__dict__.get("narrow") or ())]
        return sum(array.nbytes for array in arrays)

    def __eq__(self, other: object) -> bool:
        """Compare shape and links."""
        if not isinstance(other, Topology):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.col_ptr, other.col_ptr)
            and np.array_equal(self.rows, other.rows)
        )

    def __hash__(self) -> int:
        """Hash by content."""
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the pattern alone; derived arrays are rebuilt."""
        return (Topology, (self.shape, self.col_ptr, self.rows))

    def __repr__(self) -> str:
        """Show shape, links and density."""
        return f"Topology({self.n_out} x {self.n_in}, {self.n_links} links, density {self.density:.4g})"


def _frozen(values: ArrayLike, dtype: Any) -> Any:
    array = np.ascontiguousarray(values, dtype=dtype)
    if array is values or array.base is not None:
        array = array.view()
    array.flags.writeable = False
    return array


def _pointers(sorted_index: Int64Array, n: int) -> Int64Array:
    return np.searchsorted(sorted_index, np.arange(n + 1)).astype(np.int64)


def checked_integers(values: ArrayLike, name: str) -> Int64Array:
    """Return a vector of whole numbers as int64, or raise `TopologyError`: neither masks nor floats are indices."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        _fail(f"{name} as a 1-D integer array", f"{array.ndim}-D {array.dtype}")
    return array.astype(np.int64) if array.size else np.zeros(0, np.int64)


def checked_shape(shape: Shape) -> Shape:
    """Return a shape as plain integers, or raise `ShapeError` unless it is a pair that index lists can number."""
    pair = isinstance(shape, (tuple, list, np.ndarray)) and len(shape) == 2
    if not pair or not all(
        hasattr(n, "__index__") and not isinstance(n, bool) and 0 <= n <= NEURON_LIMIT for n in shape
    ):
        raise ShapeError(f"Expected shape (n_out, n_in) of integers in [0, {NEURON_LIMIT}]. Got {shape!r}.")
    return int(shape[0]), int(shape[1])


def _fail(expected: str, got: str) -> NoReturn:
    raise TopologyError(f"Expected {expected}. Got {got}.")
