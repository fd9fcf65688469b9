"""Promise 6: whoever opens a chip asks who is there, and changes nothing; not even that a board is armed."""

from pathlib import Path

import pytest

from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.backends.registry import make
from tests.backends.hardware import board_model
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.boards import modelled
from tests.backends.hardware.scpi.benches import exact_bench, open_bench, tapped
from tests.backends.hardware.serial.benches import CHIP, FAST, SETTINGS

__all__ = ["exact_bench", "modelled"]  # fixtures


def test_opening_a_board_greets_it_and_no_more(
    modelled: tuple[BoardModel, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, port = modelled
    before = SerialBoard(port, CHIP, **FAST)  # of a process that was killed
    before.connect()
    before.arm(SETTINGS)
    before.close()
    receive, asked = model.receive, list[int]()

    def note(stuffed: bytes) -> bytes | None:
        asked.append((board_model.unstuff(stuffed) or b"\0\0")[1])
        return receive(stuffed)

    monkeypatch.setattr(model, "receive", note)
    chip = make("serial-board", port=port, chip="emulated-64", state=str(tmp_path))
    assert set(asked) == {board_model.HELLO}
    assert (model.state, model.last_seq) == ((board_model.ARMED, 0), 1)
    assert not chip.status().armed
    chip.close()
    assert model.state[0] == board_model.IDLED


def test_opening_a_bench_asks_questions_and_no_more(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    with tapped(exact_bench, "source", "gates", "matrix") as (options, taps):
        chip = open_bench(exact_bench, tmp_path, **options)
        for name, tap in taps.items():
            assert tap.sent, name
            for message in tap.sent:
                assert message.endswith("?") or message.startswith("print("), f"{name} was told {message}"
                assert not {"=", ";"} & set(message)
        chip.close()
