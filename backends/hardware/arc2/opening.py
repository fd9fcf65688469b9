"""The backend ``arc2``."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rpudriver.backends.hardware.arc2.driver import Arc2Driver
from rpudriver.backends.hardware.backend import HardwareBackend
from rpudriver.backends.hardware.opening import ChipOptions, open_chip, parse_options


class Arc2Options(ChipOptions):
    """Options of the backend ``arc2``.

    Attributes
    ----------
    firmware : file with the instrument's firmware, which comes with it.
    port : number of the instrument, as ``pyarc2.find_ids()`` lists them.
    timeout_s : how much longer than its pulses and reads a batch may take.
    library : module with the API of ``pyarc2``.
    """

    firmware: str
    port: Annotated[int, Field(ge=0)] = 0
    timeout_s: Annotated[float, Field(gt=0)] = 5.0
    library: str = "pyarc2"


def open_arc2(**options: Any) -> HardwareBackend:
    """Open a chip on an ArC TWO; see `Arc2Options` for what can be chosen.

    Raises
    ------
    ConfigError, OwnerError, LinkLostError, BoardError
    """
    o = parse_options(Arc2Options, "arc2", options)
    return open_chip(
        o, lambda profile: Arc2Driver(profile, Path(o.firmware), o.port, o.timeout_s, o.library), [f"ArC TWO {o.port}"]
    )
