"""The backend ``serial-board``."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rpudriver.backends.hardware.backend import HardwareBackend
from rpudriver.backends.hardware.opening import ChipOptions, open_chip, parse_options
from rpudriver.backends.hardware.serial.board import SerialBoard


class SerialOptions(ChipOptions):
    """Options of the backend ``serial-board``.

    Attributes
    ----------
    port : ``/dev/ttyACM0``, ``COM3``, or ``socket://host:port``.
    baud : of a real serial line; USB devices take any.
    capture : file for a record of all bytes on the line.
    """

    port: str
    baud: Annotated[int, Field(ge=1200, le=100_000_000)] = 921_600
    capture: str | None = None


def open_serial_board(**options: Any) -> HardwareBackend:
    """Open a chip on a serial board; see `SerialOptions` for what can be chosen.

    Raises
    ------
    ConfigError, OwnerError, LinkLostError, BoardError
    """
    chosen = parse_options(SerialOptions, "serial-board", options)
    capture = None if chosen.capture is None else Path(chosen.capture)
    address = os.path.realpath(chosen.port) if os.path.exists(chosen.port) else chosen.port.lower()
    return open_chip(
        chosen, lambda profile: SerialBoard(chosen.port, profile, baud=chosen.baud, capture=capture), [address]
    )
