"""What a chip costs at the end of a cable: ``python -m benchmarks.link``.

Bytes and round trips against the least possible, host time of an update and where it goes, what other links would
allow. The board is the emulated one, so its own time is that of this machine.
"""

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch

from benchmarks.machine import describe as describe_machine
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.driver import Driver, Fate, Identity, Reply, Settings, Ticket
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.opening import ChipOptions, open_chip
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.backends.hardware.serial import frames
from rpudriver.backends.hardware.serial.capture import SENT, read_capture
from rpudriver.backends.hardware.serial.frames import Frame, Op
from rpudriver.cli.main import main as rpudriver
from rpudriver.trains import TrainSource, draw_trains
from rpudriver.types import Pulse, PulseTrains

CHIP, LINES, SAMPLES, BL = "emulated-64", 64, 32, 31
TRAIN_SAMPLES = 1437  # of the digits, in an epoch
AIM_MS = 0.3  # host time of an update


@final
@dataclass(frozen=True)
class LinkKind:
    """A cable: usable bytes a second, and seconds of a round trip with nothing in it."""

    name: str
    bytes_per_s: float
    latency_s: float


LINKS = (
    LinkKind("921 600 baud, 8N1, USB adapter that polls every 1 ms", 921_600 / 10, 2e-3),
    LinkKind("USB full speed, 12 Mbit/s (19 packets of 64 bytes a ms)", 19 * 64 / 1e-3, 2e-3),
    LinkKind("USB high speed, 480 Mbit/s (13 packets of 512 bytes in 125 us)", 13 * 512 / 125e-6, 2.5e-4),
)


@final
class InstantBoard(Driver):
    """Packs frames as the serial driver does, and has its replies at once: host time without link and board."""

    def __init__(self, profile: ChipProfile) -> None:
        self._chip, self._seq = profile.chip, 0
        self.payload = self.wire = 0  # bytes of operations, and of frames
        self.packing_s = 0.0

    def connect(self) -> Identity:
        return Identity(self._chip, "none", 1, False, "none", None)

    @property
    def largest(self) -> tuple[int, int]:
        return 1 << 15, 1 << 15

    def arm(self, settings: Settings) -> None:
        pass

    def stamp(self, operations: bytes) -> Ticket:
        return Ticket(1, self._seq + 1, zlib.crc32(operations))

    def run(self, ticket: Ticket, operations: bytes) -> Reply:
        start = time.perf_counter()
        self._seq = ticket.seq
        self.payload += len(operations)
        request = Frame(Op.RUN, 1, ticket.seq, operations)
        self.wire += len(request.pack())
        reply = frames.unpack(Frame(Op.RUN, 1, ticket.seq, b"\0", flags=0x80).pack()[:-1])
        assert reply is not None
        assert reply.answers(request)
        self.packing_s += time.perf_counter() - start
        return Reply(reply.payload)

    def settle(self, ticket: Ticket, operations: bytes) -> Reply | Fate:
        return Fate.UNKNOWN

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass


def trains(seed: int = 1) -> PulseTrains:
    """Return the trains of an update of 32 samples, as dense as in the published settings."""
    draw = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(SAMPLES, LINES, generator=draw)
    d = 0.1 * torch.randn(SAMPLES, LINES, generator=draw)
    source = TrainSource(seed, "link")
    return draw_trains(x, d, lr=0.01, dw_min=1e-3, max_bl=BL, source=source, first=0, bl_management=False)


def least_bytes(update: PulseTrains) -> tuple[float, float]:
    """Return what slots and signs take: a bit each, and by the entropy of the slots of each line and sample."""
    raw = SAMPLES * 2 * LINES * (BL + 1) / 8
    words = [words.numpy().view(np.uint8) for words in (update.x_words, update.d_words)]
    fired = np.concatenate([np.unpackbits(side, axis=2).sum(2) for side in words], axis=1)
    p = np.clip(fired / BL, 1e-12, 1 - 1e-12)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) * BL + (fired > 0)
    return raw, float(entropy.sum() / 8)


def update_rows(folder: Path, repeats: int) -> Iterator[str]:
    """Time whole updates; the journal lies in memory and what it takes is told apart."""
    made: list[InstantBoard] = []

    def driver(profile: ChipProfile) -> Driver:
        made.append(InstantBoard(profile))
        return made[-1]

    chip = open_chip(ChipOptions(chip=CHIP, state=str(folder)), driver)
    chip.keep_journal(folder / "journal", resume=False)
    chip.arm()
    array = chip.allocate("W", LINES, LINES)
    steps = [Pulse(array, trains())]
    spent = timed(chip, steps, repeats)
    board = made[0]
    packing, wire, payload = (value / repeats for value in (board.packing_s, board.wire, board.payload))
    profile = cProfile.Profile()
    profile.runcall(timed, chip, steps, repeats)
    stats = pstats.Stats(profile)
    journal = of_function(stats, "journal_file.py", "append") / repeats
    chip.close()
    total = statistics.median(spent)
    least = 1e3 * min(spent)
    yield f"host, update of {LINES} x {LINES} with {SAMPLES} samples: {1e3 * total:.3f} ms median, {least:.3f} least"
    yield f"  of it writing the journal {1e3 * journal:.3f} ms, packing frames {1e3 * packing:.3f} ms"
    yield f"  aim without link and disk: {AIM_MS} ms"
    raw, entropy = least_bytes(steps[0].trains)
    yield f"bytes: {wire:.0f} in one frame, one round trip; {100 * (wire / payload - 1):.1f} % of it framing"
    yield f"  a bit for each slot and sign of every line would be {raw:.0f}, the entropy of the slots is {entropy:.0f}"
    yield "where the time goes:"
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:8]  # type: ignore[attr-defined]
    for (file, line, name), (_, calls, own, _, _) in rows:
        yield f"  {1e3 * own / repeats:7.4f} ms  {calls / repeats:6.1f} calls  {Path(file).name}:{line} {name}"


def timed(chip: CrossbarBackend, steps: list[Pulse], repeats: int) -> list[float]:
    """Return the seconds of each call."""
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        chip.run(steps)
        spent.append(time.perf_counter() - start)
    return spent


def of_function(stats: pstats.Stats, file: str, name: str) -> float:
    """Return the seconds within a function and what it calls."""
    entries = stats.stats.items()  # type: ignore[attr-defined]
    return float(sum(row[3] for key, row in entries if key[0].endswith(file) and key[2] == name))


def training_rows(folder: Path, epochs: int) -> Iterator[str]:
    """Train the digits on the emulated board, and count what went over the wire."""
    capture, seconds = folder / "capture", 0.0
    with EmulatedBoard(CHIP) as board:
        settings = {"backend.port": board.port, "backend.capture": capture, "backend.state": folder / "state"}
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        start = time.perf_counter()
        code = rpudriver(
            [
                "train",
                "digits-ttv2-board",
                "--out",
                str(folder / "run"),
                "--quiet",
                "--set",
                f"training.epochs={epochs}",
                *words,
            ]
        )
        seconds = time.perf_counter() - start
    if code:
        raise SystemExit(code)
    samples, sent, received, requests, operations = epochs * TRAIN_SAMPLES, 0, 0, 0, 0
    for _, direction, piece in read_capture(capture):
        frame = frames.unpack(piece)
        if direction == SENT:
            sent, requests = sent + len(piece) + 1, requests + 1
            operations += len(frame.payload) if frame is not None else 0
        else:
            received += len(piece) + 1
    yield f"digits, TTv2, {epochs} epochs over the pseudo-terminal: {samples / seconds:.0f} samples/s, {seconds:.1f} s"
    yield (
        f"  a sample: {sent / samples:.0f} bytes to the board ({100 * (sent / operations - 1):.1f} % framing), "
        f"{received / samples:.0f} back, {requests / samples:.2f} round trips"
    )
    yield "computed for other links, host and board as measured here, one request after the other:"
    for link in LINKS:
        wire_s = (sent + received) / link.bytes_per_s + requests * link.latency_s
        yield f"  {link.name}: {samples / (seconds + wire_s):.0f} samples a second"


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.link", description=__doc__)
    parser.add_argument("--repeats", type=int, default=500, help="updates that are timed (default: 500)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of training (default: 10)")
    args = parser.parse_args()
    machine = describe_machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}, load {machine['load_average']:.1f}")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for row in update_rows(Path(one), args.repeats):
            print(row)
        for row in training_rows(Path(other), args.epochs):
            print(row, flush=True)


if __name__ == "__main__":
    main()
