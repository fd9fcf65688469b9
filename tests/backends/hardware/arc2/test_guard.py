"""Nothing outside the envelope gets past the guard, at the exact edges too; the profile's wiring is checked."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver.backends.hardware.arc2.calls import Bias, Delay, Fire, Sense
from rpudriver.backends.hardware.arc2.guard import SLACK, VOLTS_PER_CODE, Guard, code, rises
from rpudriver.backends.hardware.arc2.wiring import Wiring
from rpudriver.backends.hardware.profile import ChipProfile, load_chip
from rpudriver.config.model import parse
from rpudriver.errors import BoardError, ConfigError
from tests.backends.hardware.arc2 import recording_arc2

WIRING = Wiring(rows=(0, 1), columns=(8, 9))
GUARD = Guard(
    WIRING, line_volts=1.0, cell_volts=1.5, half_volts=0.9, read_volts=0.2, width_ns=10_000, total_ns=1_000_000
)


CHANNELS = {"r0": 0, "r1": 1, "c0": 8, "c1": 9}


def fire(nanos=1000, active=("r0", "c0"), **volts):
    """Volts by the name of a channel: r0, r1 are rows, c0, c1 columns."""
    levels = tuple((CHANNELS[name], value) for name, value in volts.items())
    return Fire(levels, nanos, frozenset(CHANNELS[name] for name in active))


def test_the_edges_pass():
    GUARD.check((fire(r0=0.75, c0=-0.75), fire(r0=-1.0), fire(nanos=40, r0=1.0), fire(nanos=10_000, r0=1.0)))
    GUARD.check((fire(r0=0.75, r1=VOLTS_PER_CODE, c0=-0.75, c1=0.0), fire(r0=0.9, c1=0.0)))
    GUARD.check((Bias(((0, 0.2), (8, -0.2))), Sense((0, 1)), Delay(900_000)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (fire(r0=1.0 + 2 * SLACK), "on channel 0 is outside -1 .. 1 V"),
        (fire(r0=math.nan), "nan V on channel 0"),
        (fire(c1=-math.inf), "-inf V on channel 9"),
        (fire(r0=0.8, c0=-0.8), "1.6 V across a device is beyond 1.5"),
        (fire(r0=-0.8, c0=0.8), "1.6 V across a device is beyond 1.5"),
        (fire(r0=0.91, c0=0.0, active=("r0",)), "0.91 V across a half-selected device is beyond 0.9"),
        (fire(r1=-0.5, c1=0.5), "1 V across a half-selected device is beyond 0.9"),
        (fire(r0=0.7, c0=-0.7, active=("c0",)), "1.4 V across a half-selected"),
        (fire(nanos=39, r0=0.5), "39 ns is outside 40 .. 10000"),
        (fire(nanos=10_001, r0=0.5), "10001 ns is outside"),
        (fire(r0=0.5, r1=-0.5), "pulses the other way"),
        (fire(r0=0.5, r1=0.0), "pulses the other way"),  # the library's rule: 0 V counts as falling
        (Bias(((0, 0.21),)), "0.21 V on channel 0 is outside -0.2 .. 0.2"),
        (Bias(((5, 0.1),)), "not wired"),
        (Fire(((63, 0.1),), 1000, frozenset()), "not wired"),
        (Fire(((0, 5.0), (0, 0.1)), 1000, frozenset()), "5 V on channel 0"),
        (Bias(((0, 0.2), (0, 0.1))), "named twice"),
        (Sense((0, 40)), r"\[40\] are not wired"),
        (Delay(-1), "delay of -1"),
        (Delay(1_000_001), "1000001 ns"),
    ],
)
def test_what_is_beyond_is_refused_with_nothing_sent(call, words):
    with pytest.raises(BoardError, match=words):
        GUARD.check((fire(r0=0.1), call))


def test_no_envelope_reaches_past_the_converter():
    wide = Guard(WIRING, 100.0, 100.0, 100.0, 100.0, 10**10, 10**12)
    for call in (fire(r0=10.1), Bias(((0, -10.1),))):
        with pytest.raises(BoardError, match=r"-10 \.\. 10"):
            wide.check((call,))
    with pytest.raises(BoardError, match="500000000"):
        wide.check((fire(nanos=500_000_001, r0=1.0),))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 8, 9]), st.floats() | st.floats(-1, 1)), max_size=5),
    st.frozensets(st.sampled_from([0, 1, 8, 9])),
)
def test_whatever_passes_is_inside(volts, active):
    try:
        GUARD.check((Fire(tuple(volts), 1000, active),))
    except BoardError:
        return
    assert len(dict(volts)) == len(volts)
    values = dict(volts)
    assert all(abs(value) <= 1.0 + SLACK for value in values.values())
    for row, column in itertools.product({0, 1} & set(values), {8, 9} & set(values)):
        most = 1.5 if {row, column} <= active else 0.9 + VOLTS_PER_CODE
        assert abs(values[row] - values[column]) <= most + SLACK
    # the library takes it as well: no clip, one polarity a cluster
    recording_arc2.Instrument.pulse_slice_fast_open(_Queue(), [(c, v, 0.0) for c, v in volts], [1000] * 8, True)


class _Queue:
    queued: list = []  # noqa: RUF012


@settings(max_examples=300)
@given(st.floats(-10, 10))
def test_codes_are_the_librarys(volts):
    assert code(volts) == recording_arc2.raw(volts)


def test_one_code_is_the_least_that_rises():
    assert rises(VOLTS_PER_CODE)
    assert not rises(0.0)
    assert code(VOLTS_PER_CODE) == code(0.0) + 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arc2": {"rows": [0, 1], "columns": [8]}}, "names 2 channels for 1 lines|names 1 channels for 2"),
        ({"arc2": {"rows": [0, 1], "columns": [1, 8]}}, r"share or repeat the channels \[1\]"),
        ({"arc2": {"rows": [0, 1], "columns": [2, 8]}}, r"clusters \[0\]"),
        ({"arc2": {"rows": [0, 64], "columns": [8, 9]}}, "64"),
        ({"arrays": 2}, "2 arrays"),
        ({"biasing": "1t1r"}, "1t1r"),
        ({"envelope.line_volts": 12.0}, "ArC TWO has 10 V at most"),
        ({"kinds.update.width_s": 1e-8}, "ArC TWO pulses for"),
    ],
)
def test_profiles_that_cannot_be_wired_are_refused(change, words):
    data = load_chip("arc2-32").model_dump() | {"rows": 2, "columns": 2, "arc2": {"rows": [0, 1], "columns": [8, 9]}}
    parse(ChipProfile, data, "it")  # sound before the change
    for path, value in change.items():
        *folders, key = path.split(".")
        table = data
        for folder in folders:
            table = table[folder]
        table[key] = value
    with pytest.raises(ConfigError, match=words):
        parse(ChipProfile, data, "it")
