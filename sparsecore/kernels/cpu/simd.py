"""Fixed-width float vectors for numba: the few operations that the link kernels are written in.

A vector is an LLVM ``<lanes x float>`` (or double). LLVM splits it over the registers that the CPU has, so the same
kernel source runs on AVX-512, AVX2, NEON and plain SSE. Memory is addressed by raw integers: the launcher keeps the
arrays alive, and no bounds are checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from sparsecore.kernels.cpu.memory import ELEMENTS, as_pointer

__all__ = [
    "GROUP",
    "add",
    "fma",
    "fold",
    "load",
    "mul",
    "relu",
    "splat",
    "store",
    "total",
    "totals",
    "transpose",
    "where_positive",
    "zero",
]

#: Vectors are summed in groups of this many, so that one store writes as many sums.
GROUP = 16


class Vector(types.Type):
    """Numba type of ``lanes`` floats of ``nbytes`` bytes each."""

    def __init__(self, lanes: int, nbytes: int) -> None:
        self.lanes, self.nbytes = lanes, nbytes
        self.element, self.llvm_element = ELEMENTS[nbytes]
        super().__init__(name=f"Vector({lanes}x{8 * nbytes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(vector.llvm_element, vector.lanes))


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    kind = ir.VectorType(scalar.type, lanes)
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), order)


def _vector(lanes: Any, nbytes: Any) -> Vector:
    return Vector(lanes.literal_value, nbytes.literal_value)


@intrinsic(prefer_literal=True)
def load(typingctx: Any, address: Any, lanes: Any, nbytes: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the vector that starts at `address`."""
    kind = _vector(lanes, nbytes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = as_pointer(builder, args[0], context.get_value_type(kind))
        return builder.load(pointer, align=kind.nbytes)

    return kind(types.int64, lanes, nbytes), codegen


@intrinsic
def store(typingctx: Any, address: Any, vector: Any) -> tuple[Any, Callable[..., Any]]:
    """Write `vector` to `address`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], as_pointer(builder, args[0], args[1].type), align=vector.nbytes)
        return context.get_dummy_value()

    return types.void(types.int64, vector), codegen


@intrinsic(prefer_literal=True)
def zero(typingctx: Any, lanes: Any, nbytes: Any) -> tuple[Any, Callable[..., Any]]:
    """Return a vector of zeros."""
    kind = _vector(lanes, nbytes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(kind), [0.0] * kind.lanes)

    return kind(lanes, nbytes), codegen


@intrinsic(prefer_literal=True)
def splat(typingctx: Any, scalar: Any, lanes: Any, nbytes: Any) -> tuple[Any, Callable[..., Any]]:
    """Return a vector that holds `scalar` in every lane."""
    kind = _vector(lanes, nbytes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0], kind.lanes)

    return kind(kind.element, lanes, nbytes), codegen


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> tuple[Any, Callable[..., Any]]:
    """Return ``a * b + c``, fused where the CPU can."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return a(a, b, c), codegen


@intrinsic
def add(typingctx: Any, a: Any, b: Any) -> tuple[Any, Callable[..., Any]]:
    """Return ``a + b``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(args[0], args[1])

    return a(a, b), codegen


@intrinsic
def mul(typingctx: Any, a: Any, b: Any) -> tuple[Any, Callable[..., Any]]:
    """Return ``a * b``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(args[0], args[1])

    return a(a, b), codegen


@intrinsic
def relu(typingctx: Any, a: Any) -> tuple[Any, Callable[..., Any]]:
    """Return ``max(a, 0)``; NaN stays NaN, as in torch."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nothing = ir.Constant(args[0].type, [0.0] * a.lanes)
        return builder.select(builder.fcmp_ordered("<", args[0], nothing), nothing, args[0])

    return a(a), codegen


@intrinsic
def where_positive(typingctx: Any, gate: Any, a: Any) -> tuple[Any, Callable[..., Any]]:
    """Return `a` where ``gate > 0`` and 0 elsewhere: the backward of relu."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nothing = ir.Constant(args[0].type, [0.0] * gate.lanes)
        return builder.select(builder.fcmp_unordered("<=", args[0], nothing), nothing, args[1])

    return a(gate, a), codegen


def _pick(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def _fold(builder: Any, vector: Any, lanes: int) -> Any:
    while lanes > GROUP:
        lanes //= 2
        low = _pick(builder, vector, vector, list(range(lanes)))
        high = _pick(builder, vector, vector, list(range(lanes, 2 * lanes)))
        vector = builder.fadd(low, high, flags=("contract",))
    return vector


@intrinsic
def fold(typingctx: Any, a: Any, b: Any) -> tuple[Any, Callable[..., Any]]:
    """Return ``a * b`` with its lanes added up into at most `GROUP` lanes."""
    kind = Vector(min(a.lanes, GROUP), a.nbytes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fold(builder, builder.fmul(args[0], args[1], flags=("contract",)), a.lanes)

    return kind(a, a), codegen


@intrinsic
def total(typingctx: Any, a: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the sum over lanes, added as a balanced tree."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = min(a.lanes, GROUP)
        vector = _fold(builder, args[0], a.lanes)
        name = f"llvm.vector.reduce.fadd.v{lanes}f{8 * a.nbytes}"
        kind = ir.FunctionType(a.llvm_element, [a.llvm_element, vector.type])
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(reduce, [ir.Constant(a.llvm_element, -0.0), vector], fastmath=("reassoc",))

    return a.element(a), codegen


@intrinsic(prefer_literal=True)
def totals(typingctx: Any, address: Any, nbytes: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the sums of the `GROUP` vectors stored at `address`, one sum per lane.

    A transposing tree: each level adds pairs of vectors and halves their number, so that a sum costs about three
    instructions where `total` costs nine.
    """
    kind = Vector(GROUP, nbytes.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        llvm_kind = context.get_value_type(kind)
        size = ir.Constant(ir.IntType(64), GROUP * kind.nbytes)
        at, vectors = args[0], []
        for _ in range(GROUP):
            vectors.append(builder.load(as_pointer(builder, at, llvm_kind), align=kind.nbytes))
            at = builder.add(at, size)
        span = 1
        while len(vectors) > 1:
            # Invariant: lane l of vector m holds a partial sum of input m + l % span * len(vectors).
            half = len(vectors) // 2
            even = [lane + GROUP * (lane // span % 2) for lane in range(GROUP)]
            odd = [(lane ^ span) + GROUP * (lane // span % 2) for lane in range(GROUP)]
            vectors = [
                builder.fadd(
                    _pick(builder, vectors[m], vectors[m + half], even),
                    _pick(builder, vectors[m], vectors[m + half], odd),
                )
                for m in range(half)
            ]
            span *= 2
        return _pick(builder, vectors[0], vectors[0], [_bit_reversed(lane) for lane in range(GROUP)])

    return kind(types.int64, nbytes), codegen


def _bit_reversed(lane: int) -> int:
    bits = GROUP.bit_length() - 1
    return int(f"{lane:0{bits}b}"[::-1], 2)


@intrinsic(prefer_literal=True)
def transpose(
    typingctx: Any, source: Any, source_step: Any, target: Any, target_step: Any, nbytes: Any
) -> tuple[Any, Callable[..., Any]]:
    """Write the transpose of the `GROUP` x `GROUP` floats at `source` to `target`; steps are bytes between rows."""
    kind = Vector(GROUP, nbytes.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> None:
        llvm_kind = context.get_value_type(kind)
        at, step, out, out_step, _ = args
        vectors = []
        for _ in range(GROUP):
            vectors.append(builder.load(as_pointer(builder, at, llvm_kind), align=kind.nbytes))
            at = builder.add(at, step)
        half = GROUP // 2
        low = [lane // 2 + GROUP * (lane % 2) for lane in range(GROUP)]
        high = [half + index for index in low]
        for _ in range(GROUP.bit_length() - 1):
            # Interleaving row m with row m + half, over and over, moves every bit of the row index into the lane index.
            pairs = [(vectors[m], vectors[m + half]) for m in range(half)]
            vectors = [_pick(builder, *pair, order) for pair in pairs for order in (low, high)]
        for vector in vectors:
            builder.store(vector, as_pointer(builder, out, llvm_kind), align=kind.nbytes)
            out = builder.add(out, out_step)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, nbytes), codegen
