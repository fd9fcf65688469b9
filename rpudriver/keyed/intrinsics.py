"""Single machine operations that Numba does not offer by name: what lets the compiler vectorise 32-bit words.

Numba widens 32-bit integers to 64 bits in shifts; these stay at 32, one vector lane each.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_WORD = ir.IntType(32)


@intrinsic
def leading_zeros(context, word):  # type: ignore[no-untyped-def]
    """Return the number of zero bits above the highest set bit of a uint32, as uint32; 32 for 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint32(types.uint32), build


@intrinsic
def push(context, queue, bits, count):  # type: ignore[no-untyped-def]
    """Return ``queue << count`` with the top `count` bits of `bits` shifted in; all uint32, count below 32."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.fshl", [_WORD], ir.FunctionType(_WORD, [_WORD] * 3))
        return builder.call(function, args)

    return types.uint32(types.uint32, types.uint32, types.uint32), build


@intrinsic
def shift_left(context, word, count):  # type: ignore[no-untyped-def]
    """Return ``word << count`` of uint32, count below 32."""
    return types.uint32(types.uint32, types.uint32), lambda context, builder, signature, args: builder.shl(*args)


@intrinsic
def float_of_bits(context, word):  # type: ignore[no-untyped-def]
    """Return the float32 that has the bits of an int32."""
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.FloatType()
    )


@intrinsic
def bits_of_float(context, value):  # type: ignore[no-untyped-def]
    """Return the bits of a float32 as int32."""
    return types.int32(types.float32), lambda context, builder, signature, args: builder.bitcast(args[0], _WORD)


@intrinsic
def prefer_wide_vectors(context):  # type: ignore[no-untyped-def]
    """Ask for 512-bit vectors in the calling function, where the processor has them; compilers shy away otherwise."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # llvmlite accepts known attributes only, through its own `add`; target-dependent ones are plain strings
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), build
