"""What goes wrong on a bench: lost lines, killed instruments, wrong ones, limits that are hit. No pulse is repeated."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.hardware.scpi.link import Link
from rpudriver.errors import BoardError, ComplianceError, ConfigError, LinkLostError, NotArmedError
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse, Read
from tests.backends.hardware.boards import NOISE_FREE
from tests.backends.hardware.scpi.benches import (
    Tap,
    ask,
    at_rest,
    exact_bench,
    open_bench,
    profile_with,
    tapped,
)

__all__ = ["exact_bench"]  # a fixture


@pytest.fixture(autouse=True)
def _from_zero(exact_bench: EmulatedBench) -> None:
    exact_bench.oracle.set_weights(0, 0.0)


def ups(chip: Any, count: int = 3) -> list[Any]:
    array = chip.allocate("W", 4, 4)
    return [Pulse(array, counted_pulses(torch.full((4, 4), count))), Read(((array, 1.0),), torch.eye(4))]


def starts(tap: Tap) -> int:
    """Return how many programmes the source was told to start."""
    return sum(":INIT" in message for message in tap.sent)


# ---- lost in the middle ------------------------------------------------------------------------------------------


def cut_at(tap: Tap, which: int) -> None:
    """Lose the answer to the n-th pulse train, which has been done by then, and the line with it."""
    seen = [0]

    def answer(message: str, found: bytes) -> bytes | None:
        seen[0] += ":INIT" in message
        return None if seen[0] == which else found

    tap.answer = answer


def test_a_lost_reply_is_uncertain_and_the_batch_is_not_sent_again(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    with tapped(exact_bench, "source") as (options, taps):
        chip = open_bench(exact_bench, tmp_path, **options)
        chip.keep_journal(tmp_path / "j", resume=False)
        chip.arm()
        cut_at(taps["source"], 5)
        with pytest.raises(LinkLostError, match="no answer"):
            chip.run(ups(chip))
        taps["source"].answer = lambda message, found: found
        assert at_rest(exact_bench)  # the other instruments were told, and the source over a new line
        weights = exact_bench.weights(0)
        assert np.isclose(weights[:4, :4], 3 * 0.012, atol=1e-6).sum() == 5  # five devices had theirs
        with pytest.raises(NotArmedError):
            chip.run(ups(chip))
        chip.close()

        chip = open_bench(exact_bench, tmp_path, **options)
        chip.keep_journal(tmp_path / "j", resume=True)
        chip.arm()
        before = starts(taps["source"])
        (found,) = chip.run(ups(chip))  # what was uncertain is read, not pulsed
        assert starts(taps["source"]) - before == 16 + 16  # the batch's reads, and the devices it may have pulsed
        assert np.array_equal(exact_bench.weights(0), weights)
        assert np.allclose(found.values.numpy().T, weights[:4, :4], atol=0.02)
        chip.run(ups(chip)[:1])
        assert np.allclose(exact_bench.weights(0)[:4, :4], weights[:4, :4] + 3 * 0.012, atol=1e-6)
        chip.close()
    kinds = [line.type for line in lines(tmp_path / "j")]
    assert kinds.count(Type.UNCERTAIN) == 1
    assert at_rest(exact_bench)


def test_a_killed_bench_is_one_error_and_a_fresh_one_gets_no_old_pulse(tmp_path: Path) -> None:
    with EmulatedBench(**NOISE_FREE) as doomed, tapped(doomed, "source") as (options, taps):
        chip = open_bench(doomed, tmp_path, **options)
        chip.keep_journal(tmp_path / "j", resume=False)
        chip.arm()
        steps = ups(chip)

        def kill(message: str, found: bytes) -> bytes | None:
            if ":INIT" in message:
                doomed.close()
                return None
            return found

        taps["source"].answer = kill
        began = time.monotonic()
        with pytest.raises(LinkLostError):
            chip.run(steps)
        with pytest.raises(LinkLostError, match="not all outputs are known to be off"):
            chip.close()
        assert time.monotonic() - began < 25  # three instruments, each asked twice, three seconds each at most
    with EmulatedBench(**NOISE_FREE) as fresh:
        with open_bench(fresh, tmp_path) as chip:
            chip.keep_journal(tmp_path / "j", resume=True)
            chip.arm()
            chip.run(ups(chip))
            assert not fresh.weights(0).any()
        assert at_rest(fresh)
    assert [line.type for line in lines(tmp_path / "j")].count(Type.UNCERTAIN) == 1


PROGRAM = """
import sys, torch
from rpudriver.backends.registry import make
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse
source, gates, matrix, state = sys.argv[1:]
chip = make("scpi-bench", source=source, gates=gates, matrix=matrix, chip="bench-8", state=state)
chip.arm()
array = chip.allocate("W", 8, 8)
while True:
    chip.run([Pulse(array, counted_pulses(torch.full((8, 8), 1)))])
    print("batch", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_device_sees_volts_after_its_host_has_gone(
    number: signal.Signals, exact_bench: EmulatedBench, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", PROGRAM, *exact_bench.options.values(), str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as host:
        assert host.stdout is not None
        for _ in range(3):
            host.stdout.readline()
        host.send_signal(number)
        host.wait(30)
    with open_bench(exact_bench, tmp_path / "looker") as chip:
        if number is not signal.SIGKILL:
            assert chip.identity.reason == "outputs are off"  # type: ignore[attr-defined]
        # nobody could tell the instruments: but each train ends with the source's output off
        assert "2450" not in chip.identity.reason  # type: ignore[attr-defined]
        before = exact_bench.weights(0)
        time.sleep(0.2)
        assert np.array_equal(exact_bench.weights(0), before)
    assert at_rest(exact_bench)


# ---- who answers -------------------------------------------------------------------------------------------------


def test_exchanged_addresses_are_named(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    o = exact_bench.options
    for exchanged, wanted in (
        ({"source": o["gates"], "gates": o["source"]}, "not a Keithley 2450"),
        ({"gates": o["matrix"], "matrix": o["gates"]}, "not a Keithley 2602B"),
    ):
        with pytest.raises(BoardError, match=wanted):
            open_bench(exact_bench, tmp_path, **exchanged)
    assert at_rest(exact_bench)


def test_a_busy_instrument_and_a_wrong_port_are_a_lost_link(
    exact_bench: EmulatedBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Link.__init__, "__defaults__", (0.5,))
    _, host, port, _ = exact_bench.options["source"].split("::")
    with socket.create_connection((host, int(port))) as other:  # these instruments have room for one
        other.sendall(b"*IDN?\n")
        assert other.recv(100)
        with pytest.raises(LinkLostError, match=r"within 0\.5 s .* another program"):
            open_bench(exact_bench, tmp_path)
    with pytest.raises(LinkLostError):
        open_bench(exact_bench, tmp_path, source="TCPIP::127.0.0.1::9::SOCKET")
    with pytest.raises(LinkLostError):
        open_bench(exact_bench, tmp_path, source="no address")


def test_a_chip_without_a_bench_table_is_refused(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no \\[bench\\] table"):
        open_bench(exact_bench, tmp_path, chip="emulated-64")


def test_opening_changes_nothing_and_says_what_is_on(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    with tapped(exact_bench, "gates") as (options, taps):
        link = Link(__import__("pyvisa").ResourceManager("@py").open_resource, options["gates"])
        link.ask("smua.source.levelv=1 smua.source.output=1 print(1)")
        link.close()
        chip = open_bench(exact_bench, tmp_path, **options)
        assert chip.identity.reason == "output of the 2600 is on"  # type: ignore[attr-defined]
        assert not any("=" in message for message in taps["gates"].sent[1:])
        chip.close()
    assert at_rest(exact_bench)


# ---- limits in the instruments -----------------------------------------------------------------------------------


def test_the_current_limit_stops_a_train_at_its_first_pulse(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    profile = profile_with(tmp_path, ("compliance_a = 400e-6", "compliance_a = 50e-6"))
    with open_bench(exact_bench, tmp_path, profile) as chip:  # 50 uS at 1.35 V take 67 uA
        chip.keep_journal(tmp_path / "j", resume=False)
        chip.arm()
        with pytest.raises(ComplianceError, match="current limit"):
            chip.run(ups(chip, 30))
        assert at_rest(exact_bench)
        weights = exact_bench.weights(0)
        assert np.count_nonzero(weights) <= 1
        assert abs(weights).max() <= 0.012 + 1e-6  # of 30 pulses one at most, at the volts that the limit left
        with pytest.raises(NotArmedError):
            chip.run(ups(chip)[1:])
        chip.arm()
        chip.run(ups(chip)[1:])  # 0.2 V: 10 uA
    assert [line.content.tripped for line in lines(tmp_path / "j") if line.type is Type.RESULT] == [True, False]


def test_an_error_of_an_instrument_stops_a_batch(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    with tapped(exact_bench, "source") as (options, taps), open_bench(exact_bench, tmp_path, **options) as chip:
        chip.arm()
        seen = [0]

        def answer(message: str, found: bytes) -> bytes:
            seen[0] += ":INIT" in message
            return found.replace(b";0\n", b";1\n") if ":INIT" in message and seen[0] == 3 else found

        taps["source"].answer = answer
        with pytest.raises(LinkLostError, match="stopped on its way, and is to be settled: the 2450 reports"):
            chip.run(ups(chip))
        assert np.count_nonzero(exact_bench.weights(0)) == 3
        assert at_rest(exact_bench)


def test_limits_stay_in_the_instruments(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    with open_bench(exact_bench, tmp_path) as chip:
        chip.arm()
        chip.idle()  # nobody is connected now
        o = exact_bench.options
        assert ask(o["source"], ":SOUR:VOLT:RANG?;ILIM?;RANG:AUTO?") == "2;0.0004;0"
        assert ask(o["source"], ":SYST:ERR?;:SOUR:VOLT 5").startswith("0,")
        assert ask(o["source"], ":SYST:ERR?").startswith("-222")
        for relay in ("1109", "1301", "4116", "4308"):  # the source on a gate, the gates' source on a device
            refused = ask(o["matrix"], f"channel.close('{relay}')\nprint(errorqueue.next())")
            assert refused.startswith("1.12000e+03")
        ask(o["matrix"], "nonsense()\nprint(1)")  # an error that somebody left does not keep the bench from its rest
    assert at_rest(exact_bench)


def test_a_late_answer_is_not_taken_for_the_next_one(exact_bench: EmulatedBench) -> None:
    manager = __import__("pyvisa").ResourceManager("@py")
    with tapped(exact_bench, "source") as (options, taps):
        taps["source"].answer = lambda message, found: time.sleep(0.6 if "IDN" in message else 0) or found
        link = Link(manager.open_resource, options["source"], patience=0.3)
        with pytest.raises(LinkLostError):
            link.ask("*IDN?")
        time.sleep(0.6)
        assert link.ask("*LANG?") == "SCPI"
        link._waiting = True  # as after Ctrl-C in the middle of an exchange
        before = link._resource
        assert link.ask("*LANG?") == "SCPI"
        assert link._resource is not before
        link.close()


def test_a_limit_that_the_instrument_sets_otherwise_does_not_arm(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    with tapped(exact_bench, "source") as (options, taps), open_bench(exact_bench, tmp_path, **options) as chip:
        taps["source"].answer = lambda message, found: (
            found.replace(b"0.0004", b"0.1000") if "ILIM?" in message else found
        )
        with pytest.raises(BoardError, match=r"a limit of 0\.1"):
            chip.arm()
        assert not chip.status().armed
