"""What instruments report while a batch is done: an error or a limit ends it, at rest, and is never passed over."""

from pathlib import Path

import pytest
import torch

from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.hardware.scpi.link import Link
from rpudriver.errors import BoardError, ComplianceError, LinkLostError, NotArmedError
from rpudriver.trains import counted_pulses
from rpudriver.types import Array, Pulse, Read
from tests.backends.hardware.scpi.benches import ask, at_rest, exact_bench, open_bench, profile_with, tapped

__all__ = ["exact_bench"]  # a fixture


def pulse(array: Array) -> Pulse:
    return Pulse(array, counted_pulses(torch.full((2, 2), 1)))


@pytest.mark.parametrize(
    ("name", "question", "reply"),
    [
        ("matrix", "errorqueue.next()", b"1.11400e+03\tSettings conflict\t2\n"),  # of the look at the end
        ("gates", "errorqueue.next()", b"5.00700e+03\tOver temperature\t2\n"),
        ("source", ":SYST:ERR?", b'5074,"Interlock"\n'),
        ("matrix", "exclusiveclose", b"1.00000e+00\n"),  # of the look after each script
        ("gates", "levelv=", b"1.00000e+00\n"),
    ],
)
def test_an_error_of_any_instrument_ends_a_batch_at_rest(
    name: str, question: str, reply: bytes, exact_bench: EmulatedBench, tmp_path: Path
) -> None:
    with tapped(exact_bench, name) as (options, taps), open_bench(exact_bench, tmp_path, **options) as chip:
        chip.arm()
        array, seen = chip.allocate("W", 2, 2), list[str]()

        def once(message: str, found: bytes) -> bytes:
            if question not in message or seen:
                return found
            seen.append(message)
            return reply

        taps[name].answer = once
        with pytest.raises(LinkLostError, match="stopped on its way, and is to be settled"):
            chip.run([pulse(array)])
        assert seen
        assert at_rest(exact_bench)
        with pytest.raises(NotArmedError):
            chip.run([pulse(array)])


@pytest.mark.parametrize(
    ("name", "question", "reply", "words"),
    [
        ("matrix", "slot[2].idn", b"Empty Slot\n", "slot 2 of the matrix holds 'Empty Slot'"),
        ("source", "*LANG?", b"TSP\n", r"speaks TSP: send \*LANG SCPI"),
    ],
)
def test_an_instrument_that_is_set_up_otherwise_does_not_open(
    name: str, question: str, reply: bytes, words: str, exact_bench: EmulatedBench, tmp_path: Path
) -> None:
    with tapped(exact_bench, name) as (options, taps):
        taps[name].answer = lambda message, found: reply if question in message else found
        with pytest.raises(BoardError, match=words):
            open_bench(exact_bench, tmp_path, **options)


def test_the_current_limit_is_a_flag_of_reads_as_well(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    exact_bench.oracle.set_weights(0, 0.0)
    profile = profile_with(tmp_path, ("compliance_a = 400e-6", "compliance_a = 5e-6"))  # 50 uS at 0.2 V take 10 uA
    with open_bench(exact_bench, tmp_path, profile) as chip:
        chip.arm()
        read = Read(((chip.allocate("W", 2, 2), 1.0),), torch.eye(2))
        with pytest.raises(ComplianceError, match="current limit"):
            chip.run([read])
        assert at_rest(exact_bench)
        with pytest.raises(NotArmedError):
            chip.run([read])


def test_gates_are_closed_between_batches(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    with tapped(exact_bench, "gates") as (options, taps), open_bench(exact_bench, tmp_path, **options) as chip:
        chip.arm()
        chip.run([pulse(chip.allocate("W", 2, 2))])
        (*_, last) = (message for message in taps["gates"].sent if "source.output=" in message)
        assert "source.output=0" in last


def test_what_somebody_left_on_is_switched_off(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    manager, o = __import__("pyvisa").ResourceManager("@py"), exact_bench.options
    link = Link(manager.open_resource, o["source"])
    link.ask(":SOUR:VOLT 0.1;:OUTP ON;*OPC?")
    link.close()
    chip = open_bench(exact_bench, tmp_path)
    assert chip.identity.reason == "output of the 2450 is on"  # type: ignore[attr-defined]
    chip.close()
    assert at_rest(exact_bench)
    assert float(ask(o["source"], ":SOUR:VOLT?")) == 0
