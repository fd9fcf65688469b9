"""Batches translated and done by the double, in this process: what devices see is what the trains say."""

import numpy as np
import pytest

from rpudriver.backends.hardware.arc2.calls import Fire
from rpudriver.backends.hardware.arc2.child import Server
from rpudriver.backends.hardware.arc2.guard import Guard
from rpudriver.backends.hardware.arc2.program import Translator, duration_s
from rpudriver.backends.hardware.operations import decode
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.validation import Limits
from rpudriver.errors import BoardError, LinkLostError
from tests.backends.hardware.arc2 import batches, recording_arc2


def biased(profile, biasing):
    """Return the profile with another biasing scheme."""
    kinds = {name: kind.model_copy(update={"polarity": "both"}) for name, kind in profile.kinds.items()}
    envelope = profile.envelope.model_copy(update={"line_volts": 2.0, "half_volts": 2.0})
    return profile.model_copy(update={"biasing": biasing, "kinds": kinds, "envelope": envelope})


def guard_of(profile):
    e = profile.envelope
    return Guard(profile.arc2, e.line_volts, e.cell_volts, e.half_volts, e.read_volts, round(e.width_s * 1e9), 10**12)


def run(profile, batch):
    """Translate a batch, guard it, let the double do it, and return its records."""
    translator, steps = Translator(profile, profile.settings(Limits())), decode(batch, 8)
    program = translator.program(steps)
    guard_of(profile).check(program)
    server = Server(recording_arc2)
    server.answer(("open", 0, "fw"))
    return translator.records(steps, server.answer(("run", program)))


def random_trains(rng, samples, lines, bl):
    return rng.random((samples, lines, bl)) < 0.4, rng.random((samples, lines)) < 0.5


@pytest.mark.parametrize("biasing", ["v/2", "v/3"])
@pytest.mark.parametrize("flip", [False, True])
def test_devices_see_the_pulses_of_the_trains(chip, profile, biasing, flip):
    rng = np.random.default_rng(3)
    (x, x_negative), (d, d_negative) = random_trains(rng, 2, 20, 5), random_trains(rng, 2, 13, 5)
    batch = batches.pulse(x, d, x_negative, d_negative, row=7, column=11, flip=flip, repeat=2)
    run(biased(profile, biasing), batch)
    wanted = np.zeros((32, 32), int)
    (operation,) = decode(batch, 8)
    wanted[7:20, 11:31] = 2 * sum(sample.counts(flip) for sample in operation.samples)
    assert np.array_equal(chip()["pulses"], wanted)
    assert np.abs(wanted).max() > 1
    assert chip()["events"] == ["open", "execute"]  # one for the whole batch
    assert chip()["levels"] == [0.0] * 64


@pytest.mark.parametrize(("biasing", "disturbed"), [("v/2", 2 * 31), ("v/3", 1023)])
def test_which_devices_are_disturbed(chip, profile, biasing, disturbed):
    run(biased(profile, biasing), batches.one_pulse(3, 4))
    assert chip()["half"] == disturbed
    assert chip()["pulses"][3][4] == 1


def test_slots_that_select_no_device_are_left_out(chip, profile):
    x, d = np.zeros((1, 2, 4), bool), np.zeros((1, 2, 4), bool)
    x[0, 0, :2], d[0, 1, 1:] = True, True  # they meet in slot 1 only
    none = np.zeros((1, 2), bool)
    program = Translator(profile, profile.settings(Limits())).program(decode(batches.pulse(x, d, none, none), 8))
    assert sum(isinstance(call, Fire) for call in program) == 1


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("scale", [0, 1])
def test_reads_are_products_with_the_weights(chip, profile, transposed, scale):
    rng = np.random.default_rng(5)
    rows, columns = (9, 21), (2, 28)
    inputs = (rows if transposed else columns)[1] - (rows if transposed else columns)[0]
    codes = rng.integers(-127, 128, (4, inputs))
    batch = batches.read(codes, row=9, rows=12, column=2, columns=26, transposed=transposed, scale=scale)
    records = run(profile, batch)
    part = recording_arc2.weights(chip())[slice(*rows), slice(*columns)]
    outputs = codes / 127 @ (part if transposed else part.T)
    found = np.frombuffer(records[1:], "<i2").reshape(outputs.shape) / 2047 * profile.output_bound * (1 + scale)
    step = profile.output_bound * (1 + scale) / 2047
    assert np.abs(found - outputs).max() <= 0.51 * step + 1e-4  # half a code, and single precision
    assert np.abs(outputs).max() > 10 * step


def test_a_differential_read_subtracts_the_second_rectangle(chip, profile):
    codes = np.full((1, 4), 127)
    found = np.frombuffer(run(profile, batches.read(codes, rows=3, columns=4, second=(3, 4)))[1:], "<i2")
    weights = recording_arc2.weights(chip())
    wanted = (weights[:3, :4] - weights[3:6, 4:8]).sum(1)
    assert np.abs(found / 2047 * profile.output_bound - wanted).max() <= 0.51 * profile.output_bound / 2047 + 1e-4


def test_outputs_beyond_full_scale_are_at_the_end_of_the_converter(chip, profile):
    narrow = profile.model_copy(
        update={"converters": profile.converters.model_copy(update={"amperes_full_scale": 1e-6})}
    )
    found = np.frombuffer(run(narrow, batches.read(np.full((1, 32), 127)))[1:], "<i2")
    assert np.abs(found).max() == 2047


def test_no_number_from_the_instrument_is_an_error(chip, profile, monkeypatch):
    monkeypatch.setenv("ARC2_FAULT", "nan")
    with pytest.raises(LinkLostError, match="no number"):
        run(profile, batches.read(np.ones((1, 32))))


def test_the_duration_holds_pulses_pauses_and_waits(profile):
    batch = batches.one_pulse(repeat=10) + batches.wait(1000)
    program = Translator(profile, profile.settings(Limits())).program(decode(batch, 8))
    assert duration_s(program) == pytest.approx(10 * (2 * 2.5e-6 + 30e-6 + 40e-6) + 1e-3)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (batches.one_pulse(row=32), "rows up to 33"),
        (batches.one_pulse(kind=3), "kind 3 is not among the 3"),
        (batches.one_pulse(kind=0), "kind 0 is not armed upwards"),  # reset goes down
        (batches.one_pulse(kind=1, down=True), "kind 1 is not armed downwards"),
        (batches.read(np.full((1, 32), 101)), "input code of 101 is beyond the 100"),
    ],
)
def test_what_is_not_armed_is_refused(profile, batch, words):
    settings = profile.settings(Limits(max_input=100 / 127))
    with pytest.raises(BoardError, match=words):
        Translator(profile, settings).program(decode(batch, 8))


def test_long_trains_are_refused(profile):
    one, none = np.ones((1, 1, 8), bool), np.zeros((1, 1), bool)
    with pytest.raises(BoardError, match="bit length of 8 is beyond the 4"):
        Translator(profile, profile.settings(Limits(max_bl=4))).program(decode(batches.pulse(one, one, none, none), 8))


def test_the_shipped_profile_is_that_of_the_board():
    profile = load_chip("arc2-32")
    assert profile.arc2.rows == tuple(recording_arc2.ROWS)
    assert profile.arc2.columns == tuple(recording_arc2.COLUMNS)
