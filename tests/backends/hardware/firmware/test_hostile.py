"""Malformed and hostile frames under the address and undefined-behaviour sanitizers: no crash, no output moved."""

import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from rpudriver.backends.hardware.firmware.build import SOURCES, build_host
from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware.boards import BOOT, StreamBoard
from tests.backends.hardware.firmware.seeds import seeds
from tests.backends.hardware.firmware.wire import ARM, HELLO, IDLE, OK, RUN, STATUS, frame, message

Stream = Callable[[bytes], StreamBoard]
GOOD_RUN = p.pulse(p.one(5), rows=1, columns=1) + p.read(bytes(64), columns=64, rows=3) + p.wait(2)
LARGEST = 32768
FLOATING = 16 + 19  # where an ARM says it of its first kind


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


# ---- where the fuzzer starts from --------------------------------------------------------------------------------


def fuzzed_board() -> dict[str, int]:
    """Return the board that the Makefile builds for fuzzing."""
    odd = re.search(r"^ODD := ((?:.*\\\n)*.*)", (SOURCES / "Makefile").read_text(), re.M)
    assert odd is not None
    return {name: int(value) for name, value in re.findall(r"-D(\w+)=(\d+)", odd[1])}


def right_arm() -> bytes:
    """Return the ARM of the fuzzer that needs no bytes of an input."""
    numbers = re.search(r"RIGHT\[ARM_SIZE\] = \{(.*?)\};", (SOURCES / "fuzz.c").read_text(), re.S)
    assert numbers is not None
    return bytes(int(number, 0) for number in re.findall(r"\b0x[0-9A-F]+|\b\d+", re.sub(r"/\*.*?\*/", "", numbers[1])))


def messages(seed: bytes) -> list[tuple[int, bytes]]:
    """Return op and payload of each request of an input, as the fuzzer makes them; op 0 is bytes as they are."""
    found, at = [], 0
    while at < len(seed):
        how, size = struct.unpack_from("<BH", seed, at)
        assert not how & 0x38, "no number again, no other session, no other version"
        payload = seed[at + 3 : at + 3 + size]
        found.append((ARM, right_arm()) if how & 7 == 7 else (how & 7, payload))
        at += 3 + size
    return found


def test_the_firmware_accepts_every_seed_of_the_fuzzer(tmp_path: Path) -> None:
    """So that it starts behind the checks; and there is no operation and no flag of one that it does not start with."""
    build = build_host(sanitize=True, program="fake", **fuzzed_board())
    started = set[tuple[bool, int, int]]()  # lines float, operation, its flags
    for data in seeds():
        sent, seq, stream = messages(data), 0, b""
        for op, payload in sent:
            seq += op in (ARM, RUN)
            stream += frame(op, payload, BOOT, seq) if op else payload
        done = subprocess.run([build, tmp_path / "log"], input=stream, capture_output=True, check=True, timeout=20)
        replies = [message(piece) for piece in done.stdout.split(b"\0") if piece]
        assert [(reply.op, reply.status) for reply in replies] == [(op or STATUS, OK) for op, _ in sent]
        for (before, arm), (op, payload) in pairwise(sent):
            if (before, op) == (ARM, RUN):
                started |= {(bool(arm[FLOATING] & 1), *operation) for operation in operations(payload)}
    pulses = {(floats, p.PULSE, flag) for floats in (False, True) for flag in (0, p.FLIP, p.DRAWN)}
    reads = {(False, p.READ, flag) for flag in (0, p.TRANSPOSED, p.ONE_HOT, p.DIFFERENTIAL)}
    assert started == pulses | reads | {(False, p.WAIT, 0), (True, p.WAIT, 0)}


def operations(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield op and flags of the operations of a RUN."""
    at = 0
    while at < len(payload):
        op, flags, size = struct.unpack_from("<BBH", payload, at)
        yield op, flags
        at += 4 + size
