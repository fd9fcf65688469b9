"""Opening a chip: whose it is, who answers, and only then a backend. No output changes before `arm`."""

import os
from collections.abc import Callable
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
    state : folder of locks, pulse counters and journals; by default ``RPUDRIVER_STATE``, or ``rpudriver`` in the
        user's state folder.
    """

    chip: str
    durable: Literal["process", "power"] = "process"
    state: str | None = None


def state_folder(chip: str, chosen: str | None = None) -> Path:
    """Return the folder in which what is known of a chip outlives a process."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(chosen or os.environ.get("RPUDRIVER_STATE") or Path(base) / "rpudriver") / chip


def parse_options(kind: type[AnyOptions], name: str, options: dict[str, Any]) -> AnyOptions:
    """Return the options of a backend, checked."""
    return parse(kind, options, f"options of backend {name!r}")


def open_chip(options: ChipOptions, make_driver: Callable[[ChipProfile], Driver]) -> HardwareBackend:
    """Own a chip, connect to it and return its backend, not armed.

    Raises
    ------
    ConfigError
        If the profile cannot be used.
    OwnerError
        If another process has the chip.
    LinkLostError, BoardError
        If nobody answers, or who answers is not what the profile says.
    """
    profile = load_chip(options.chip)
    folder = state_folder(profile.chip, options.state)
    owner = Ownership.take(folder)
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
