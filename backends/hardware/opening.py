"""Opening a chip: whose it is, who answers, and only then a backend. No output changes before `arm`."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

from rpudriver.backends.hardware.backend import Care, HardwareBackend
from rpudriver.backends.hardware.driver import Driver
from rpudriver.backends.hardware.endurance import DeviceCounters
from rpudriver.backends.hardware.ownership import Ownership
from rpudriver.backends.hardware.profile import ChipProfile, load_chip
from rpudriver.config.model import StrictModel, parse

AnyOptions = TypeVar("AnyOptions", bound="ChipOptions")


class ChipOptions(StrictModel):
    """Options of every chip at the end of a cable.

    Attributes
    ----------
    chip : name of a chip profile that ships with the package, or the path of a TOML file.
    durable : what journals and counters survive: ``"process"``, a process that is killed; ``"power"``, a power cut
        as well, at about 0.2 ms for each batch.
    state : folder of pulse counters, journals and the lock of the chip; by default ``RPUDRIVER_STATE``, or
        ``rpudriver`` in the user's state folder. Locks of ports and instruments are always there.
    """

    chip: str
    durable: Literal["process", "power"] = "process"
    state: str | None = None


def state_folder(chosen: str | None = None) -> Path:
    """Return the folder in which what is known of chips outlives a process."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(chosen or os.environ.get("RPUDRIVER_STATE") or Path(base) / "rpudriver")


def parse_options(kind: type[AnyOptions], name: str, options: dict[str, Any]) -> AnyOptions:
    """Return the options of a backend, checked."""
    return parse(kind, options, f"options of backend {name!r}")


def open_chip(
    options: ChipOptions, make_driver: Callable[[ChipProfile], Driver], addresses: Iterable[str] = ()
) -> HardwareBackend:
    """Own a chip, connect to it and return its backend, not armed.

    Parameters
    ----------
    addresses : of the ports or instruments that it is reached by, each always written the same way.

    Raises
    ------
    ConfigError
        If the profile cannot be used.
    OwnerError
        If another process has the chip, or one of the addresses.
    LinkLostError, BoardError
        If nobody answers, or who answers is not what the profile says.
    """
    profile = load_chip(options.chip)
    folder = state_folder(options.state) / profile.chip
    owner = Ownership.take(folder, state_folder() / "addresses", addresses)
    try:
        driver = make_driver(profile)
        try:
            identity = driver.connect()
            counters = DeviceCounters.open(folder / "pulses.npy", profile, power=options.durable == "power")
            care = Care(owner, counters, folder / "journals", options.durable)
            return HardwareBackend(profile, driver, identity, care)
        except BaseException:
            driver.close()
            raise
    except BaseException:
        owner.release()
        raise
