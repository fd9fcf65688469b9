"""The driver with a real child process that hangs, panics, crashes and is killed; nothing is ever repeated."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rpudriver.backends.hardware.arc2.calls import Fire
from rpudriver.backends.hardware.arc2.driver import Arc2Driver
from rpudriver.backends.hardware.arc2.link import Child
from rpudriver.backends.hardware.driver import Fate, Ticket
from rpudriver.backends.validation import Limits
from rpudriver.errors import BoardError, ConfigError, LinkLostError, NotArmedError
from tests.backends.hardware.arc2 import batches, recording_arc2
from tests.backends.hardware.wires import within

PULSE = batches.one_pulse(3, 4)
_SOME = np.random.default_rng(0).random((4, 32, 31)) < 0.3  # 4 samples: hundreds of slots
LONG = batches.pulse(_SOME, _SOME, _SOME[:, :, 0], _SOME[:, :, 1])


def ready(driver, settings):
    driver.connect()
    driver.arm(settings)
    return driver


def gone(pid):
    """Tell whether a process has ended, after a moment."""
    for _ in range(400):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_connecting_changes_nothing_and_arming_opens(driver, settings, chip):
    identity = driver.connect()
    assert (identity.chip, identity.armed, identity.pulses) == ("arc2-32", False, None)
    assert "libarc2 0.6.0" in identity.firmware
    assert chip()["events"] == []
    driver.arm(settings)
    assert chip()["events"] == ["open"]


def test_pulses_and_reads(driver, settings, chip):
    ready(driver, settings)
    for batch in (PULSE, PULSE, batches.wait(10)):
        assert driver.run(driver.stamp(batch), batch).records == b"\0"
    codes = np.zeros((1, 32), int)
    codes[0, 4] = 127
    batch = batches.read(codes)
    found = batches.output_codes(driver.run(driver.stamp(batch), batch), 1, 32)[0] / 2047 * 12
    assert chip()["pulses"][3][4] == 2
    assert found == pytest.approx(recording_arc2.weights(chip())[:, 4], abs=0.51 * 12 / 2047 + 1e-4)


def test_refused_batches_reach_no_process(driver, settings, chip):
    ready(driver, settings)
    for batch, words in ((batches.one_pulse(row=40), "rows up to 41"), (batches.wait(6_000_000), "armed; send less")):
        with pytest.raises(BoardError, match=words):
            driver.run(driver.stamp(batch), batch)
    assert driver.child.process.poll() is None
    assert chip()["events"] == ["open"]
    assert driver.run(driver.stamp(PULSE), PULSE).records == b"\0"  # and the next one is done


def test_a_batch_before_arming_after_idle_or_out_of_order_is_refused(driver, settings, chip):
    driver.connect()
    with pytest.raises(NotArmedError, match="not armed"):
        driver.run(driver.stamp(PULSE), PULSE)
    driver.arm(settings)
    stamp = driver.stamp(PULSE)
    driver.run(stamp, PULSE)
    with pytest.raises(BoardError, match="not the next one"):
        driver.run(stamp, PULSE)
    driver.idle()
    with pytest.raises(NotArmedError, match="not armed"):
        driver.run(driver.stamp(PULSE), PULSE)
    assert chip()["pulses"][3][4] == 1


@pytest.mark.parametrize(
    ("fault", "pulses", "words"),
    [
        ("hang", 1, "library: (its process ended|no answer)"),
        ("hold", 1, "library: (its process ended|no answer)"),
        ("panic", 1, "PanicException: called"),
        ("crash", 1, "its process ended"),
        ("execute", 0, "write failed"),
        ("late", 1, "half way"),
        ("half", 1, "half way"),
    ],
)
def test_a_library_that_fails_is_one_error_and_pulses_at_most_once(
    driver, settings, chip, monkeypatch, fault, pulses, words
):
    monkeypatch.setenv("ARC2_FAULT", fault)
    ready(driver, settings)
    pid, stamp, began = driver.child.process.pid, driver.stamp(PULSE), time.monotonic()
    with pytest.raises(LinkLostError, match=words):
        driver.run(stamp, PULSE)
    assert driver.settle(stamp, PULSE) is Fate.UNKNOWN
    assert time.monotonic() - began < 5.0  # 1.5 s, a second of grace, and a busy machine
    assert gone(pid)
    monkeypatch.delenv("ARC2_FAULT")
    assert driver.connect().session != stamp.session
    assert driver.settle(stamp, PULSE) is Fate.UNKNOWN
    driver.idle()
    driver.arm(settings)
    driver.run(driver.stamp(batches.wait(1)), batches.wait(1))
    assert chip()["pulses"][3][4] == pulses
    assert chip()["levels"] == [0.0] * 64


def test_a_refusal_while_queueing_sends_nothing_and_discards_the_instance(driver, settings, chip, monkeypatch):
    monkeypatch.setenv("ARC2_FAULT", "refuse")
    ready(driver, settings)
    batch = batches.one_pulse(3, 4, repeat=3)
    pid = driver.child.process.pid
    with pytest.raises(BoardError, match="polarity bit; nothing was sent"):
        driver.run(driver.stamp(batch), batch)
    assert gone(pid)
    monkeypatch.delenv("ARC2_FAULT")
    driver.idle()
    assert chip()["pulses"][3][4] == 0  # what the old instance had queued is gone with it


@pytest.mark.parametrize(("batch", "words"), [(PULSE, "no answer within"), (LONG, "is gone")])
def test_a_stopped_child_is_killed(driver, settings, chip, batch, words):
    ready(driver, settings)
    process, began = driver.child.process, time.monotonic()
    process.send_signal(signal.SIGSTOP)  # its own alarm cannot end it now, and a long batch fills the pipe
    with pytest.raises(LinkLostError, match=words):
        within(15.0, lambda: driver.run(driver.stamp(batch), batch))
    assert time.monotonic() - began < 8.0  # 1 s, up to 2 s of grace, the batch itself, and a busy machine
    assert gone(process.pid)


def test_a_child_whose_caller_dies_while_it_fails_sends_nothing_that_is_queued(chip, monkeypatch, tmp_path):
    """It has to end: putting channels to rest would send the half of a batch that the library holds."""
    monkeypatch.setenv("ARC2_FAULT", "refuse")
    child = Child("recording_arc2")
    child.ask("open", 0, "fw", limit_s=5.0)
    fires = tuple(Fire(((0, 1.35), (16, 0.0)), 100, frozenset({0, 16})) for _ in range(6))
    child._pipe.send((5.0, ("run", fires)))
    assert child._pipe.poll(5.0)
    child._pipe.close()  # as when the caller is killed
    assert gone(child.process.pid)
    assert chip()["events"] == ["open"]
    child.process.wait()


def test_ctrl_c_in_a_terminal_does_not_reach_the_child(driver):
    """It goes to all processes of the terminal's session; the child has to live until it is told to rest."""
    driver.connect()
    assert os.getsid(driver.child.process.pid) == driver.child.process.pid != os.getsid(0)


def test_idle_puts_channels_to_rest(driver, settings, chip):
    ready(driver, settings)
    driver.idle()
    assert chip()["events"] == ["open", "execute"]


def test_a_child_that_was_killed_between_batches(driver, settings, chip):
    ready(driver, settings)
    driver.child.process.kill()
    driver.child.process.wait()
    with pytest.raises(LinkLostError):
        driver.run(driver.stamp(PULSE), PULSE)
    driver.idle()  # a new instance does it
    assert chip()["events"] == ["open", "open"]


def test_settling(driver, settings, chip):
    ready(driver, settings)
    stamp = driver.stamp(PULSE)
    assert driver.settle(stamp, PULSE) is Fate.NOT_DONE  # it was never sent
    assert driver.run(stamp, PULSE) == driver.settle(stamp, PULSE)
    later = driver.stamp(PULSE)
    driver.idle()
    assert driver.settle(later, PULSE) is Fate.NOT_DONE
    assert driver.settle(Ticket(stamp.session ^ 2, 1, stamp.crc), PULSE) is Fate.UNKNOWN
    assert chip()["pulses"][3][4] == 1


def test_closing_rests_and_may_be_repeated(driver, settings, chip):
    ready(driver, settings)
    pid = driver.child.process.pid
    driver.close()
    driver.close()
    assert gone(pid)
    assert chip()["events"] == ["open", "execute"]


CALLER = """
import sys, time
from pathlib import Path
from rpudriver.backends.hardware.arc2.driver import Arc2Driver
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.validation import Limits
profile = load_chip("arc2-32")
driver = Arc2Driver(profile, Path(sys.argv[1]), library="recording_arc2", timeout_s=1.5)
driver.connect()
driver.arm(profile.settings(Limits()))
print(driver.child.process.pid, flush=True)
if len(sys.argv) > 2:
    batch = bytes.fromhex(sys.argv[2])
    driver.run(driver.stamp(batch), batch)
time.sleep(60)
"""


def test_a_killed_caller_leaves_outputs_at_rest_and_no_process(driver, chip, tmp_path):
    command = [sys.executable, "-c", CALLER, str(tmp_path / "arc2fw.bin")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as caller:
        pid = int(caller.stdout.readline())
        caller.kill()
    assert gone(pid)
    assert chip()["events"] == ["open", "execute"]


@pytest.mark.parametrize("fault", ["hang", "hold"])
def test_a_library_that_hangs_does_not_outlive_a_killed_caller(driver, chip, tmp_path, monkeypatch, fault):
    monkeypatch.setenv("ARC2_FAULT", fault)
    command = [sys.executable, "-c", CALLER, str(tmp_path / "arc2fw.bin"), PULSE.hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as caller:
        pid = int(caller.stdout.readline())
        for _ in range(1000):
            if chip()["events"] == ["open", "execute"]:
                break
            time.sleep(0.01)
        caller.kill()
    assert gone(pid)
    assert (chip()["pulses"][3][4], chip()["levels"]) == (1, [0.0] * 64)


def test_no_instrument_no_library_no_firmware_no_wiring(driver, profile, settings, monkeypatch, tmp_path):
    monkeypatch.setenv("ARC2_FAULT", "absent")
    with pytest.raises(BoardError, match=r"no ArC TWO on port 0 \(found: none\)"):
        driver.connect()
    monkeypatch.setenv("ARC2_FAULT", "firmware")
    driver.connect()
    with pytest.raises(BoardError, match="cannot program"):
        driver.arm(settings)
    firmware = tmp_path / "arc2fw.bin"
    with pytest.raises(BoardError, match=r"pip install 'rpudriver\[arc2\]'"):
        Arc2Driver(profile, firmware, library="no_such_library").connect()
    with pytest.raises(ConfigError, match=r"firmware .* is not there"):
        Arc2Driver(profile, tmp_path / "none.bin")
    with pytest.raises(ConfigError, match=r"no table \[arc2\]"):
        Arc2Driver(profile.model_copy(update={"arc2": None}), firmware)


def test_the_envelope_holds_to_the_last_code_and_nothing_reaches_the_library_beyond_it(
    driver, profile, settings, chip, tmp_path
):
    code = profile.converters.volts_per_input_code
    edge = profile.envelope.model_copy(update={"read_volts": 100 * code})
    firmware = tmp_path / "arc2fw.bin"
    tight = Arc2Driver(profile.model_copy(update={"envelope": edge}), firmware, library="recording_arc2")
    ready(tight, settings)
    codes = np.zeros((2, 32), int)
    for largest in (101, -101):
        codes[1, 31] = largest  # the last of the batch
        batch = PULSE + batches.read(codes)
        with pytest.raises(BoardError, match=r"V on channel 63 is outside .* nothing was sent"):
            tight.run(tight.stamp(batch), batch)
    assert chip()["events"] == ["open"]
    assert tight.child.process.poll() is None
    codes[1, 31] = 100
    batch = PULSE + batches.read(codes)
    tight.run(tight.stamp(batch), batch)
    assert chip()["pulses"][3][4] == 1
    tight.close()


@pytest.mark.parametrize("version", ["0.5.1", "0.7.0", "1.0"])
def test_another_version_of_the_library_is_not_used(driver, monkeypatch, chip, version):
    monkeypatch.setenv("ARC2_VERSION", version)
    with pytest.raises(BoardError, match=rf"version {version}, .* for 0\.6\.x.* pip install 'rpudriver\[arc2\]'"):
        driver.connect()
    assert driver.child is None
    assert chip()["events"] == []


def test_kinds_beyond_the_envelope_are_not_armed(driver, profile, chip):
    strong = profile.kinds["update"].model_copy(update={"volts_up": 1.9})
    wide = profile.model_copy(update={"kinds": profile.kinds | {"update": strong}})
    driver.connect()
    with pytest.raises(BoardError, match=r"kind 2: 1.9 V on a device is beyond 1.8"):
        driver.arm(wide.settings(Limits()))
    assert chip()["events"] == []


def test_the_real_library_answers_without_an_instrument(profile, driver, tmp_path):
    pytest.importorskip("pyarc2", reason="pyarc2 is not installed: pip install 'rpudriver[arc2]'")
    with pytest.raises(BoardError, match=r"no ArC TWO on port 0"):
        Arc2Driver(profile, tmp_path / "arc2fw.bin").connect()
