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
def square_root(context, value):  # type: ignore[no-untyped-def]
    """Return the square root of a float32 that is not negative: an operation, where a library's is a call."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [ir.FloatType()], kind), args)

    return types.float32(types.float32), build


@intrinsic
def choose(context, condition, a, b):  # type: ignore[no-untyped-def]
    """Return the float32 a where a condition holds, else b; never a branch, which `a if condition else b` may be."""
    return types.float32(
        types.boolean, types.float32, types.float32
    ), lambda context, builder, signature, args: builder.select(*args)


@intrinsic
def fetch_words(context, target, at, address, start, most, count):  # type: ignore[no-untyped-def]
    """Copy `count` words of 32 bits to ``target[at:]`` from the memory at ``address + 4 * start``, 0 up to `most`.

    Memory is named by its address, not as an array: Numba counts references of arrays whenever they change hands, and
    guards loops over two arrays by checks that they do not overlap. `most`, a constant, is a vector's length.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _vector_of(signature.args[0], signature.args[4])
        here = _place(context, builder, signature.args[0], args[0], args[1])
        there = _pointer(builder, here.type, args[2], args[3])
        pointer, mask = vector.as_pointer(), _below(builder, vector.count, args[5])
        kind = ir.FunctionType(vector, [pointer, _WORD, mask.type, vector])
        load = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.{_name_of(vector)}.p0")
        arguments = [builder.bitcast(there, pointer), _WORD(4), mask, ir.Constant(vector, None)]
        builder.store(builder.call(load, arguments), builder.bitcast(here, pointer), align=4)
        return context.get_dummy_value()

    return types.void(target, types.int64, types.uint64, types.int64, _constant(most), types.int64), build


@intrinsic
def put_words(context, address, start, source, at, most, count):  # type: ignore[no-untyped-def]
    """Copy `count` words of 32 bits, at most the constant `most`, from ``source[at:]`` to ``address + 4 * start``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _vector_of(signature.args[2], signature.args[4])
        here = _place(context, builder, signature.args[2], args[2], args[3])
        there = _pointer(builder, here.type, args[0], args[1])
        pointer, mask = vector.as_pointer(), _below(builder, vector.count, args[5])
        kind = ir.FunctionType(ir.VoidType(), [vector, pointer, _WORD, mask.type])
        store = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.{_name_of(vector)}.p0")
        value = builder.load(builder.bitcast(here, pointer), align=4)
        builder.call(store, [value, builder.bitcast(there, pointer), _WORD(4), mask])
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64, source, types.int64, _constant(most), types.int64), build


@intrinsic
def gather_words(context, target, at, address, indices, first, most, count):  # type: ignore[no-untyped-def]
    """Copy words of 32 bits to ``target[at:]`` from places of their own, ``address + 4 * indices[first:]``.

    As `fetch_words` does, `count` of them; indices are taken for int32.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _vector_of(signature.args[0], signature.args[5])
        here = _place(context, builder, signature.args[0], args[0], args[1])
        places = _places(context, builder, signature.args[3], args[2:5], vector)
        mask = _below(builder, vector.count, args[6])
        kind = ir.FunctionType(vector, [places.type, _WORD, mask.type, vector])
        name = f"llvm.masked.gather.{_name_of(vector)}.v{vector.count}p0"
        gather = cgutils.get_or_insert_function(builder.module, kind, name)
        value = builder.call(gather, [places, _WORD(4), mask, ir.Constant(vector, None)])
        builder.store(value, builder.bitcast(here, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(target, types.int64, types.uint64, indices, types.int64, _constant(most), types.int64), build


@intrinsic
def scatter_words(context, address, indices, first, source, at, most, count):  # type: ignore[no-untyped-def]
    """Copy words of 32 bits from ``source[at:]`` to places of their own, as `gather_words` finds them."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _vector_of(signature.args[3], signature.args[5])
        here = _place(context, builder, signature.args[3], args[3], args[4])
        places = _places(context, builder, signature.args[1], args[:3], vector)
        mask = _below(builder, vector.count, args[6])
        kind = ir.FunctionType(ir.VoidType(), [vector, places.type, _WORD, mask.type])
        name = f"llvm.masked.scatter.{_name_of(vector)}.v{vector.count}p0"
        value = builder.load(builder.bitcast(here, vector.as_pointer()), align=4)
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [value, places, _WORD(4), mask])
        return context.get_dummy_value()

    return types.void(types.uint64, indices, types.int64, source, types.int64, _constant(most), types.int64), build


@intrinsic
def copy_words(context, target, at, source, start, count):  # type: ignore[no-untyped-def]
    """Copy `count`, a constant, words of an array to another one that does not overlap, in one operation."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _vector_of(signature.args[0], signature.args[4]).as_pointer()
        here = builder.bitcast(_place(context, builder, signature.args[0], args[0], args[1]), pointer)
        there = builder.bitcast(_place(context, builder, signature.args[2], args[2], args[3]), pointer)
        builder.store(builder.load(there, align=4), here, align=4)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, _constant(count)), build


@intrinsic
def fill_words(context, target, at, word, count):  # type: ignore[no-untyped-def]
    """Set `count`, a constant, words of an array, in one operation."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = _vector_of(signature.args[0], signature.args[3])
        here = _place(context, builder, signature.args[0], args[0], args[1])
        builder.store(_everywhere(builder, args[2], vector), builder.bitcast(here, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(target, types.int64, types.uint32, _constant(count)), build


@intrinsic
def any_of(context, words, at, count):  # type: ignore[no-untyped-def]
    """Return the OR of `count`, a constant, words of an array from `at` on."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_WORD, signature.args[2].literal_value)
        here = _place(context, builder, signature.args[0], args[0], args[1])
        kind = ir.FunctionType(_WORD, [vector])
        name = f"llvm.vector.reduce.or.v{vector.count}i32"
        value = builder.load(builder.bitcast(here, vector.as_pointer()), align=4)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [value])

    return types.uint32(words, types.int64, _constant(count)), build


def _constant(number: Any) -> Any:
    if not isinstance(number, types.IntegerLiteral):
        raise errors.RequireLiteralValue("a length")
    return number


def _vector_of(array: Any, length: Any) -> Any:
    kind = ir.FloatType() if array.dtype == types.float32 else _WORD
    return ir.VectorType(kind, length.literal_value)


def _name_of(vector: Any) -> str:
    return f"v{vector.count}{'f' if isinstance(vector.element, ir.FloatType) else 'i'}32"


def _below(builder: Any, length: int, count: Any) -> Any:
    """Return the mask of the first `count` elements of a vector."""
    kind = ir.VectorType(_WORD, length)
    everywhere = _everywhere(builder, builder.trunc(count, _WORD), kind)
    return builder.icmp_signed("<", ir.Constant(kind, list(range(length))), everywhere)


def _everywhere(builder: Any, word: Any, vector: Any) -> Any:
    """Return a vector of one word."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), word, _WORD(0))
    lanes = ir.Constant(ir.VectorType(_WORD, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def _places(context: Any, builder: Any, kind: Any, args: Any, vector: Any) -> Any:
    """Return the vector of pointers to ``address + 4 * indices[first:]``."""
    address, indices, first = args
    words = ir.VectorType(_WORD, vector.count)
    where = builder.bitcast(_place(context, builder, kind, indices, first), words.as_pointer())
    offsets = builder.load(where, align=4)
    start = builder.inttoptr(address, vector.element.as_pointer())
    pointers = builder.gep(start, [offsets], source_etype=vector.element)
    pointers.type = ir.VectorType(start.type, vector.count)  # llvmlite knows of single ones only
    return pointers


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


def caller_of(kinds: tuple[Any, ...]) -> Any:
    """Return a function that calls another compiled one by its address, with a tuple of arguments of these types.

    That one returns nothing and raises nothing. The types are checked: machine code does not know what it gets.
    """

    @intrinsic
    def call_at(context, address, arguments):  # type: ignore[no-untyped-def]
        given = tuple(types.unliteral(kind) for kind in arguments.types)
        if given != kinds:
            raise errors.TypingError(f"a compiled function takes {kinds}; got {given}")

        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            form = context.call_conv.get_function_type(types.none, kinds)
            function = builder.inttoptr(args[0], form.as_pointer())
            context.call_conv.call_function(
                builder, function, types.none, kinds, cgutils.unpack_tuple(builder, args[1])
            )
            return context.get_dummy_value()

        return types.void(types.uint64, arguments), build

    return call_at


@intrinsic
def prefetch(context, address, index):  # type: ignore[no-untyped-def]
    """Have the line of cache with ``address + 4 * index`` fetched; nothing waits for it."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(builder, _WORD.as_pointer(), *args)
        kind = ir.FunctionType(ir.VoidType(), [place.type, _WORD, _WORD, _WORD])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, _WORD(0), _WORD(3), _WORD(1)])  # to be read, kept near, data
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64), build


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


@intrinsic
def address_of(context, pointer):  # type: ignore[no-untyped-def]
    """Return the address of what a pointer points to, as uint64."""
    return types.uint64(pointer), lambda context, builder, signature, args: builder.ptrtoint(args[0], ir.IntType(64))


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


@intrinsic
def floats_at(context, address):  # type: ignore[no-untyped-def]
    """Return the pointer to float32 of an address."""
    pointer = types.CPointer(types.float32)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.uint64), build


@intrinsic
def borrowed(context, array):  # type: ignore[no-untyped-def]
    """Return an array that somebody else keeps alive: an argument, say, whose caller has it until the call returns.

    Every slice of an array counts as an owner of its memory, in an atomic operation that costs as much as ten lines
    of a loop. Slices of a borrowed one do not.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        struct = cgutils.create_struct_proxy(array)(context, builder, value=args[0])
        struct.meminfo = cgutils.get_null_value(struct.meminfo.type)
        struct.parent = cgutils.get_null_value(struct.parent.type)
        return struct._getvalue()

    return array(array), build
