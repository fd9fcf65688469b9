"""The backend ``scpi-bench``."""

from typing import Any

from rpudriver.backends.hardware.backend import HardwareBackend
from rpudriver.backends.hardware.opening import ChipOptions, open_chip, parse_options
from rpudriver.backends.hardware.scpi.bench import ScpiBench
from rpudriver.backends.hardware.scpi.link import Link
from rpudriver.errors import ConfigError


class ScpiOptions(ChipOptions):
    """Options of the backend ``scpi-bench``: VISA resource names, ``TCPIP::192.168.0.5::5025::SOCKET`` say.

    Attributes
    ----------
    source : of the Keithley 2450 that pulses and reads.
    gates : of the 2600-series unit whose channel A opens the transistors.
    matrix : of the 3706A.
    library : VISA library of PyVISA: ``@py`` is pyvisa-py, ``@ivi`` an installed one.
    """

    source: str
    gates: str
    matrix: str
    library: str = "@py"


def open_scpi_bench(**options: Any) -> HardwareBackend:
    """Open a chip on a bench of instruments; see `ScpiOptions` for what can be chosen.

    Raises
    ------
    ConfigError, OwnerError, LinkLostError, BoardError
    """
    chosen = parse_options(ScpiOptions, "scpi-bench", options)
    try:
        import pyvisa

        pyvisa.ResourceManager(chosen.library)
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(f"no VISA library {chosen.library!r} ({error}): pip install 'rpudriver[bench]'") from None

    def opener(address: str, **waits: Any) -> Any:
        return pyvisa.ResourceManager(chosen.library).open_resource(address, **waits)  # the same one while it is open

    links = Link(opener, chosen.source), Link(opener, chosen.gates), Link(opener, chosen.matrix)
    return open_chip(chosen, lambda profile: ScpiBench(profile, links), [_canonical(link.address) for link in links])


def _canonical(address: str) -> str:
    """Return the one way to write a VISA resource name; names that are none are refused when they are opened."""
    from pyvisa.rname import InvalidResourceName, to_canonical_name

    try:
        return str(to_canonical_name(address.upper()))
    except InvalidResourceName:
        return address
