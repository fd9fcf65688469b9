"""An emulated board for tests, and chips opened on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.registry import make
from rpudriver.trains import TrainSource, draw_trains
from rpudriver.types import Cell, Port, Pulse, Read, Step, Wait
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.wires import board_work, served

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


@pytest.fixture
def modelled() -> Iterator[tuple[BoardModel, str]]:
    """Give a model of the board, of which a test may change all, and its port."""
    model = BoardModel()
    with served(board_work(model)) as end:
        yield model, end.port


def open_on(board: EmulatedBoard, state: Path, **options: Any) -> CrossbarBackend:
    return make("serial-board", port=board.port, chip="emulated-64", state=str(state), **options)


def every_step(chip: CrossbarBackend, cell: Cell, shape: tuple[int, int], samples: int, codes: int) -> list[Step]:
    """Return steps of every kind on a new array, with signs of all four pairs; inputs are whole `codes`."""
    n_out, n_in = shape
    array = chip.allocate(f"W {cell.value}", n_out, n_in, cell)
    draw = torch.Generator().manual_seed(3)
    x, d = torch.randn(samples, n_in, generator=draw), torch.randn(samples, n_out, generator=draw)
    trains = draw_trains(x, d, lr=0.3, dw_min=0.012, max_bl=31, source=TrainSource(1, "W/trains"), first=0)
    steps: list[Step] = [Pulse(array, trains, repeat=3), Wait(0.003), Pulse(array, trains[3:5])]
    if cell is not Cell.SINGLE:
        steps.append(Pulse(array, trains[:4], port=Port.REFERENCE))
    x = (torch.rand(5, n_in, generator=draw) * 2 - 1).mul(codes).round() / codes
    return [*steps, Read(((array, 1.0),), x), Read(((array, 1.0),), x[:, :n_out], transposed=True)]
