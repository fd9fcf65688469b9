"""A board as a process, and what tests ask of it."""

import re
import subprocess
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.backends.hardware.firmware import payloads
from tests.backends.hardware.firmware.fake_chip import FakeChip
from tests.backends.hardware.firmware.wire import ARM, COUNTERS, HELLO, OK, RUN, STATUS, Link, Message, frame, message

BOOT = 7
ROWS = COLUMNS = 64
SLOT = re.compile("." * ((ROWS + COLUMNS) // 4))


class Board:
    """The firmware on a pseudo-terminal."""

    def __init__(self, build: Path, folder: Path, number: int, chip: FakeChip, options: tuple[str, ...] = ()) -> None:
        self.chip, self.tty, self.store, self.seq = chip, folder / f"tty{number}", folder / "store", 0
        command = [build, "--chip", chip.path, "--store", self.store, "--link", self.tty, "--boot", str(BOOT), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.terminal = self.process.stdout.readline().strip()
        self.link = Link(self.terminal) if self.terminal else None
        if self.link:
            self.await_messages(2)  # who is there, and outputs at rest: not of what a test does

    def ask(self, op: int, payload: bytes = b"", seq: int = 0, **header: int) -> Message:
        assert self.link is not None
        return self.link.ask(op, payload, header.pop("session", BOOT), seq, **header)

    def numbered(self, op: int, payload: bytes) -> Message:
        """Send with the next number, which is used up where the frame is accepted."""
        before = len(self.chip.messages)
        reply = self.ask(op, payload, self.seq + 1)
        self.seq += reply.status in (OK, 11)
        if op == ARM and reply.status == OK:
            self.await_messages(before + 1)  # outputs are at rest: the reply may be here before the chip knows
        return reply

    def await_messages(self, count: int) -> None:
        """Wait until the chip has heard so many messages."""
        end = time.monotonic() + 10
        while len(self.chip.messages) < count:
            assert time.monotonic() < end, f"the chip has heard {len(self.chip.messages)} messages, not {count}"
            time.sleep(0.0005)

    def arm(self, **changes: object) -> Message:
        reply = self.numbered(ARM, payloads.Arm(**changes).pack())  # type: ignore[arg-type]
        assert reply.status == OK
        return reply

    def run(self, payload: bytes) -> Message:
        return self.numbered(RUN, payload)

    def state(self) -> tuple[int, int]:
        """Return state and reason, without feeding the watchdog."""
        hello = self.ask(HELLO, bytes(8), session=0).payload
        return hello[6], hello[7]

    def pulses(self, array: int | None = None) -> int:
        if array is None:
            return int.from_bytes(self.ask(STATUS).payload[16:24], "little")
        return int.from_bytes(self.ask(COUNTERS, array.to_bytes(2, "little")).payload, "little")

    def end(self) -> tuple[int, str]:
        """Return the exit status and what was said, of a process that ends by itself."""
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said

    def close(self) -> None:
        if self.link:
            self.link.close()
        self.process.kill()
        self.process.communicate()
        self.chip.close()


class StreamBoard:
    """What a board on standard input and output said and did."""

    def __init__(self, out: bytes, log: list[str]) -> None:
        self.replies = [message(piece) for piece in out.split(b"\0") if piece]
        self.log = log

    @cached_property
    def phases(self) -> list[tuple[bool, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
        """What was fired under each setting of the rails: up or down, rows and columns ``[slots, 64]``."""
        found: list[tuple[bool, list[str]]] = []
        for line in self.log:
            kind, *rest = line.split()
            if kind == "R":
                found.append((int(rest[1]) > int(rest[3]), []))
            elif kind == "F":
                found[-1][1].extend(SLOT.findall(rest[4]))
        return [(up, *unpack(slots)) for up, slots in found]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Signed pulses that each device got, ``[64, 64]``."""
        total = np.zeros((ROWS, COLUMNS), np.int64)
        for up, rows, columns in self.phases:
            total += (1 if up else -1) * rows.T.astype(np.int64) @ columns.astype(np.int64)
        return total


def unpack(slots: list[str]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    data = np.frombuffer(bytes.fromhex("".join(slots)), np.uint8).reshape(len(slots), (ROWS + COLUMNS) // 8)
    lines = np.unpackbits(data, axis=1, bitorder="little").astype(np.bool_)
    return lines[:, :ROWS], lines[:, ROWS:]


def session(*runs: bytes, **arm: object) -> bytes:
    """Return the frames of a session: armed, then each of the runs."""
    frames = [frame(ARM, payloads.Arm(**arm).pack(), BOOT, 1)]  # type: ignore[arg-type]
    return b"".join([*frames, *(frame(RUN, run, BOOT, 2 + n) for n, run in enumerate(runs))])
