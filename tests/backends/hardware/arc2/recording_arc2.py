"""A recording double of ``pyarc2``: its methods, signatures and rules, over devices kept in a file.

Rules written after the library's documentation and source (libarc2, MPL-2, read, not copied): a buffer that `execute`
sends and only then empties, so that a failed one stays queued; voltages that clip at 10 V; one polarity a cluster;
channels that are not pulsed float. ``ARC2_CHIP`` names the file with what the devices saw, ``ARC2_FAULT`` what breaks,
``ARC2_SOCKET`` an emulated chip that is there instead of these devices (`emulated_devices`).
"""

import ctypes
import json
import os
import time
from enum import Enum
from pathlib import Path

import numpy as np

LIBARC2_VERSION = os.environ.get("ARC2_VERSION", "0.6.0")
ROWS = [*range(16), *range(32, 48)]
COLUMNS = [*range(16, 32), *range(48, 64)]
THRESHOLD = 1.2  # volts across a device from which on it sees a pulse
STEP = 0.012


class ArC2Error(Exception):
    pass


class PanicException(BaseException):
    """What a panic in Rust arrives as."""


class IdleMode(Enum):
    Float = 0b01
    SoftGnd = 0b10
    HardGnd = 0b11


class ControlMode(Enum):
    Internal = 0
    Header = 1


class DataMode(Enum):
    All = 0


class ReadType(Enum):
    Current = 0


def fault():
    return os.environ.get("ARC2_FAULT", "")


def find_ids():
    return [] if fault() == "absent" else [0]


def load():
    """Return what the devices saw: pulses ``[32, 32]``, signed, and the events so far."""
    path = Path(os.environ["ARC2_CHIP"])
    if path.exists():
        return json.loads(path.read_text())
    return {"pulses": [[0] * 32 for _ in range(32)], "half": 0, "events": [], "levels": [0.0] * 64}


def save(chip):
    path = Path(os.environ["ARC2_CHIP"])
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(chip))
    fresh.replace(path)


def weights(chip):
    start = (np.arange(1024).reshape(32, 32) % 11 - 5) * 0.1
    return start + STEP * np.array(chip["pulses"])


def raw(volts):
    return int(np.clip(np.rint((np.float32(volts) + np.float32(10)) / np.float32(3.05179e-4)), 0, 65535))


def volts_of(code):
    return (code - 32768) * 20 / 65536


class FileDevices:
    """Devices without noise, which move by one step for each pulse beyond a threshold."""

    @staticmethod
    def fire(chip, volts, nanos):
        for r, row in enumerate(ROWS):
            for c, column in enumerate(COLUMNS):
                if row in volts and column in volts:  # a line that floats pulses nothing
                    across = volts[row] - volts[column]
                    if abs(across) >= THRESHOLD:
                        chip["pulses"][r][c] += 1 if across > 0 else -1
                    elif abs(across) > 0.01:
                        chip["half"] += 1

    @staticmethod
    def flows(chip, levels, channels):
        """Return what flows out of each channel ``[64]``; only those of `channels` count, which are at 0 V."""
        siemens, out = 50e-6 + 40e-6 * weights(chip), np.zeros(64)
        out[ROWS] = -siemens @ levels[COLUMNS]
        out[COLUMNS] = -levels[ROWS] @ siemens
        return out


def devices():
    if "ARC2_SOCKET" not in os.environ:
        return FileDevices()
    from emulated_devices import EmulatedDevices

    return EmulatedDevices(os.environ["ARC2_SOCKET"])


class Instrument:
    def __init__(self, port: int, firmware: str, init=True):
        if fault() == "firmware":
            raise ArC2Error("FPGA Error: cannot program")
        self.port, self.queued, self.chunks, self.devices = port, [], [], devices()
        chip = load()
        chip["levels"] = [0.0] * 64  # loading the firmware resets the instrument
        chip["events"].append("open")
        save(chip)

    def connect_to_gnd(self, chans):
        self.queued.append(("ground", [int(c) for c in chans]))
        return self

    def pulse_slice_fast_open(self, chans, cl_nanos, preset_state):
        if fault() == "refuse" and len(self.queued) > 3:
            raise ArC2Error("Attempting to toggle a previously set HS polarity bit")
        if len(cl_nanos) != 8:
            raise ValueError("timings must be 8 items long")
        polarity = {}
        for chan, active, normal in chans:
            if cl_nanos[chan // 8] is None:
                raise ArC2Error(f"HS Channel {chan} has no timing")
            falls = raw(active) <= raw(normal)
            if polarity.setdefault(chan // 8, falls) != falls:
                raise ArC2Error("Attempting to toggle a previously set HS polarity bit")
        self.queued.append(
            ("fire", ({chan: volts_of(raw(active)) for chan, active, _ in chans}, max(filter(None, cl_nanos))))
        )
        return self

    def delay(self, nanos):
        self.queued.append(("delay", nanos))
        return self

    def config_channels(self, input, base=None):
        self.queued.append(("bias", {chan: volts_of(raw(volts)) for chan, volts in input}))
        return self

    def read_slice_open_deferred(self, highs, ground_after):
        assert isinstance(highs, np.ndarray)
        assert highs.dtype == np.uint64
        self.queued.append(("sense", [int(c) for c in highs]))
        return self

    def ground_all(self):
        self.queued.append(("rest", None))
        return self

    def execute(self):
        if fault() == "execute":
            raise ArC2Error("FPGA Error: write failed")  # what is queued stays queued
        chip = load()
        reached = len(self.queued) // 2 if fault() == "half" else None  # unplugged in the midst of a long batch
        for verb, what in self.queued[:reached]:
            getattr(self, f"do_{verb}")(chip, what)
        chip["events"].append("execute")
        save(chip)
        if fault() in ("late", "half"):
            raise ArC2Error("FPGA Error: write failed half way")  # it has pulsed, and keeps its queue
        self.queued.clear()
        return self

    def wait(self):
        if fault() == "hang":
            time.sleep(1000)
        if fault() == "hold":  # as a wait in compiled code that does not let go of the interpreter
            ctypes.PyDLL(None).sleep(1000)
        if fault() == "panic":
            raise PanicException("called `Result::unwrap()` on an `Err` value")
        if fault() == "crash":
            os.abort()

    def pick_one(self, mode, rtype):
        assert mode is DataMode.All
        assert rtype is ReadType.Current
        return self.chunks.pop(0) if self.chunks else None

    def finalise_operation(self, mode=None, control=None):
        assert mode is IdleMode.SoftGnd
        self.connect_to_gnd(np.arange(0, dtype=np.uint64)).ground_all().execute()

    # ---- what the instrument does -------------------------------------------------------------------------------

    def do_ground(self, chip, channels):
        assert channels == []

    def do_delay(self, chip, nanos):
        assert isinstance(nanos, int)

    def do_rest(self, chip, _):
        chip["levels"] = [0.0] * 64

    def do_bias(self, chip, volts):
        for chan, value in volts.items():
            chip["levels"][chan] = value

    def do_fire(self, chip, what):
        self.devices.fire(chip, *what)

    def do_sense(self, chip, channels):
        levels, flows = np.array(chip["levels"]), np.full(64, np.nan)
        assert np.abs(levels[channels]).max() < 1e-3
        flows[channels] = self.devices.flows(chip, levels, channels)[channels]
        if fault() == "nan":
            flows[:] = np.nan
        self.chunks.append(flows.astype(np.float32))
