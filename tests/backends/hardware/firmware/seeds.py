"""Inputs for the fuzzer to start from: ``python -m tests.backends.hardware.firmware.seeds FOLDER``."""

import struct
import sys
from pathlib import Path

import numpy as np

from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware import wire

RIGHT_ARM = 7  # of fuzz.c
ROWS, COLUMNS = 10, 7  # of the board that the Makefile builds for fuzzing


def request(how: int, payload: bytes = b"") -> bytes:
    return struct.pack("<BH", how, len(payload)) + payload


def seeds() -> list[bytes]:
    random = np.random.default_rng(0)
    slots = [random.random((lines, 33)) < 0.4 for lines in (COLUMNS, ROWS)]
    signs = [random.random(lines) < 0.5 for lines in (COLUMNS, ROWS)]
    sides = p.sample(*slots, *signs)
    drawn = struct.pack("<QIIQ", 1, 2, 3, 4)
    thresholds = p.bits(np.ones(COLUMNS)) + bytes(1) + struct.pack("<7I", *[1 << 30] * 7)
    thresholds += p.bits(np.ones(ROWS)) + bytes(2) + struct.pack("<10I", *[1 << 31] * 10)
    whole = {"rows": ROWS, "columns": COLUMNS}
    runs = [
        p.pulse(sides, **whole) + p.wait(3),
        p.pulse(sides + b"\0\0" + sides, count=3, repeat=2, flags=p.FLIP, **whole),
        p.pulse(struct.pack("<H", 40) + thresholds, flags=p.DRAWN, drawn=drawn, **whole),
        p.read(bytes(range(28)), vectors=4, **whole),
        p.read(bytes(range(20)), vectors=2, flags=p.TRANSPOSED, scale=1, **whole),
        p.read(struct.pack("<Hh", 5, -63) * 4, vectors=4, flags=p.ONE_HOT, array=2, **whole),
        p.read(bytes(7), flags=p.DIFFERENTIAL, second=struct.pack("<BxHH", 2, 0, 0), **whole),
    ]
    armed = [request(RIGHT_ARM) + request(wire.RUN, run) for run in [*runs, runs[0] + runs[3] + runs[4]]]
    others = [request(wire.HELLO, bytes(8)), request(wire.STATUS), request(wire.COUNTERS, b"\1\0"), request(wire.IDLE)]
    arm = request(wire.ARM, p.Arm(watchdog_ms=500, max_bl=64, max_run_us=2000).pack()[:72])
    floating = p.Kind((450, 0, -450, 0), (-450, 0, 450, 0), pad=1, width_ns=50, gap_ns=10)
    apart = request(wire.ARM, p.Arm(watchdog_ms=500, max_bl=64, max_run_us=2000, kinds=(floating,)).pack())
    armed += [apart + request(wire.RUN, run) for run in runs[:3]]
    return [*armed, b"".join(others), arm, request(0, wire.frame(wire.STATUS, session=7)), request(RIGHT_ARM | 0xC0)]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()):
        (folder / f"seed-{number}").write_bytes(data)
