"""Malformed and hostile frames under the address and undefined-behaviour sanitizers: no crash, no output moved."""

import struct
from collections.abc import Callable

import numpy as np
import pytest

from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware.boards import BOOT, StreamBoard
from tests.backends.hardware.firmware.seeds import seeds
from tests.backends.hardware.firmware.wire import ARM, HELLO, IDLE, OK, RUN, frame

Stream = Callable[[bytes], StreamBoard]
GOOD_RUN = p.pulse(p.one(5), rows=1, columns=1) + p.read(bytes(64), columns=64, rows=3) + p.wait(2)
LARGEST = 32768


def damaged(random: np.random.Generator, data: bytes) -> bytes:
    """Return bytes with one to four of them changed, cut out, doubled or put in."""
    out = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        at, way = int(random.integers(0, max(1, len(out)))), int(random.integers(0, 4))
        piece = random.bytes(int(random.integers(1, 9)))
        if way == 0 and out:
            out[at] ^= 1 << int(random.integers(0, 8))
        elif way == 1:
            del out[at : at + len(piece)]
        elif way == 2:
            out[at:at] = out[at : at + 32]
        else:
            out[at:at] = piece
    return bytes(out)


def hostile(random: np.random.Generator) -> bytes:
    """Return what a board that is not armed must survive: noise, damage, wrong lengths, frames of a stranger."""
    way = int(random.integers(0, 8))
    op, seq = int(random.integers(0, 256)), int(random.integers(0, 3))
    if way == 0:
        return random.bytes(int(random.integers(1, 600))) + b"\0"
    if way == 1:
        return damaged(random, frame(RUN, GOOD_RUN, BOOT, seq))
    if way == 2:
        return frame(RUN, damaged(random, GOOD_RUN), BOOT, seq)
    if way == 3:
        return frame(ARM, damaged(random, p.Arm().pack()), BOOT + int(random.integers(1, 9)), seq)
    if way == 4:
        return frame(op if op != IDLE else HELLO, random.bytes(int(random.integers(0, 300))), BOOT, seq)
    if way == 5:
        return frame(RUN, GOOD_RUN, int(random.integers(0, 2**32)), seq, int(random.integers(0, 256)))
    if way == 6:
        return bytes([int(random.integers(1, 256))]) * int(random.integers(1, 700)) + b"\0"
    return frame(RUN, struct.pack("<BBH", 0x10, 0, int(random.integers(0, 65536))) + GOOD_RUN[4:], BOOT, seq)


def no_arm(data: bytes) -> bool:
    """Return whether no ARM that a board could take is in it, be it by chance."""
    return p.Arm().pack() not in data


def attack(stream: Stream, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    data = b"".join(filter(no_arm, (hostile(random) for _ in range(count))))
    told = stream(data + b"\0" + frame(HELLO, bytes(8)))
    assert told.replies[-1].status == OK
    assert told.replies[-1].payload[6:8] == b"\0\4", "still idle since the start"
    assert int.from_bytes(told.replies[-1].payload[100:108], "little") == 0
    assert set(told.log) == {"I"}, "no rail was set, nothing was fired or read"
    assert len(told.replies) > count // 4
    assert all(reply.status != OK for reply in told.replies if reply.op in (ARM, RUN))


def test_hostile_frames_move_no_output(stream: Stream) -> None:
    attack(stream, 2000, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_ten_thousand_hostile_frames_move_no_output(stream: Stream, seed: int) -> None:
    attack(stream, 10_000, seed)


def test_an_armed_board_fires_only_what_it_accepts(stream: Stream) -> None:
    """Damaged runs to a board that is armed: some are still right; device pulses are those of the accepted ones."""
    random = np.random.default_rng(1)
    data, seq = [frame(ARM, p.Arm(max_run_us=2000).pack(), BOOT, 1)], 2
    for _ in range(1500):
        data.append(frame(RUN, damaged(random, GOOD_RUN), BOOT, seq))
        data.append(frame(RUN, p.wait(0), BOOT, seq))  # uses the number up where the damaged one has not
        seq += 1
    told = stream(b"".join(data) + frame(HELLO, bytes(8)))
    accepted = sum(reply.status == OK and reply.op == RUN for reply in told.replies)
    refused = sum(reply.status in (8, 9, 10) for reply in told.replies)
    assert accepted == 1500
    assert refused > 500
    assert int.from_bytes(told.replies[-1].payload[100:108], "little") == np.abs(told.counts).sum() > 0


def test_the_largest_frame_is_taken_and_a_larger_one_dropped(stream: Stream) -> None:
    waits = p.wait(0) * 100
    filling = LARGEST - len(waits) - len(p.read(b"", columns=1, vectors=1))
    whole = waits + p.read(bytes(filling), columns=1, vectors=filling)  # too long a reply: refused, but received
    told = stream(frame(RUN, whole, BOOT, 1) + frame(RUN, whole + b"\0", BOOT, 1) + frame(HELLO, bytes(8)))
    assert [reply.op for reply in told.replies] == [RUN, HELLO]
    assert len(whole) == LARGEST


def test_half_a_frame_and_noise_do_not_spoil_the_next(stream: Stream) -> None:
    whole = frame(HELLO, bytes(8))
    told = stream(whole[:9] + b"\0" + whole + b"\xff" * 70_000 + b"\0" + b"\0\0\0" + whole + whole[:-1])
    assert [reply.op for reply in told.replies] == [HELLO, HELLO]


def test_seeds_of_the_fuzzer_hold_accepted_runs() -> None:
    """They start it behind the checks: each of the first eight is an ARM and a RUN."""
    assert len(seeds()) == 15
    assert all(data[0] == 7 and data[3] == RUN for data in seeds()[:8])
