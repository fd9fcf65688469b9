"""The devices of an emulated chip behind the recording double: its lines as messages of ``docs/emulator.md``.

The child process finds this by name beside `recording_arc2`; `emulated` in `chips` starts the process of the chip.
"""

import socket
import struct

import numpy as np
from recording_arc2 import COLUMNS, ROWS

HEAD = struct.Struct("<BxHI")  # type, array, size
REST_V = 0.01  # lines below are at rest: V/2 biasing rests at 0 V, or a code above
NO_LIMIT_A = 1.0  # ArC TWO has no comparator
MIDDLE_S = 50e-6  # of a device at weight 0, which the emulated sense amplifier takes off and a real current has


class EmulatedDevices:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60.0)
        self.socket.connect(path)

    def send(self, what, body):
        self.socket.sendall(HEAD.pack(ord(what), 0, len(body)) + body)

    def fire(self, chip, volts, nanos):
        """One slot: rails as the lines have them, and which lines fire."""
        assert set(volts) == {*ROWS, *COLUMNS}, "a line floats while others fire"
        rails, masks = [], b""
        for lines in (ROWS, COLUMNS):
            levels = np.array([volts[channel] for channel in lines])
            fires = np.abs(levels) > REST_V
            assert len(set(levels[fires])) == 1, "lines that fire have one level"
            rails += [levels[fires][0], levels[~fires].max(initial=0.0)]
            masks += np.packbits(fires, bitorder="little").tobytes()
        self.send("R", struct.pack("<6f", *rails, 0.0, NO_LIMIT_A))
        self.send("F", struct.pack("<III", nanos, 0, 1) + masks)

    def flows(self, chip, levels, channels):
        """Return what flows out of each channel ``[64]``; only those of `channels`, all rows or all columns, count."""
        transposed = not set(channels) <= set(ROWS)
        lines, inputs = (COLUMNS, ROWS) if transposed else (ROWS, COLUMNS)
        assert set(channels) <= set(lines)
        body = struct.pack("<BBHHHHHHHI", transposed, 0, 0, 0, 32, 0, 32, 0, 0, 1)
        self.send("S", body + levels[inputs].astype("<f4").tobytes())
        out = np.zeros(64)
        out[lines] = -(self.answer(4 * 32) + MIDDLE_S * levels[inputs].sum())
        return out

    def answer(self, size):
        data = b""
        while len(data) < size:
            data += self.socket.recv(size - len(data))
        return np.frombuffer(data, "<f4")
