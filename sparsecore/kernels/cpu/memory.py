"""What compiled code may do with raw addresses: read and write numbers, take stack memory, count, call functions.

Memory is addressed by integers: the launcher keeps the arrays alive, and no bounds are checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

__all__ = [
    "ELEMENTS",
    "as_pointer",
    "entry",
    "fetch_add",
    "invoke",
    "load_acquire",
    "load_i32",
    "load_i64",
    "load_index",
    "load_scalar",
    "stack",
    "store_i64",
    "store_scalar",
]

#: Numba type and LLVM type of a float by its bytes.
ELEMENTS: dict[int, tuple[Any, Any]] = {4: (types.float32, ir.FloatType()), 8: (types.float64, ir.DoubleType())}

_I64 = ir.IntType(64)
_LINE = 64


def as_pointer(builder: Any, address: Any, target: Any) -> Any:
    """Return `address` as a pointer to LLVM type `target`."""
    return builder.inttoptr(address, target.as_pointer())


@intrinsic(prefer_literal=True)
def load_scalar(typingctx: Any, address: Any, nbytes: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the float of `nbytes` bytes at `address`."""
    element, llvm_element = ELEMENTS[nbytes.literal_value]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(as_pointer(builder, args[0], llvm_element))

    return element(types.int64, nbytes), codegen


@intrinsic
def store_scalar(typingctx: Any, address: Any, scalar: Any) -> tuple[Any, Callable[..., Any]]:
    """Write the float `scalar` to `address`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], as_pointer(builder, args[0], args[1].type))
        return context.get_dummy_value()

    return types.void(types.int64, scalar), codegen


@intrinsic
def store_i64(typingctx: Any, address: Any, number: Any) -> tuple[Any, Callable[..., Any]]:
    """Write the int64 `number` to `address`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], as_pointer(builder, args[0], _I64))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


def _load_integer(bits: int) -> Any:
    def typed(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            number = builder.load(as_pointer(builder, args[0], ir.IntType(bits)))
            return number if bits == 64 else builder.sext(number, ir.IntType(64))

        return types.int64(types.int64), codegen

    return typed


@intrinsic
def load_i32(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the int32 at `address` as int64."""
    signature: tuple[Any, Callable[..., Any]] = _load_integer(32)(typingctx, address)
    return signature


@intrinsic
def load_i64(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the int64 at `address`."""
    signature: tuple[Any, Callable[..., Any]] = _load_integer(64)(typingctx, address)
    return signature


@intrinsic(prefer_literal=True)
def load_index(typingctx: Any, address: Any, nbytes: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the non-negative integer of `nbytes` bytes (2, 4 or 8) at `address` as int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = builder.load(as_pointer(builder, args[0], ir.IntType(8 * nbytes.literal_value)))
        return number if nbytes.literal_value == 8 else builder.zext(number, ir.IntType(64))

    return types.int64(types.int64, nbytes), codegen


@intrinsic
def entry(typingctx: Any, table: Any, index: Any) -> tuple[Any, Callable[..., Any]]:
    """Return number `index` of the int64 array at address `table`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = builder.add(args[0], builder.mul(args[1], ir.Constant(_I64, 8)))
        return builder.load(as_pointer(builder, at, _I64))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def fetch_add(typingctx: Any, address: Any, n: Any) -> tuple[Any, Callable[..., Any]]:
    """Add `n` to the int64 at `address` and return what it held before, as one indivisible act."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", as_pointer(builder, args[0], _I64), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def load_acquire(typingctx: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the int64 at `address`; whatever its writer wrote before is seen from here on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(as_pointer(builder, args[0], _I64), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def invoke(typingctx: Any, function: Any, a: Any, b: Any, c: Any, d: Any) -> tuple[Any, Callable[..., Any]]:
    """Call the C function ``void (int64, int64, int64, int64)`` at address `function`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.call(as_pointer(builder, args[0], ir.FunctionType(ir.VoidType(), [_I64] * 4)), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic(prefer_literal=True)
def stack(typingctx: Any, nbytes: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the address of `nbytes` bytes that live as long as the calling function; it starts on a cache line."""
    size = nbytes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(ir.IntType(8), size))
        room.align = _LINE
        return builder.ptrtoint(room, _I64)

    return types.int64(nbytes), codegen
