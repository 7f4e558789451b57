"""What the fuzzers feed: values that are almost right, JSON, arrays of any kind, damaged bytes."""

import contextlib
import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsecore.errors import SparseCoreError

BIG = (2**31 - 1, 2**31, 2**32, 2**33 + 1, 2**62, 2**63, 2**64, 10**30)
NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([*BIG, *(-n for n in BIG)]),
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e-300, 0.3, 1.0]),
)
SCALARS = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=6), st.binary(max_size=3))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=10,
)
ANYTHING = st.one_of(SCALARS, st.lists(SCALARS, max_size=4), st.tuples(SCALARS, SCALARS), JSON)
ARRAYS = st.sampled_from(["i1", "i4", "i8", "u1", "u4", "u8", "f4", "f8", ">i4", "?", "c8", "U2", "M8[s]"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6))
)
SMALL_INTS = hnp.arrays(np.int64, st.integers(0, 8), elements=st.integers(-2, 9))


@contextlib.contextmanager
def only_errors_of_ours():
    """Let through the errors that sparsecore raises on purpose, in one line of text; everything else fails the test."""
    try:
        yield
    except SparseCoreError as error:
        assert str(error)


@st.composite
def damaged(draw, whole):
    """Draw bytes that were `whole` once: cut, overwritten, with pieces taken out, put in or repeated."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["cut", "set", "drop", "put", "twice"]))
        if kind == "cut":
            del data[at:]
        elif kind == "set":
            data[at : at + 8] = draw(st.binary(max_size=8))
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "put":
            data[at:at] = draw(st.binary(max_size=8))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)
