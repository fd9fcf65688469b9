"""An emulated board for tests, and chips opened on it."""

from pathlib import Path
from typing import Any

import pytest

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.registry import make

NOISE_FREE: dict[str, Any] = {
    "preset": "idealised",
    "device": {"dw_min": 0.012, "w_min": -0.6, "w_max": 0.6},
    "read": {"output_noise": 0.0},
}


@pytest.fixture(scope="module")
def board() -> Any:
    with EmulatedBoard() as opened:
        yield opened


@pytest.fixture(scope="module")
def exact_board() -> Any:
    with EmulatedBoard(**NOISE_FREE) as opened:
        yield opened


def open_on(board: EmulatedBoard, state: Path, **options: Any) -> CrossbarBackend:
    return make("serial-board", port=board.port, chip="emulated-64", state=str(state), **options)
