"""What people connect, choose and pull out by mistake: each ends in words, outputs at rest, and nothing is lost."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.firmware.build import firmware_hash
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.backends.registry import make
from rpudriver.errors import BoardError, ComplianceError, JournalError, LinkLostError, OwnerError
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse, Read
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.boards import exact_board, open_on
from tests.backends.hardware.wires import board_work, served

__all__ = ["exact_board"]  # a fixture

PROFILE = Path(__file__).parents[3] / "backends/hardware/chips/emulated-64.toml"


def changed(folder: Path, *changes: tuple[str, str]) -> str:
    """Return the path of the board's profile with some lines changed."""
    text = PROFILE.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "changed.toml").write_text(text)
    return str(folder / "changed.toml")


def work(chip: Any, times: int = 1) -> None:
    """Pulse an array and read it."""
    array = chip.allocate("W", 8, 8)
    for _ in range(times):
        chip.run([Pulse(array, counted_pulses(torch.full((8, 8), 1))), Read(((array, 1.0),), torch.eye(8))])


@contextlib.contextmanager
def untouched(board: EmulatedBoard, folder: Path) -> Iterator[None]:
    """Look at the board before and after, as somebody else: not armed, no pulse, no device moved; and ready for use."""

    def look() -> tuple[int, str]:
        with open_on(board, folder / "looker") as chip:
            found = chip.identity  # type: ignore[attr-defined]
            assert not found.armed
            return found.pulses, found.reason

    look()
    before, weights = look(), board.weights(0)
    yield
    assert look() == before
    assert np.array_equal(board.weights(0), weights)
    with open_on(board, folder) as chip:  # nobody holds port or chip
        chip.arm()


def test_a_wrong_port(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    with untouched(exact_board, tmp_path):
        for port, words in (("/dev/no-such-port", "there is no port"), ("/dev/null", "cannot be opened as a serial")):
            with pytest.raises(BoardError, match=words):
                make("serial-board", port=port, chip="emulated-64", state=str(tmp_path))


def test_a_busy_port(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    with open_on(exact_board, tmp_path / "first") as chip:
        chip.arm()
        work(chip)
        with pytest.raises(
            OwnerError, match=f"{os.path.realpath(exact_board.port)} is in use by process {os.getpid()}"
        ):
            open_on(exact_board, tmp_path)
        work(chip)  # the owner goes on
    with untouched(exact_board, tmp_path):
        pass


def modem(data: bytes) -> bytes:
    """Echo, and an error for what is no command, as a modem does."""
    return data + b"\r\nERROR\r\n"


@pytest.mark.parametrize("answer", [modem, lambda data: data, lambda data: b"\r\nERROR\r\n"])
def test_a_modem_in_place_of_a_board(
    answer: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SerialBoard.__init__.__kwdefaults__, "give_up", 1.0)
    with served(answer) as end, pytest.raises(BoardError, match="answers, but not as a rpudriver board"):
        make("serial-board", port=end.port, chip="emulated-64", state=str(tmp_path))
    with served(board_work(BoardModel())) as end:  # another port, and it works
        make("serial-board", port=end.port, chip="emulated-64", state=str(tmp_path)).close()


def test_firmware_of_another_version(tmp_path: Path) -> None:
    model = BoardModel(major=2)
    with served(board_work(model)) as end:
        with pytest.raises(BoardError, match="speaks version 2 of the protocol, this driver version 1"):
            make("serial-board", port=end.port, chip="emulated-64", state=str(tmp_path))
        assert (model.last_seq, model.pulses, model.state) == (0, 0, (0, 4))


def test_firmware_that_is_not_the_one_that_the_profile_names(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    ours, other = firmware_hash().hex(), "0123456789abcdef"
    named = changed(tmp_path, ('chip = "emulated-64"', f'chip = "emulated-64"\nfirmware = "{other}"'))
    with (
        untouched(exact_board, tmp_path),
        pytest.raises(BoardError, match=f"the firmware is {ours}, the profile of 'emulated-64' names {other}"),
    ):
        make("serial-board", port=exact_board.port, chip=named, state=str(tmp_path))
    named = changed(tmp_path, ('chip = "emulated-64"', f'chip = "emulated-64"\nfirmware = "{ours}"'))
    with make("serial-board", port=exact_board.port, chip=named, state=str(tmp_path)) as chip:
        assert ours in chip.identity.firmware  # type: ignore[attr-defined]


def test_another_chip_than_the_profile_says(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    other = changed(tmp_path, ('chip = "emulated-64"', 'chip = "reram-7"'))
    with (
        untouched(exact_board, tmp_path),
        pytest.raises(BoardError, match=r"holds the chip 'emulated-64', .* 'reram-7'"),
    ):
        make("serial-board", port=exact_board.port, chip=other, state=str(tmp_path))


@pytest.mark.parametrize(
    ("wider", "words"),
    [
        (("cell_volts = 1.8", "cell_volts = 1.9"), "cell_volts = 1.9 V is more than .* 1.8 V"),
        (("half_volts = 0.9", "half_volts = 0.95"), "half_volts = 0.95 V is more"),
        (("width_s = 20e-6", "width_s = 21e-6"), "width_s = 2.1e-05 s is more"),
        (("compliance_a = 20e-3", "compliance_a = 21e-3"), "compliance_a = 0.021 A is more"),
    ],
)
def test_a_profile_that_is_wider_than_the_firmware(
    wider: tuple[str, str], words: str, exact_board: EmulatedBoard, tmp_path: Path
) -> None:
    with untouched(exact_board, tmp_path), pytest.raises(BoardError, match=words):
        make("serial-board", port=exact_board.port, chip=changed(tmp_path, wider), state=str(tmp_path))


def test_unplugged_during_a_frame(exact_board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a frame is on its way when the board goes; with the next one the run goes on, and pulses once."""
    exact_board.oracle.set_weights(0, 0.0)
    write = Link.write
    chip = open_on(exact_board, tmp_path)
    chip.keep_journal(tmp_path / "j", resume=False)
    chip.arm()
    work(chip)

    def half(self: Link, data: bytes) -> None:
        write(self, data[: len(data) // 2])
        exact_board.kill_firmware()

    with monkeypatch.context() as patch:
        patch.setattr(Link, "write", half)
        with pytest.raises(LinkLostError, match="check cable and power"):
            work(chip)
    weights = exact_board.weights(0)
    session = chip.identity.session  # type: ignore[attr-defined]
    with pytest.raises(LinkLostError):
        chip.close()
    exact_board.start_firmware()
    with untouched(exact_board, tmp_path):
        pass
    with open_on(exact_board, tmp_path) as chip:
        assert chip.identity.session != session  # type: ignore[attr-defined]
        chip.keep_journal(tmp_path / "j", resume=True)
        chip.arm()
        work(chip, times=2)  # the second is uncertain: read, not pulsed
        assert np.array_equal(exact_board.weights(0), weights)
        work(chip)
    assert np.allclose(exact_board.weights(0)[:8, :8], 2 * 0.012, atol=1e-6)
    kinds = [line.type for line in lines(tmp_path / "j")]
    assert (kinds.count(Type.INTENT), kinds.count(Type.UNCERTAIN), kinds.count(Type.REREAD)) == (3, 1, 1)


def test_half_a_frame_of_a_program_before(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    with untouched(exact_board, tmp_path):
        port = os.open(exact_board.port, os.O_RDWR | os.O_NOCTTY)
        os.write(port, b"\x20half a frame and no zero at its end")
        os.close(port)


def test_the_current_limit_at_the_first_pulse(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    tight = changed(tmp_path, ("compliance_a = 20e-3", "compliance_a = 10e-6"))
    exact_board.oracle.set_weights(0, 0.0)
    with make("serial-board", port=exact_board.port, chip=tight, state=str(tmp_path / "tight")) as chip:
        chip.keep_journal(tmp_path / "j", resume=False)
        chip.arm()
        with pytest.raises(ComplianceError, match=r"batch 0: .*outputs are at rest.*shorted device"):
            work(chip)
    assert not exact_board.weights(0).any()
    with untouched(exact_board, tmp_path):
        pass
    (result,) = (line.content for line in lines(tmp_path / "j") if line.type is Type.RESULT)
    assert (result.tripped, result.records) == (True, b"\1")


def test_a_journal_of_another_chip(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    other = changed(tmp_path, ("device_pulses = 1_000_000_000", "device_pulses = 999"))
    with make("dry-run", chip=other, state=str(tmp_path / "other")) as chip:
        chip.keep_journal(tmp_path / "j", resume=False)
        chip.arm()
        work(chip)
    journal = (tmp_path / "j").read_bytes()
    with (
        untouched(exact_board, tmp_path),
        open_on(exact_board, tmp_path / "here") as chip,
        pytest.raises(JournalError, match="is the journal of another profile"),
    ):
        chip.keep_journal(tmp_path / "j", resume=True)
    assert (tmp_path / "j").read_bytes() == journal
