"""Single machine operations that Numba does not offer by name: what lets the compiler vectorise 32-bit words.

Numba widens 32-bit integers to 64 bits in shifts; these stay at 32, one vector lane each.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import extending
from numba.core import cgutils as untyped_cgutils
from numba.core import errors
from numba.core import types as untyped_types

intrinsic: Any = extending.intrinsic  # its declared type would have callers pass the typing context
cgutils: Any = untyped_cgutils
types: Any = untyped_types
_WORD = ir.IntType(32)


@intrinsic
def leading_zeros(context, word):  # type: ignore[no-untyped-def]
    """Return the number of zero bits above the highest set bit of a uint32, as uint32; 32 for 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint32(types.uint32), build


@intrinsic
def trailing_zeros(context, word):  # type: ignore[no-untyped-def]
    """Return the number of zero bits below the lowest set bit of a uint32, as uint32; 32 for 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

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
def fma(context, a, b, c):  # type: ignore[no-untyped-def]
    """Return ``a * b + c`` of float32, rounded once."""
    return types.float32(
        types.float32, types.float32, types.float32
    ), lambda context, builder, signature, args: builder.fma(*args)


@intrinsic
def fetch_words(context, target, at, address, start, count):  # type: ignore[no-untyped-def]
    """Copy `count` words of 32 bits to ``target[at:]`` from the memory at ``address + 4 * start``.

    Memory is named by its address, not as an array: Numba counts references of arrays whenever they change hands, and
    guards loops over two arrays by checks that they do not overlap.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        here = _place(context, builder, signature.args[0], args[0], args[1])
        cgutils.raw_memcpy(builder, here, _pointer(builder, here.type, args[2], args[3]), args[4], 4)
        return context.get_dummy_value()

    return types.void(target, types.int64, types.uint64, types.int64, types.int64), build


@intrinsic
def put_words(context, address, start, source, at, count):  # type: ignore[no-untyped-def]
    """Copy `count` words of 32 bits from ``source[at:]`` to the memory at ``address + 4 * start``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        here = _place(context, builder, signature.args[2], args[2], args[3])
        cgutils.raw_memcpy(builder, _pointer(builder, here.type, args[0], args[1]), here, args[4], 4)
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64, source, types.int64, types.int64), build


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _pointer(builder: Any, kind: Any, address: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(address, kind), [index])


def _memory(kind: Any, machine_kind: Any) -> tuple[Any, Any]:
    """Return the functions that read and write one value at ``address + 4 * index``."""

    @intrinsic
    def load(context, address, index):  # type: ignore[no-untyped-def]
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(_pointer(builder, machine_kind.as_pointer(), *args))

        return kind(types.uint64, types.int64), build

    @intrinsic
    def store(context, address, index, value):  # type: ignore[no-untyped-def]
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], _pointer(builder, machine_kind.as_pointer(), *args[:2]))
            return context.get_dummy_value()

        return types.void(types.uint64, types.int64, kind), build

    return load, store


load_float, store_float = _memory(types.float32, ir.FloatType())
load_word, store_word = _memory(types.uint32, _WORD)


def _on_the_stack(kind: Any, machine_kind: Any) -> Any:
    """Return a function that reserves memory in the frame of its caller, on a line of cache, as a pointer."""

    @intrinsic
    def reserve(context, count):  # type: ignore[no-untyped-def]
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            block = ir.ArrayType(machine_kind, signature.args[0].literal_value)
            with builder.goto_entry_block():
                memory = builder.alloca(block)
            memory.align = 64
            return builder.bitcast(memory, machine_kind.as_pointer())

        if not isinstance(count, types.IntegerLiteral):
            raise errors.RequireLiteralValue("count")
        return types.CPointer(kind)(count), build

    return reserve


floats_on_the_stack = _on_the_stack(types.float32, ir.FloatType())
words_on_the_stack = _on_the_stack(types.uint32, _WORD)


@intrinsic
def prefer_wide_vectors(context):  # type: ignore[no-untyped-def]
    """Ask for 512-bit vectors in the calling function, where the processor has them; compilers shy away otherwise."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # llvmlite accepts known attributes only, through its own `add`; target-dependent ones are plain strings
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), build
