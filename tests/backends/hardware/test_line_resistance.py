"""Lines with resistance: what pulses leave for devices far from the drivers, against nodal analysis of every node."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware.emulator import wires
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.emulator.chip import EmulatedChip
from rpudriver.backends.hardware.emulator.probes import Probes
from rpudriver.backends.hardware.emulator.rails import Rails, Switching
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.simulated.devices.spec import load_preset
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse
from tests.backends.hardware.boards import NOISE_FREE, open_on
from tests.backends.hardware.test_emulated_chip import masks, rails
from tests.backends.hardware.test_floating_lines import drawn

WIDTH, STEP, NAN = 2500, 0.012, float("nan")
PROFILE = load_chip("emulated-64").model_copy(update={"rows": 5, "columns": 8, "arrays": 2})
EXACT = load_preset("idealised", {"device": {"dw_min": STEP, "w_min": -0.6, "w_max": 0.6}})
SCHEMES = {
    "v/2": rails("v/2"),
    "v/3": rails("v/3"),
    "down": rails("v/2", -1.3),
    "floating": Rails(0.675, 0.0, -0.675, 0.0, 0.0, 1.0, True),
}


def nodal(siemens: np.ndarray, rows: np.ndarray, columns: np.ndarray, ohms: float) -> np.ndarray:
    """Return the volts across devices: two nodes for each, a matrix of all of them, stamped resistor by resistor."""
    shape, count = siemens.shape, siemens.size
    on_row, on_column = np.arange(count).reshape(shape), count + np.arange(count).reshape(shape)
    a, b, wire = np.zeros((2 * count, 2 * count)), np.zeros(2 * count), 1 / ohms

    def resistor(one: int, other: int, g: float) -> None:
        a[one, one] += g
        a[other, other] += g
        a[one, other] -= g
        a[other, one] -= g

    for (i, j), g in np.ndenumerate(siemens):
        resistor(on_row[i, j], on_column[i, j], g)
        if j:
            resistor(on_row[i, j - 1], on_row[i, j], wire)
        if i:
            resistor(on_column[i - 1, j], on_column[i, j], wire)
    for node, volts in [*zip(on_row[:, 0], rows, strict=True), *zip(on_column[0], columns, strict=True)]:
        if not np.isnan(volts):  # the first piece of wire comes from the driver
            a[node, node] += wire
            b[node] += wire * volts
    found = np.linalg.solve(a, b)
    return found[on_row] - found[on_column]


@pytest.mark.parametrize("shape", [(5, 8), (9, 4), (1, 6), (7, 1), (1, 1)])
@pytest.mark.parametrize("ohms", [0.01, 1.0, 100.0, 1e5])
@pytest.mark.parametrize("rest", [0.0, 0.2, NAN])
def test_potentials_are_those_of_nodal_analysis(shape: tuple[int, int], ohms: float, rest: float) -> None:
    siemens = drawn(*shape, seed=shape[0])
    rows, columns = np.full(shape[0], rest), np.full(shape[1], -rest)
    rows[shape[0] // 2 :: 2], columns[:: shape[1] // 2 + 1] = 0.675, -0.675
    assert np.allclose(wires.across(siemens, rows, columns, 1 / ohms), nodal(siemens, rows, columns, ohms), atol=1e-8)


def fire(board: EmulatedChip, *slots: tuple[list[int], list[int]]) -> None:
    rows, columns = zip(*slots, strict=True)
    board.fire(0, WIDTH, masks(*rows)[:, :1], masks(*columns)[:, :1])


def predicted(board: EmulatedChip, driven: Rails, slots: list[tuple[list[int], list[int]]], ohms: float) -> np.ndarray:
    """Return the weights after some slots, worked out from the law and the nodal analysis of each of them."""
    law, weights = Switching.of(PROFILE, board.disturb), board.weights(0).astype(np.float64)
    rests = (NAN, NAN) if driven.floating else (driven.row_rest, driven.column_rest)
    for on_rows, on_columns in slots:
        rows, columns = np.full(5, rests[0]), np.full(8, rests[1])
        rows[on_rows], columns[on_columns] = driven.row_active, driven.column_active
        volts = nodal(50e-6 + 40e-6 * weights, rows, columns, ohms)
        weights = np.clip(weights + np.sign(volts) * STEP * law.strengths(volts, WIDTH), -0.6, 0.6)
    return weights


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_device_moves_by_the_volts_that_reach_it(scheme: str) -> None:
    ohms = 60.0
    board = EmulatedChip(PROFILE, EXACT, disturb=0.02, line_ohms=ohms)
    board.set_weights(0, np.random.default_rng(2).uniform(-0.5, 0.5, (5, 8)).astype(np.float32))
    slots = [([0, 4], [0, 7]), ([1, 2, 3], [5]), ([2], [2]), ([0, 4], [0, 7])]
    if scheme == "floating":
        slots = [([0], [7]), ([4], [0]), ([4], [7]), ([2], [3])]
    wanted, before = predicted(board, SCHEMES[scheme], slots, ohms), board.weights(0)
    board.set_rails(0, SCHEMES[scheme])
    fire(board, *slots)
    assert np.allclose(board.weights(0), wanted, atol=2e-6)
    near, far = abs(board.weights(0) - before)[[0, 4], [0, 7]]
    assert near > 1.2 * far > 0 or scheme == "floating"


def test_a_board_behind_gates_drops_volts_on_the_way_to_one_row() -> None:
    board, ohms = EmulatedChip(PROFILE, EXACT, line_ohms=200.0), 200.0
    board.set_rails(0, rails("1t1r", gate=2.5))
    fire(board, ([3], [0, 7]))
    siemens = np.full((5, 8), 1e-12)
    siemens[3] = 5e-5
    volts = nodal(siemens, np.zeros(5), np.array([-1.35, 0, 0, 0, 0, 0, 0, -1.35]), ohms)
    moved = STEP * Switching.of(PROFILE, 0.0).strengths(volts, WIDTH)
    assert np.allclose(board.weights(0)[3, [0, 7]], moved[3, [0, 7]], atol=1e-6)
    assert np.count_nonzero(board.weights(0)) == 2


def test_a_line_that_fires_alone_half_selects_its_devices() -> None:
    board = EmulatedChip(PROFILE, EXACT, disturb=0.1, line_ohms=1.0)
    board.set_rails(0, rails("v/2"))
    fire(board, ([1], []))
    assert np.allclose(board.weights(0)[1], 0.1 * STEP, atol=1e-6)
    assert np.count_nonzero(abs(board.weights(0)) > 1e-3 * STEP) == 8


def test_the_comparator_sees_what_flows_through_the_wires() -> None:
    rows, columns = np.zeros(5), np.zeros(8)
    rows[0], columns[:] = 0.675, -0.675
    current = float((5e-5 * nodal(np.full((5, 8), 5e-5), rows, columns, 200.0))[0].sum())
    assert current < 0.95 * 8 * 5e-5 * 1.35  # less than without wires
    for share, trips in ((1.001, False), (0.999, True)):
        board = EmulatedChip(PROFILE, EXACT, line_ohms=200.0)
        board.set_rails(0, rails("v/2", compliance=current * share))
        fire(board, ([0], list(range(8))))
        assert board.tripped() is trips


def test_without_resistance_nothing_is_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    def solve(*_: object) -> None:
        raise AssertionError("a network was solved")

    monkeypatch.setattr("rpudriver.backends.hardware.emulator.wires.across", solve)
    monkeypatch.setattr("rpudriver.backends.hardware.emulator.network.across", solve)
    board = EmulatedChip(PROFILE, EXACT)
    board.set_rails(0, rails("v/2"))
    fire(board, ([1, 2], [3, 4]))
    assert np.allclose(board.weights(0)[1:3, 3:5], STEP, atol=1e-6)


def test_a_vanishing_resistance_is_none() -> None:
    preset = load_preset("asymmetric-100")
    found = []
    for ohms in (0.0, 1e-4):
        board = EmulatedChip(PROFILE, preset, seed=3, line_ohms=ohms)
        board.set_rails(0, rails("v/2"))
        fire(board, *[([n % 5], [n % 8, (n + 3) % 8]) for n in range(40)])
        found.append(board.weights(0))
    assert np.allclose(*found, atol=1e-5)  # the same noise, too


@pytest.mark.parametrize(("row", "column"), [(0, 0), (7, 7)])
def test_a_device_of_a_bench_is_in_series_with_its_wires(row: int, column: int) -> None:
    profile, ohms = load_chip("bench-8"), 300.0
    chip = EmulatedChip(profile, EXACT, line_ohms=ohms)
    Probes(chip).stress(1, row, column, 1.35, 1e-3)
    volts = 1.35 / (1 + 50e-6 * ohms * (row + column + 2))
    assert chip.weights(1)[row, column] == pytest.approx(
        STEP * Switching.of(profile, 0.0).strength(volts, 1e6), rel=1e-4
    )
    assert np.count_nonzero(chip.weights(1)) == 1


def test_an_emulated_board_has_it(tmp_path: Path) -> None:
    """The option reaches the process of the chip: far devices of a board move less than near ones."""
    with EmulatedBoard(line_ohms=0.5, **NOISE_FREE) as board:
        with open_on(board, tmp_path) as chip:
            chip.arm()
            counts = torch.zeros(64, 64, dtype=torch.int64)
            counts[0, 0], counts[63, 63] = 4, 4
            chip.run([Pulse(chip.allocate("W", 64, 64), counted_pulses(counts))])
        weights = board.weights(0)
    siemens = np.full((64, 64), 5e-5)
    rows, columns = np.zeros(64), np.zeros(64)
    rows[63], columns[63] = 0.675, -0.675
    far = Switching.of(load_chip("emulated-64"), 0.0).strengths(wires.across(siemens, rows, columns, 2.0), WIDTH)
    assert weights[0, 0] == pytest.approx(4 * STEP, rel=1e-2)
    assert weights[63, 63] == pytest.approx(4 * STEP * far[63, 63], rel=1e-2)  # it becomes more conductive on the way
    assert far[63, 63] < 0.9
