"""The process that the library lives in: it may hang, panic or crash there, and is killed without harm to the caller.

Run as ``python -m rpudriver.backends.hardware.arc2.child FD LIBRARY``. Requests come through the pipe FD, one at a
time, and each has one answer. After anything that went wrong the process ends: the library keeps what was queued, and a
later ``execute`` would pulse again. All of a batch is queued first and sent by one ``execute``, whose last instructions
put every channel to 0 V. The library hands the instrument 768 instructions at a time, about 30 slots: a batch that fits
ends at rest even when this process does not live to see it; of a longer one the rest is missing then, between pulses.
"""

import contextlib
import importlib
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any, final

import numpy as np

from rpudriver.backends.hardware.arc2.calls import CHANNELS, CLUSTER, Bias, Call, Delay, Fire, Sense

NO_CHANNELS = np.array([], np.uint64)
# How far a failed request had come: nothing was sent to the instrument; or it may have been.
QUEUED, SENT = "queued", "sent"


@final
class Server:
    """Answers requests with the library's help.

    Parameters
    ----------
    library : the imported module ``pyarc2``.
    """

    def __init__(self, library: Any) -> None:
        self._library, self.stage = library, QUEUED
        self._instrument: Any = None

    def answer(self, request: tuple[Any, ...]) -> Any:
        """Do what a request asks and return its result."""
        self.stage = QUEUED
        verb, *rest = request
        match verb:
            case "who":
                return self._library.LIBARC2_VERSION, [int(port) for port in self._library.find_ids()]
            case "open":
                self._instrument = self._library.Instrument(*rest)  # loads the firmware, puts channels to 0 V
            case "run":
                return self._run(*rest)
            case "rest":
                self._rest()
            case _:
                raise ValueError(f"unknown request {verb!r}")
        return None

    def _run(self, program: tuple[Call, ...]) -> list[list[float]]:
        instrument = self._opened()
        instrument.connect_to_gnd(NO_CHANNELS)  # lets go of hard grounds
        for call in program:
            _queue(instrument, call)
        self._rest()
        library = self._library
        found = []
        for _ in range(sum(isinstance(call, Sense) for call in program)):
            values = instrument.pick_one(library.DataMode.All, library.ReadType.Current)
            if values is None:
                raise RuntimeError("the instrument has fewer results than it was asked for")
            found.append([float(value) for value in values])
        return found

    def _rest(self) -> None:
        """Send what is queued, then 0 V on all channels, in one go; wait for its end."""
        self.stage = SENT
        instrument = self._opened()
        instrument.finalise_operation(self._library.IdleMode.SoftGnd)
        instrument.wait()

    def _opened(self) -> Any:
        if self._instrument is None:
            raise RuntimeError("the instrument is not open")
        return self._instrument

    def last_rest(self) -> None:
        """Put channels to 0 V when nobody asks any more."""
        if self._instrument is not None:
            self._rest()


def _queue(instrument: Any, call: Call) -> None:
    match call:
        case Fire(volts, nanos):
            used = {channel // CLUSTER for channel, _ in volts}
            widths = [nanos if cluster in used else None for cluster in range(CHANNELS // CLUSTER)]
            instrument.pulse_slice_fast_open([(channel, value, 0.0) for channel, value in volts], widths, True)
        case Delay(nanos):
            instrument.delay(nanos)
        case Bias(volts):
            instrument.config_channels(list(volts), None)
        case Sense(channels):
            instrument.read_slice_open_deferred(np.array(channels, np.uint64), False)


def serve(pipe: Connection, library: str) -> None:
    """Answer requests until the other end is gone or something goes wrong."""
    try:
        server = Server(importlib.import_module(library))
    except BaseException as error:  # an extension module may panic while it is loaded
        pipe.send((False, QUEUED, _words(error)))
        return
    pipe.send((True, QUEUED, None))
    while True:
        try:
            limit_s, request = pipe.recv()
        except (EOFError, OSError):
            _bounded(5.0)
            server.last_rest()
            return
        _bounded(limit_s)
        try:
            result = server.answer(request)
        except BaseException as error:  # a panic of the library is no Exception
            with contextlib.suppress(OSError):
                pipe.send((False, server.stage, _words(error)))
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        with contextlib.suppress(OSError):  # who asked may be gone: the next `recv` says so, and channels go to 0 V
            pipe.send((True, server.stage, result))


def _bounded(limit_s: float) -> None:
    """End the process by force after a while, though the library may hold the interpreter and the caller be dead."""
    signal.setitimer(signal.ITIMER_REAL, max(limit_s, 1e-3))  # nobody handles SIGALRM


def _words(error: BaseException) -> str:
    text = str(error)
    return type(error).__name__ if not text or " object at 0x" in text else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), sys.argv[2])
    os._exit(0)  # past destructors: that of the library panics where the instrument is gone
