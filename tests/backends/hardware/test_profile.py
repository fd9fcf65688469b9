"""Promise 1 begins with the profile: pulses beyond its own envelope are refused when it is read, by whatever scheme."""

import copy
from typing import Any

import pytest

from rpudriver.backends.hardware.profile import ChipProfile, chip_names, load_chip
from rpudriver.backends.validation import Limits
from rpudriver.config.model import parse
from rpudriver.errors import ConfigError

BOARD = load_chip("emulated-64").model_dump()


def changed(changes: dict[str, Any]) -> ChipProfile:
    """Return the profile of the emulated board with other values, keys as ``kinds.update.volts_up``."""
    data = copy.deepcopy(BOARD)
    for path, value in changes.items():
        *tables, key = path.split(".")
        table = data
        for name in tables:
            table = table[name]
        table[key] = value
    return parse(ChipProfile, data, "it")


GATES = {f"kinds.{name}.gate_volts": 1.5 for name in BOARD["kinds"]} | {"envelope.gate_volts": 1.5}
BY_GATE = {"biasing": "1t1r", "envelope.line_volts": 1.8, "envelope.half_volts": 1.8, **GATES}
BY_THIRDS = {"biasing": "v/3", "envelope.line_volts": 1.8}
# what is exactly at a limit, one key of it that goes beyond, and what is said
EDGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "line": ({"envelope.line_volts": 0.9}, {"envelope.line_volts": 0.899}, "on a line = 0.9 is beyond .* 0.899"),
    "cell": ({"kinds.update.volts_up": 1.8}, {"kinds.update.volts_up": 1.802}, "volts_up .* across a device = 1.802"),
    "cell down": ({"kinds.set.volts_down": -1.8}, {"kinds.set.volts_down": -1.802}, "volts_down .* device = 1.802"),
    "half": ({"envelope.half_volts": 0.9}, {"envelope.half_volts": 0.899}, "half-selected devices = 0.9 is .* 0.899"),
    "width": ({"envelope.width_s": 1e-5}, {"envelope.width_s": 9.9e-6}, "width_s = 1e-05 is beyond"),
    "read": ({"envelope.read_volts": 0.2}, {"envelope.read_volts": 0.199}, "read volts .* = 0.2 is beyond"),
    "line, v/3": (BY_THIRDS, {"envelope.line_volts": 1.799}, "v/3, on a line = 1.8 is beyond"),
    "half, v/3": (BY_THIRDS | {"envelope.half_volts": 0.6}, {"envelope.half_volts": 0.599}, "half-selected .* = 0.6 "),
    "line, gates": (BY_GATE, {"envelope.line_volts": 1.799}, "1t1r, on a line = 1.8 is beyond"),
    "gate": (BY_GATE, {"envelope.gate_volts": 1.499}, "gate_volts = 1.5 is beyond the envelope's 1.499"),
    "no gate": (BY_GATE, {"kinds.set.gate_volts": 0.0}, "gate_volts = 0 with biasing 1t1r"),
}


@pytest.mark.parametrize("name", EDGES)
def test_what_is_beyond_its_envelope_is_refused_and_what_is_at_it_passes(name: str) -> None:
    at, beyond, words = EDGES[name]
    changed(at)
    with pytest.raises(ConfigError, match=words):
        changed(at | beyond)


@pytest.mark.parametrize(
    "key",
    [
        *(f"kinds.update.{name}" for name in ("volts_up", "volts_down", "width_s", "coincidence_energy_j")),
        *(f"envelope.{name}" for name in BOARD["envelope"]),
        *(f"converters.{name}" for name in ("volts_per_rail_code", "volts_per_input_code")),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key.rsplit(".", 1)[-1]):
        changed({key: value})


@pytest.mark.parametrize("name", chip_names())
def test_an_instrument_is_armed_with_what_the_profile_says_and_no_more(name: str) -> None:
    profile = load_chip(name)
    envelope, converters = profile.envelope, profile.converters
    whole = profile.settings(Limits())
    assert whole.compliance * converters.amperes_per_compliance_code <= envelope.compliance_a * (1 + 1e-9)
    assert whole.max_run_us * 1e-6 <= envelope.batch_s * (1 + 1e-9)
    assert whole.max_input * converters.volts_per_input_code <= envelope.read_volts * (1 + 1e-9)
    assert whole.watchdog_ms == round(1e3 * profile.timing.watchdog_s)
    narrow = profile.settings(Limits(kinds=frozenset({"set"}), max_bl=7, max_input=0.25))
    ways = dict(zip(profile.kind_names(), (kind.ways for kind in narrow.kinds), strict=True))
    assert ways == {"update": 0, "set": 1, "reset": 0}
    assert (narrow.max_bl, narrow.max_input) == (7, round(0.25 * profile.input_codes))


def test_tighter_limits_of_current_and_time_are_armed() -> None:
    tight = changed({"envelope.compliance_a": 123e-6, "envelope.batch_s": 0.0456}).settings(Limits())
    assert (tight.compliance, tight.max_run_us) == (123, 45_600)


def test_the_firmware_of_a_profile_is_a_digest_and_not_of_a_bench() -> None:
    assert changed({"firmware": "0123456789abcdef"}).firmware == "0123456789abcdef"
    for wrong in ("0123456789ABCDEF", "0123456789abcde", ""):
        with pytest.raises(ConfigError, match="firmware"):
            changed({"firmware": wrong})
    with pytest.raises(ConfigError, match="firmware is that of a board or of ArC TWO, not of a bench"):
        parse(ChipProfile, load_chip("bench-8").model_dump() | {"firmware": "0123456789abcdef"}, "it")
