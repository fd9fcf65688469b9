"""Steps as the bytes of ``docs/protocol.md``: compiled, for every update and every read goes through here.

A step becomes pieces: whole operations, each small and short enough for a frame. `batches` puts pieces together.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.operations import Rectangle
from rpudriver.errors import LimitError
from rpudriver.keyed import native
from rpudriver.trains import TrainSource, thresholds
from rpudriver.types import PulseTrains

_U8, _U64 = np.uint8, np.uint64
_PULSE_SIZE = wire.OPERATION.size + wire.PULSE_HEAD.size
_READ_SIZE = wire.OPERATION.size + wire.READ_HEAD.size
LARGEST_FIELD = 65535  # of 16 bits
MOST_OPERATIONS = 255  # in a frame


class Room(NamedTuple):
    """What one frame may hold: bytes of operations, bytes of records, and how long it may take."""

    request: int
    reply: int
    ns: int


class Piece(NamedTuple):
    """A whole operation, the size of its record and how long it takes."""

    data: bytes
    reply: int
    ns: int


class Timing(NamedTuple):
    """Number of a kind of pulse, how long one slot of it takes, and whether each device has slots for itself."""

    kind: int
    slot_ns: int
    apart: bool = False


@native.compiled
def _put_bits(out, at, words, lines, count):  # type: ignore[no-untyped-def]
    """Append the first `count` bits of each line, without gaps; return the place after the last whole byte."""
    store, filled = _U64(0), 0
    for k in range(len(lines)):
        left, word = count, 0
        while left > 0:
            taken = min(left, 32)
            store |= _U64(words[lines[k], word]) << _U64(filled)
            filled += taken
            while filled >= 8:
                out[at] = _U8(store & _U64(255))
                store >>= _U64(8)
                filled -= 8
                at += 1
            left, word = left - taken, word + 1
    if filled > 0:
        out[at] = _U8(store & _U64(255))
        at += 1
    return at


@native.compiled
def _put_flags(out, at, flags, count):  # type: ignore[no-untyped-def]
    """Append `count` flags as bits, whole bytes."""
    for k in range(0, count, 8):
        byte = 0
        for bit in range(min(8, count - k)):
            byte |= int(flags[k + bit]) << bit
        out[at] = _U8(byte)
        at += 1
    return at


@native.compiled
def _put_side(out, at, words, negative, bl, fires, signs, lines):  # type: ignore[no-untyped-def]
    """Append one side of a sample; return the place after it and whether lines of either sign fire."""
    count, used = 0, (bl + 31) // 32
    plus = minus = False
    for line in range(len(words)):
        busy = False
        for word in range(used):
            busy |= words[line, word] != 0
        fires[line] = busy
        if busy:
            lines[count], signs[count] = line, negative[line]
            plus, minus = plus | (not negative[line]), minus | negative[line]
            count += 1
    at = _put_flags(out, at, fires, len(words))
    at = _put_flags(out, at, signs, count)
    return _put_bits(out, at, words, lines[:count], bl), plus, minus


@native.compiled
def _cross_points(x_words, d_words):  # type: ignore[no-untyped-def]
    """Return how many pulses devices get from a sample, all devices together."""
    count = 0
    for i in range(len(d_words)):
        for word in range(d_words.shape[1]):
            row = d_words[i, word]
            if row != 0:
                for j in range(len(x_words)):
                    count += native.popcount(np.uint32(row & x_words[j, word]))
    return count


@native.compiled
def _put_samples(out, at, room, arrays, first, most_slots, apart):  # type: ignore[no-untyped-def]
    """Append samples from `first` on while they fit; return the place after them, the next sample and the slots.

    Slots are those of all phases, or one for each pulse of a device where each has its own. A sample is appended where
    its largest possible size fits, so that nothing has to be taken back.
    """
    x_words, d_words, x_negative, d_negative, bl = arrays
    columns, rows = x_words.shape[1], d_words.shape[1]
    longest = max(columns, rows)
    fires, signs, lines = np.empty(longest, np.bool_), np.empty(longest, np.bool_), np.empty(longest, np.int64)
    slots, b = 0, first
    while b < len(bl):
        length = bl[b]
        largest = (
            2 + 2 * ((columns + 7) // 8 + (rows + 7) // 8) + (columns * length + 7) // 8 + (rows * length + 7) // 8
        )
        points = _cross_points(x_words[b], d_words[b]) if apart else 4 * length
        if at + largest > room or (slots + points > most_slots and b > first):
            break
        out[at], out[at + 1] = _U8(length & 255), _U8(length >> 8)
        at += 2
        if length > 0:
            at, x_plus, x_minus = _put_side(out, at, x_words[b], x_negative[b], length, fires, signs, lines)
            at, d_plus, d_minus = _put_side(out, at, d_words[b], d_negative[b], length, fires, signs, lines)
            phases = (np.int64(x_plus) + np.int64(x_minus)) * (np.int64(d_plus) + np.int64(d_minus))
            slots += points if apart else length * phases
        b += 1
    return at, b, slots


def pulse_pieces(
    where: Rectangle, timing: Timing, trains: PulseTrains, repeat: int, flip: bool, room: Room
) -> list[Piece]:
    """Return a `Pulse` on one rectangle, cut where a frame is full or would take too long.

    Raises
    ------
    LimitError
        If a single sample is too large or too long for a frame.
    """
    most = room.ns // timing.slot_ns
    once = _passes(where, timing, trains, flip, room, most)
    if repeat == 1 or not once:
        return once
    if len(once) > 1 or once[0].ns == 0:
        return once * repeat
    samples = wire.PULSE_HEAD.unpack_from(once[0].data, wire.OPERATION.size)[6]
    at_once = min(repeat, room.ns // once[0].ns, LARGEST_FIELD // samples)
    counts = [at_once] * (repeat // at_once) + ([repeat % at_once] if repeat % at_once else [])
    return [_repeated(once[0], count) for count in counts]


def _passes(where: Rectangle, timing: Timing, trains: PulseTrains, flip: bool, room: Room, most: int) -> list[Piece]:
    """Return the pieces of trains applied once."""
    out, arrays, first, found = np.empty(room.request, _U8), trains.arrays, 0, []
    limit = min(room.request, wire.OPERATION.size + LARGEST_FIELD)
    while first < len(trains):
        stop, after, slots = _put_samples(out, _PULSE_SIZE, limit, arrays, first, most, timing.apart)
        if after == first or slots > most:
            raise LimitError(
                f"a sample of BL {int(trains.bl[first])} on {where.rows} x {where.columns} devices fits no frame "
                f"of {room.request} bytes and {room.ns * 1e-9:g} s of this board; draw shorter trains"
            )
        wire.OPERATION.pack_into(out.data, 0, wire.PULSE, wire.FLIP if flip else 0, stop - wire.OPERATION.size)
        _put_pulse_head(out.data, where, timing.kind, after - first, 1)
        found.append(Piece(out[:stop].tobytes(), 1, slots * timing.slot_ns))
        first = after
    return found


def _put_pulse_head(out: Any, where: Rectangle, kind: int, samples: int, repeat: int) -> None:
    lines = where.row, where.rows, where.column, where.columns
    wire.PULSE_HEAD.pack_into(out, wire.OPERATION.size, where.array, kind, *lines, samples, repeat)


def _repeated(piece: Piece, count: int) -> Piece:
    """Return a pulse operation that is done `count` times."""
    data = bytearray(piece.data)
    data[_PULSE_SIZE - 2 : _PULSE_SIZE] = count.to_bytes(2, "little")
    return Piece(bytes(data), piece.reply, piece.ns * count)


class Drawn(NamedTuple):
    """Trains that the board draws itself: what they are drawn from, and the thresholds of each line.

    Attributes
    ----------
    seed, x_stream, d_stream, first : as in the operation.
    x, d : uint64 arrays ``[B, n_in]`` and ``[B, n_out]``, thresholds up to 2^32; 0 where a line never fires.
    x_negative, d_negative : bool arrays of the same shapes.
    bl : int64 array ``[B]``.
    """

    seed: int
    x_stream: int
    d_stream: int
    first: int
    x: npt.NDArray[np.uint64]
    d: npt.NDArray[np.uint64]
    x_negative: npt.NDArray[np.bool_]
    d_negative: npt.NDArray[np.bool_]
    bl: npt.NDArray[np.int64]


def describe(
    x: torch.Tensor, d: torch.Tensor, source: TrainSource, first: int, options: tuple[float, float, int, bool, bool]
) -> Drawn:
    """Return what `draw_trains` would draw, as thresholds; `options` are those of `rpudriver.trains.thresholds`."""
    x_thresholds, d_thresholds, bl = thresholds(x, d, options)
    x_stream, d_stream = source.streams
    x_negative, d_negative = ((values < 0).numpy() for values in (x, d))
    streams = int(x_stream), int(d_stream)
    return Drawn(source.seed, *streams, first, x_thresholds, d_thresholds, x_negative, d_negative, bl)


def drawn_pieces(where: Rectangle, timing: Timing, drawn: Drawn, flip: bool, room: Room) -> list[Piece]:
    """Return the pulses of trains that the board draws: four bytes for each line that fires, whatever the BL."""
    head = wire.DRAWN_HEAD.size
    limit = min(room.request, wire.OPERATION.size + LARGEST_FIELD)
    found: list[Piece] = []
    first, samples, size, ns = 0, list[bytes](), _PULSE_SIZE + head, 0

    def finish(stop: int) -> None:
        out = bytearray(_PULSE_SIZE)
        wire.OPERATION.pack_into(
            out, 0, wire.PULSE, wire.DRAWN | (wire.FLIP if flip else 0), size - wire.OPERATION.size
        )
        _put_pulse_head(out, where, timing.kind, stop - first, 1)
        source = wire.DRAWN_HEAD.pack(drawn.seed, drawn.x_stream, drawn.d_stream, drawn.first + first)
        found.append(Piece(bytes(out) + source + b"".join(samples), 1, ns))

    for b in range(len(drawn.bl)):
        data, slots = _drawn_sample(drawn, b)
        time = slots * timing.slot_ns
        if samples and (size + len(data) > limit or ns + time > room.ns):
            finish(b)
            first, samples, size, ns = b, [], _PULSE_SIZE + head, 0
        if size + len(data) > limit or time > room.ns:
            raise LimitError(f"a sample of BL {drawn.bl[b]} does not fit a frame of this board; draw shorter trains")
        samples.append(data)
        size, ns = size + len(data), ns + time
    if samples:
        finish(len(drawn.bl))
    return found


def _drawn_sample(drawn: Drawn, b: int) -> tuple[bytes, int]:
    """Return the bytes of a sample and the slots of its phases, of which some may turn out empty."""
    bl = int(drawn.bl[b])
    if not bl:
        return b"\0\0", 0
    parts, phases = [bl.to_bytes(2, "little")], 1
    for limits, negative in ((drawn.x[b], drawn.x_negative[b]), (drawn.d[b], drawn.d_negative[b])):
        fires = limits > 0
        signs = negative[fires]
        parts += [np.packbits(flags, bitorder="little").tobytes() for flags in (fires, signs)]
        parts.append((limits[fires] - _U64(1)).astype("<u4").tobytes())
        phases *= int(signs.any()) + int((~signs).any())
    return b"".join(parts), bl * phases


class CodeForm(NamedTuple):
    """How an input code is written, the largest one, and how long reading one vector takes."""

    dtype: np.dtype[Any]
    largest: int
    vector_ns: int

    @classmethod
    def of(cls, input_bits: int, read_us: int) -> "CodeForm":
        """Return the form of a board: codes of up to 8 bits are bytes."""
        return cls(np.dtype("<i1" if input_bits <= 8 else "<i2"), 2 ** (input_bits - 1) - 1, 1000 * read_us)


def read_pieces(
    where: Rectangle,
    second: Rectangle | None,
    scale: int,
    transposed: bool,
    codes: wire.Codes,
    form: "CodeForm",
    room: Room,
) -> list[Piece]:
    """Return a `Read` of one rectangle, or of the difference of two.

    Parameters
    ----------
    scale : range of the output converter.
    codes : int16 array ``[vectors, inputs]``.
    """
    outputs = where.columns if transposed else where.rows
    inputs = codes.shape[1]
    one_hot = inputs > 4 and not (np.count_nonzero(codes, axis=1) > 1).any()
    each = 4 if one_hot else inputs * form.dtype.itemsize
    second_head = b"" if second is None else wire.SECOND_HEAD.pack(second.array, second.row, second.column)
    fixed = _READ_SIZE + len(second_head)
    request = min(room.request, wire.OPERATION.size + LARGEST_FIELD)
    at_once = min(
        (request - fixed) // each, (room.reply - 1) // (2 * outputs), room.ns // form.vector_ns, LARGEST_FIELD
    )
    if at_once < 1:
        raise LimitError(f"a vector of {inputs} inputs and {outputs} outputs does not fit a frame of this board")
    flags = (wire.TRANSPOSED if transposed else 0) | (wire.DIFFERENTIAL if second is not None else 0)
    flags |= wire.ONE_HOT if one_hot else 0
    found = []
    for start in range(0, len(codes), at_once):
        block = codes[start : start + at_once]
        body = _one_hot(block) if one_hot else block.astype(form.dtype).tobytes()
        head = wire.READ_HEAD.pack(where.array, scale, where.row, where.rows, where.column, where.columns, len(block))
        data = b"".join((head, second_head, body))
        whole = wire.OPERATION.pack(wire.READ, flags, len(data)) + data
        found.append(Piece(whole, 1 + 2 * outputs * len(block), len(block) * form.vector_ns))
    return found


def _one_hot(codes: wire.Codes) -> bytes:
    pairs = np.empty((len(codes), 2), "<i2")
    pairs[:, 0] = np.abs(codes).argmax(1)
    pairs[:, 1] = codes[np.arange(len(codes)), pairs[:, 0]]
    return pairs.tobytes()


def wait_pieces(seconds: float, room: Room) -> list[Piece]:
    """Return a `Wait`, in parts that are short enough."""
    us, most = round(seconds * 1e6), max(1, room.ns // 1000)
    parts = [most] * (us // most) + ([us % most] if us % most else [])
    return [Piece(wire.OPERATION.pack(wire.WAIT, 0, 4) + wire.WAIT_BODY.pack(part), 1, 1000 * part) for part in parts]


def batches(pieces: Sequence[Piece], room: Room) -> Iterable[Sequence[Piece]]:
    """Put as many pieces into each batch as a frame holds, in order."""
    start, request, reply, ns = 0, 0, 0, 0
    for n, piece in enumerate(pieces):
        full = request + len(piece.data) > room.request or reply + piece.reply > room.reply or ns + piece.ns > room.ns
        full |= n - start == MOST_OPERATIONS
        if full and n > start:
            yield pieces[start:n]
            start, request, reply, ns = n, 0, 0, 0
        request, reply, ns = request + len(piece.data), reply + piece.reply, ns + piece.ns
    if start < len(pieces):
        yield pieces[start:]
