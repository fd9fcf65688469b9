"""A driver on a model board, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rpudriver.backends.hardware.driver import Reply, Settings
from rpudriver.backends.hardware.profile import ChipProfile, load_chip
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.backends.validation import Limits
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.wires import Served, board_work, served

CHIP: ChipProfile = load_chip("emulated-64")
SETTINGS: Settings = CHIP.settings(Limits())
FAST: dict[str, Any] = {"patience": 0.02, "give_up": 1.0}


@dataclass
class Bench:
    """Both ends of the wire."""

    model: BoardModel
    end: Served
    driver: SerialBoard

    def run(self, operations: bytes) -> Reply:
        return self.driver.send(self.driver.stamp(operations), operations)

    def another(self, **options: Any) -> SerialBoard:
        """Return a driver as a process started after this one would have it."""
        self.driver.close()
        self.driver = SerialBoard(self.end.port, CHIP, **FAST | options)
        return self.driver


@contextmanager
def bench(model: BoardModel | None = None, arm: bool = True, **options: Any) -> Iterator[Bench]:
    model = BoardModel() if model is None else model
    with served(board_work(model)) as end:
        driver = SerialBoard(end.port, CHIP, **FAST | options)
        if arm:
            driver.connect()
            driver.arm(SETTINGS)
        found = Bench(model, end, driver)
        try:
            yield found
        finally:
            found.driver.close()
