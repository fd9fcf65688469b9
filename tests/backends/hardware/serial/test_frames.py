"""Frames: stuffing, CRC, and a stream cut at its zeros."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpudriver.backends.hardware.serial import cobs, frames
from rpudriver.backends.hardware.serial.frames import ANSWER, Frame, Op, Splitter
from tests.backends.hardware.board_model import stuff, unstuff

KNOWN = [  # of Cheshire and Baker, and of the corners: 253 to 255 bytes without a zero
    (b"", b"\1"),
    (b"\0", b"\1\1"),
    (b"\0\0", b"\1\1\1"),
    (b"\x11\x22\0\x33", b"\3\x11\x22\2\x33"),
    (b"\x11\0\0\0", b"\2\x11\1\1\1"),
    (b"a" * 253, b"\xfe" + b"a" * 253),
    (b"a" * 254, b"\xff" + b"a" * 254),
    (b"a" * 255, b"\xff" + b"a" * 254 + b"\2a"),
    (b"a" * 254 + b"\0", b"\xff" + b"a" * 254 + b"\1\1"),
]
BYTES = st.lists(st.sampled_from([b"\0", b"\1", b"\xff", b"a" * 253, b"b" * 254, b"c" * 300]), max_size=12).map(
    b"".join
)


@pytest.mark.parametrize(("plain", "stuffed"), KNOWN)
def test_known_encodings(plain: bytes, stuffed: bytes) -> None:
    assert cobs.encode(plain) == stuffed
    assert cobs.decode(stuffed) == plain


def test_a_full_block_at_the_end_may_be_followed_by_an_empty_one() -> None:
    assert cobs.decode(b"\xff" + b"a" * 254 + b"\1") == b"a" * 254


@given(BYTES | st.binary(max_size=600))
def test_stuffing_has_no_zero_costs_little_and_comes_back(data: bytes) -> None:
    stuffed = cobs.encode(data)
    assert 0 not in stuffed
    assert len(stuffed) <= len(data) + len(data) // 254 + 1
    assert cobs.decode(stuffed) == data
    assert stuffed == stuff(data)


@given(st.binary(max_size=300))
def test_whatever_comes_is_taken_apart_or_refused(data: bytes) -> None:
    assert cobs.decode(data) == unstuff(data)
    frames.unpack(data)


@given(st.builds(Frame, *[st.integers(0, 255), *[st.integers(0, 2**32 - 1)] * 2, st.binary(max_size=300)]))
def test_a_frame_comes_back(frame: Frame) -> None:
    assert frames.unpack(frame.pack()[:-1]) == frame
    assert frame.crc() == zlib.crc32(frame.body())


@given(st.data())
def test_no_damaged_frame_is_taken_for_one(data: st.DataObject) -> None:
    packed = bytearray(Frame(Op.RUN, 7, 9, data.draw(st.binary(max_size=80))).pack())
    for at in data.draw(st.sets(st.integers(0, 8 * len(packed) - 9), min_size=1, max_size=3)):
        packed[at // 8] ^= 1 << at % 8
    assert all(frames.unpack(piece) is None for piece in bytes(packed).split(b"\0"))


@given(st.lists(BYTES, max_size=6), st.data())
def test_a_stream_is_cut_at_its_zeros_however_it_arrives(pieces: list[bytes], data: st.DataObject) -> None:
    stream, splitter, found = b"\0".join(pieces) + b"tail", Splitter(), []
    while stream:
        count = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:count])
        stream = stream[count:]
    expected = [piece for piece in (b"\0".join(pieces) + b"tail").split(b"\0") if piece]
    assert [*found, splitter.rest] == expected


def test_a_reply_is_known_by_op_session_and_number() -> None:
    request = Frame(Op.RUN, 1, 2, b"x")
    assert Frame(Op.RUN, 1, 2, b"y", ANSWER).answers(request)
    for other in (Frame(Op.ARM, 1, 2), Frame(Op.RUN, 2, 2), Frame(Op.RUN, 1, 3)):
        assert not Frame(other.op, other.session, other.seq, b"", ANSWER).answers(request)
    assert not request.answers(request)
