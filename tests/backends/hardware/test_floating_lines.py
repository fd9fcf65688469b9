"""Lines that float while others fire: their potentials, against nodal analysis written once more, and what they do."""

import numpy as np
import pytest

from rpudriver.backends.hardware.emulator import network
from rpudriver.backends.hardware.emulator.chip import EmulatedChip
from rpudriver.backends.hardware.emulator.rails import Rails, Switching
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.simulated.devices.spec import load_preset
from tests.backends.hardware.test_emulated_chip import masks

WIDTH, STEP = 2500, 0.012
PROFILE = load_chip("emulated-64").model_copy(update={"rows": 5, "columns": 8, "arrays": 2})
EXACT = load_preset("idealised", {"device": {"dw_min": STEP, "w_min": -0.6, "w_max": 0.6}})
NAN = float("nan")


def drawn(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Return conductances over two decades."""
    return 10 ** np.random.default_rng(seed).uniform(-6, -4, (rows, columns))


def nodal(siemens: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the volts across devices: stamps of one resistor after the other, sources as rows of their own."""
    volts = np.concatenate([rows, columns])
    nodes, driven = len(volts), np.flatnonzero(~np.isnan(volts))
    a, b = np.zeros((nodes + len(driven), nodes + len(driven))), np.zeros(nodes + len(driven))
    for (i, j), g in np.ndenumerate(siemens):
        one, other = i, len(rows) + j
        a[one, one] += g
        a[other, other] += g
        a[one, other] -= g
        a[other, one] -= g
    for k, node in enumerate(driven):  # the current of a source, and the potential that it forces
        a[node, nodes + k] = a[nodes + k, node] = 1
        b[nodes + k] = volts[node]
    x = np.linalg.lstsq(a, b, rcond=None)[0][:nodes]
    return x[: len(rows), None] - x[None, len(rows) :]


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([0.6, NAN, NAN, NAN], [-0.6, NAN, NAN, NAN, NAN, NAN]),
        ([0.6, NAN, 0.6, 0.6], [NAN, -0.6, NAN, NAN, NAN, -0.5]),
        ([NAN, 0.1, NAN, 0.3], [0.2] * 6),
        ([0.6, 0.1, 0.2, 0.3], [NAN] * 6),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_potentials_are_those_of_nodal_analysis(rows: list[float], columns: list[float], seed: int) -> None:
    siemens = drawn(4, 6, seed)
    wanted = nodal(1e5 * siemens, np.array(rows), np.array(columns))  # the scale of conductances does not matter
    found = network.across(siemens, np.array(rows), np.array(columns))
    assert np.allclose(found, wanted, atol=1e-9)
    assert np.abs(found).max() <= np.nanmax([*rows, *columns]) - np.nanmin([*rows, *columns]) + 1e-12


def test_one_inverse_serves_for_all_cross_points() -> None:
    siemens, places = drawn(4, 6), np.array([[0, 0], [3, 5], [1, 2]])
    for (row, column), found in zip(places, network.across_each(siemens, places, -1.3), strict=True):
        rows, columns = np.full(4, NAN), np.full(6, NAN)
        rows[row], columns[column] = -0.65, 0.65
        assert np.allclose(found, nodal(1e5 * siemens, rows, columns), atol=1e-9)


def test_a_line_of_dead_devices_and_an_array_that_is_not_driven_see_nothing() -> None:
    siemens = np.zeros((3, 4))
    siemens[0] = 1e-5
    assert np.isfinite(network.across(siemens, np.array([0.5, NAN, NAN]), np.array([-0.5, NAN, NAN, NAN]))).all()
    assert not network.across(siemens, np.full(3, NAN), np.full(4, NAN)).any()


def test_alike_devices_see_what_the_formula_says() -> None:
    """With a share a of the rows and b of the columns driven: by symmetry a chain of three resistors."""
    for driven_rows, driven_columns in ((1, 1), (1, 8), (4, 1), (3, 2)):
        rows, columns = np.full(6, NAN), np.full(9, NAN)
        rows[:driven_rows], columns[:driven_columns] = 1.0, 0.0
        found = network.across(np.full((6, 9), 5e-5), rows, columns)
        a, b = driven_rows / 6, driven_columns / 9
        whole = a + b - a * b
        assert found[0, 0] == 1
        assert found[0, -1] == pytest.approx(b * (1 - a) / whole)
        assert found[-1, 0] == pytest.approx(a * (1 - b) / whole)
        assert found[-1, -1] == pytest.approx(-a * b / whole)


# ---- what devices make of it -------------------------------------------------------------------------------------


def chip(disturb: float = 0.0, preset: object = EXACT, seed: int = 0) -> EmulatedChip:
    return EmulatedChip(PROFILE, preset, seed=seed, disturb=disturb)  # type: ignore[arg-type]


def floating(volts: float = 1.35, compliance: float = 1.0) -> Rails:
    return Rails(volts / 2, 0.0, -volts / 2, 0.0, 0.0, compliance, True)


def fire(board: EmulatedChip, *slots: tuple[list[int], list[int]]) -> None:
    rows, columns = zip(*slots, strict=True)
    board.fire(0, WIDTH, masks(*rows)[:, :1], masks(*columns)[:, :1])


def siemens_of(board: EmulatedChip) -> np.ndarray:
    return board.siemens(0).astype(np.float64)


def test_each_device_moves_by_the_volts_that_it_really_sees() -> None:
    """Row 2 follows the driven row, for both are conductive to the columns between them."""
    board = chip(disturb=0.05)
    weights = np.full((5, 8), -0.6)
    weights[[0, 2], 2:] = 0.6
    board.set_weights(0, weights)
    rows, columns = np.full(5, NAN), np.full(8, NAN)
    rows[0], columns[1] = 0.675, -0.675
    volts = nodal(1e5 * siemens_of(board), rows, columns)
    law = Switching.of(PROFILE, 0.05)
    assert volts[2, 1] > law.up[1] > volts[4, 1]  # one half-selected device is beyond the threshold, another is not
    board.set_rails(0, floating())
    fire(board, ([0], [1]))
    moved = np.where(volts > 0, 1, -1) * law.strengths(volts, WIDTH) * STEP
    expected = np.clip(weights + moved, -0.6, 0.6)
    assert np.allclose(board.weights(0), expected, atol=1e-6)
    assert board.weights(0)[0, 1] == pytest.approx(-0.6 + STEP, abs=1e-6)
    assert not board.weights(1).any()


def test_a_slot_sees_what_the_slot_before_has_left() -> None:
    board, other = chip(disturb=0.05, seed=1), chip(disturb=0.05, seed=1)
    slots = [([0], [1]), ([2], [3]), ([0], [1]), ([4], [0])]
    for each in (board, other):
        each.set_weights(0, np.random.default_rng(0).uniform(-0.6, 0.6, (5, 8)).astype(np.float32))
        each.set_rails(0, floating())
    fire(board, *slots)
    for slot in slots:
        fire(other, slot)
        other.settle()
    assert np.array_equal(board.weights(0), other.weights(0))


def test_slots_at_once_are_the_same_as_one_by_one() -> None:
    """With noise, so that the count of each device's pulses is the same, too."""
    preset = load_preset("asymmetric-100")
    slots = [([n % 5], [(3 * n) % 8]) for n in range(100)]
    found = []
    for at_once in (True, False):
        board = chip(preset=preset, seed=4)
        board.set_rails(0, floating())
        for part in [slots] if at_once else [[slot] for slot in slots]:
            fire(board, *part)
            board.settle()
        found.append(board.weights(0))
    assert np.array_equal(*found)
    assert (found[0] != chip(preset=preset, seed=4).weights(0)).sum() == 40


def test_a_train_that_brings_a_neighbour_beyond_its_threshold_is_done_slot_by_slot() -> None:
    """Nothing but the driven device moves at first; when it has become conductive, its neighbours see more."""
    found = []
    for at_once in (True, False):
        board = chip()
        weights = np.full((5, 8), -0.6, np.float32)
        weights[2, 2:] = 0.6
        board.set_weights(0, weights)
        board.set_rails(0, floating(1.35))
        slots = [([0], [column]) for column in range(2, 8)] * 100 + [([0], [1])]
        for part in [slots] if at_once else [[slot] for slot in slots]:
            fire(board, *part)
            board.settle()
        found.append(board.weights(0))
    assert np.array_equal(*found)
    assert found[0][2, 1] > -0.6  # the device that the last slot was not meant for


def test_lines_of_one_side_alone_are_no_pulse() -> None:
    board = chip(disturb=0.5)
    board.set_rails(0, floating())
    fire(board, ([0, 1], []), ([], [2]), ([], []))
    assert not board.weights(0).any()


def test_many_lines_in_a_slot_take_others_along() -> None:
    """Why a board fires one cross-point after the other: four of five rows driven, the fifth follows them."""
    board = chip()
    board.set_rails(0, floating())
    fire(board, ([0, 1, 2, 3], [5]))
    law = Switching.of(PROFILE, 0.0)
    a, b = 4 / 5, 1 / 8
    strength = law.strength(1.35 * a * (1 - b) / (a + b - a * b), WIDTH)
    assert strength > 0.3
    assert board.weights(0)[4, 5] == pytest.approx(STEP * strength, rel=1e-4)
    assert board.weights(0)[0, 5] == pytest.approx(STEP, rel=1e-4)


def test_the_comparator_counts_sneak_currents() -> None:
    """The driven row carries the current of its device and of what sneaks through all others."""
    rows, columns = np.full(5, NAN), np.full(8, NAN)
    rows[0], columns[0] = 0.675, -0.675
    through = (5e-5 * network.across(np.full((5, 8), 5e-5), rows, columns)[0]).sum()
    assert through > 2.5 * 5e-5 * 1.35
    for share, trips in ((1.001, False), (0.999, True)):
        board = chip()
        board.set_rails(0, floating(compliance=through * share))
        fire(board, ([0], [0]), ([1], [1]))
        assert board.tripped() is trips
        assert bool(board.weights(0).any()) is not trips
