"""The hardware backend on the reference firmware over an emulated chip: everything but the silicon is real."""

import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.checker import check_backend
from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.endurance import pulses_of
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.backends.registry import make
from rpudriver.backends.updates import Drawing, Update
from rpudriver.backends.validation import Limits
from rpudriver.errors import ComplianceError, JournalError, LimitError, NotArmedError, OwnerError
from rpudriver.trains import TrainSource, counted_pulses, draw_trains
from rpudriver.types import Cell, Pulse, Read
from tests.backends.hardware.boards import NOISE_FREE, board, every_step, exact_board, open_on

__all__ = ["board", "exact_board"]  # fixtures


def test_the_board_keeps_the_contract(board: EmulatedBoard, tmp_path: Path) -> None:
    report = check_backend(lambda: open_on(board, tmp_path))
    assert report.passed, str(report)
    skipped = {
        "same-seed",
        "grouping-free",
        "restore-continues",
        *(n for n in report.names("skipped") if "snapshot" in n),
    }
    assert set(report.names("skipped")) == skipped
    assert len(report.names("passed")) > 40


# ---- broken drivers are caught -----------------------------------------------------------------------------------

Bend = Callable[[int, int, bytes], tuple[int, bytes] | None]  # op, flags, body -> flags and body, None: left out


def _flags(op: int, bits: int) -> Bend:
    return lambda what, flags, body: (flags ^ bits if what == op else flags, body)


def _byte(op: int, at: int, value: int) -> Bend:
    return lambda what, flags, body: (flags, body[:at] + bytes([value]) + body[at + 1 :] if what == op else body)


MUTANTS: dict[str, tuple[Bend, str]] = {
    "directions are exchanged": (_flags(wire.PULSE, wire.FLIP), "polarity"),
    "every kind is an update": (_byte(wire.PULSE, 1, 2), "kinds-declared"),
    "repeats are lost": (_byte(wire.PULSE, 14, 1), "repeat-honoured"),
    "pulses go to the neighbour": (_byte(wire.PULSE, 2, 8), "read-orientation"),
    "outputs are in another range": (_byte(wire.READ, 1, 1), "mean-step"),
    "reads are of the first rows": (_byte(wire.READ, 2, 0), "arrays-isolated"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_driver_is_caught_by_the_check_that_names_it(
    name: str, board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bend, check = MUTANTS[name]
    sound = SerialBoard.run
    assert check_backend(lambda: open_on(board, tmp_path), only=[check]).passed

    def run(self: SerialBoard, ticket: Ticket, operations: bytes) -> Reply:
        out = []
        for op, flags, body in wire.pieces(operations):
            flags, body = bend(op, flags, body) or (flags, body)
            out.append(wire.OPERATION.pack(op, flags, len(body)) + body)
        bent = b"".join(out)
        return sound(self, self.stamp(bent), bent)

    monkeypatch.setattr(SerialBoard, "run", run)
    report = check_backend(lambda: open_on(board, tmp_path), only=[check])
    assert report.names("failed") == [check], str(report)


# ---- the same pulses as on the simulator -------------------------------------------------------------------------


@pytest.mark.parametrize("cell", list(Cell))
def test_board_and_simulator_give_the_same(cell: Cell, exact_board: EmulatedBoard, tmp_path: Path) -> None:
    results = []
    exact_board.oracle.set_weights(0, 0.0)
    for opened in (
        open_on(exact_board, tmp_path),
        make("simulated", profile="small", chip={"rows": 64, "columns": 64}, **NOISE_FREE),
    ):
        with opened as chip:
            chip.arm()
            results.append(chip.run(every_step(chip, cell, (20, 30), samples=12, codes=63)))
            cost = chip.status().cost
        results.append(cost)
    for one, other in zip(results[0], results[2], strict=True):
        # currents are summed in volts and siemens: a sum in the middle between two codes may fall either way
        assert torch.allclose(one.values, other.values, atol=12 / 255 + 1e-6)
        assert (one.values == other.values).float().mean() > 0.98
    assert {k: results[1][k] for k in ("samples", "coincidences", "line_pulses", "reads")} == {
        k: results[3][k] for k in ("samples", "coincidences", "line_pulses", "reads")
    }


def test_trains_drawn_on_the_board_are_those_of_the_host(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(5)
    x, d = torch.randn(6, 40, generator=draw), torch.randn(6, 50, generator=draw)
    drawing = Drawing(lr=0.2, dw_min=0.012, max_bl=200, update_management=True, bl_management=False)
    found = []
    for drawn in (True, False):
        exact_board.oracle.set_weights(0, 0.0)
        with open_on(exact_board, tmp_path) as chip:
            chip.arm()
            array = chip.allocate("W", 50, 40)
            update = Update(array, x, d, drawing, TrainSource(9, "W/trains"), 7)
            if drawn:
                chip.keep_journal(tmp_path / "drawn.journal", resume=False)
                chip.update(update)
            else:
                chip.run([update.step()])
        found.append(exact_board.weights(0))
    assert np.array_equal(found[0], found[1])
    assert np.abs(found[0][:50, :40]).max() > 0.1
    sent = [line.content[1] for line in lines(tmp_path / "drawn.journal") if line.type is Type.INTENT]
    assert sum(len(operations) for operations in sent) < 6 * (90 * 4 + 60) + 200  # 200 slots would take 25 bytes a line


# ---- what is refused, and what is counted ------------------------------------------------------------------------


def test_nothing_leaves_where_a_sequence_is_refused(board: EmulatedBoard, tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    with open_on(board, tmp_path, capture=str(capture)) as chip:
        array = chip.allocate("W", 4, 4)
        good = Pulse(array, counted_pulses(torch.full((4, 4), 1)))
        sent = capture.read_bytes()
        with pytest.raises(NotArmedError):
            chip.run([good])
        assert capture.read_bytes() == sent
        chip.arm(Limits(max_bl=10, max_input=0.5))
        sent = capture.read_bytes()
        for bad in (
            Pulse(array, counted_pulses(torch.full((4, 4), 11))),
            Pulse(array, good.trains, repeat=10**9),  # energy
            Read(((array, 1.0),), torch.full((1, 4), 0.51)),
        ):
            with pytest.raises(LimitError):
                chip.run([good, bad])
        with pytest.raises(ValueError, match="finite"):
            chip.run([good, Read(((array, 1.0),), torch.full((1, 4), float("nan")))])
        assert capture.read_bytes() == sent
        chip.run([Pulse(array, counted_pulses(torch.full((4, 4), 10))), Read(((array, 1.0),), torch.full((1, 4), 0.5))])
        assert len(capture.read_bytes()) > len(sent)


def test_pulses_of_a_device_are_counted_over_openings_up_to_its_budget(board: EmulatedBoard, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "backends/hardware/chips/emulated-64.toml").read_text()
    profile = tmp_path / "worn.toml"
    profile.write_text(text.replace("device_pulses = 1_000_000_000", "device_pulses = 25"))
    for _ in range(2):
        with make("serial-board", port=board.port, chip=str(profile), state=str(tmp_path)) as chip:
            chip.arm()
            array = chip.allocate("W", 4, 4)
            chip.run([Pulse(array, counted_pulses(torch.full((4, 4), 10)))])
            wear = chip.wear()  # type: ignore[attr-defined]
    assert (wear.total, wear.most, wear.budget) == (16 * 20, 20, 25)
    with make("serial-board", port=board.port, chip=str(profile), state=str(tmp_path)) as chip:
        chip.arm()
        array = chip.allocate("W", 4, 4)
        one = torch.zeros(4, 4, dtype=torch.int64)
        one[2, 1] = 5
        chip.run([Pulse(array, counted_pulses(one))])  # exactly at the budget
        one[2, 1] = 1
        with pytest.raises(LimitError, match="array 0 row 2 column 1 would have had 26 pulses, 25"):
            chip.run([Pulse(array, counted_pulses(one))])
        assert chip.wear().most == 25  # type: ignore[attr-defined]


def test_coincidences_are_counted_device_by_device() -> None:
    draw = torch.Generator().manual_seed(2)
    x, d = torch.randn(7, 33, generator=draw), torch.randn(7, 21, generator=draw)
    trains = draw_trains(x, d, lr=0.3, dw_min=0.003, max_bl=70, source=TrainSource(1, "t"), first=0)
    bits = [
        ((words.numpy()[..., None] >> np.arange(32, dtype=np.uint32)) & 1).reshape(7, words.shape[1], -1)
        for words in (trains.x_words, trains.d_words)
    ]
    assert np.array_equal(pulses_of(trains), np.einsum("bjs,bis->ij", bits[0].astype(int), bits[1].astype(int)))


def test_a_chip_has_one_owner(board: EmulatedBoard, tmp_path: Path) -> None:
    with open_on(board, tmp_path), pytest.raises(OwnerError, match="in use by process"):
        open_on(board, tmp_path)
    open_on(board, tmp_path).close()


# ---- compliance, disk, journal -----------------------------------------------------------------------------------


def test_the_current_limit_stops_a_sequence_and_is_journalled(board: EmulatedBoard, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "backends/hardware/chips/emulated-64.toml").read_text()
    profile = tmp_path / "tight.toml"
    profile.write_text(text.replace("compliance_a = 20e-3", "compliance_a = 100e-6"))
    with make("serial-board", port=board.port, chip=str(profile), state=str(tmp_path)) as chip:
        chip.keep_journal(tmp_path / "j", resume=False)
        chip.arm()
        array = chip.allocate("W", 16, 16)
        before = board.weights(0)
        all_rows = Pulse(array, counted_pulses(torch.full((16, 16), 3)))  # 16 devices of 50 uS at 1.35 V on a line
        with pytest.raises(ComplianceError, match="current limit"):
            chip.run([all_rows, Read(((array, 1.0),), torch.ones(1, 16))])
        assert np.array_equal(board.weights(0), before)
        with pytest.raises(Exception, match="compliance"):
            chip.read_matvec(array, torch.ones(1, 16))
        chip.arm()
        chip.read_matvec(array, torch.ones(1, 16))
    assert [line.content.tripped for line in lines(tmp_path / "j") if line.type is Type.RESULT] == [True, False]


def test_a_full_disk_ends_before_anything_is_sent(board: EmulatedBoard, tmp_path: Path) -> None:
    chip = open_on(board, tmp_path)
    chip.keep_journal(tmp_path / "j", resume=False)
    chip.arm()
    array = chip.allocate("W", 16, 16)
    step = Pulse(array, counted_pulses(torch.full((16, 16), 3)))
    chip.run([step])
    before, size = board.weights(0), (tmp_path / "j").stat().st_size
    old, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, old[1]))
        with pytest.raises(JournalError):
            chip.run([step])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)
    assert np.array_equal(board.weights(0), before)
    assert (tmp_path / "j").stat().st_size == size
    chip.run([step])  # there is room again
    chip.close()
    assert not np.array_equal(board.weights(0), before)


def test_a_resumed_run_plays_its_journal_and_sends_nothing_twice(board: EmulatedBoard, tmp_path: Path) -> None:
    def run(chip: Any, rounds: int, other: bool = False) -> list[torch.Tensor]:
        array = chip.allocate("W", 10, 12)
        counts = torch.full((10, 12), -2 if other else 2)
        step = Pulse(array, counted_pulses(counts))
        return [chip.run([step, Read(((array, 1.0),), torch.ones(2, 12) / 4)])[0].values for _ in range(rounds)]

    with open_on(board, tmp_path) as chip:
        chip.keep_journal(tmp_path / "j", resume=False)
        chip.arm()
        first = run(chip, 4)
        saved = chip.snapshot()
    worn, weights = None, board.weights(0)
    with open_on(board, tmp_path) as chip:
        worn = chip.wear().total  # type: ignore[attr-defined]
        chip.keep_journal(tmp_path / "j", resume=True)
        chip.arm()
        again = run(chip, 4)
        assert np.array_equal(board.weights(0), weights)
        assert chip.wear().total == worn  # type: ignore[attr-defined]
        fifth = run(chip, 1)
        assert not np.array_equal(board.weights(0), weights)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    with open_on(board, tmp_path) as chip:  # from a snapshot, which is a place in the journal
        chip.keep_journal(tmp_path / "j", resume=True)
        chip.arm()
        chip.restore(saved)
        assert torch.equal(run(chip, 1)[0], fifth[0])
    with open_on(board, tmp_path) as chip:
        chip.keep_journal(tmp_path / "j", resume=True)
        chip.arm()
        with pytest.raises(JournalError, match=r"batch 0 of .* is not what this run does now"):
            run(chip, 1, other=True)
    with open_on(board, tmp_path) as chip, pytest.raises(JournalError):
        chip.keep_journal(tmp_path / "j", resume=False)
