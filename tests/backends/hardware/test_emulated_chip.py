"""What volts on lines do to the devices of an emulated chip, and what currents come out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware.emulator.chip import MOST_WAITING, EmulatedChip
from rpudriver.backends.hardware.emulator.rails import Rails, Switching
from rpudriver.backends.hardware.profile import SCHEMES, ChipProfile, load_chip
from rpudriver.backends.registry import make
from rpudriver.backends.simulated.devices.spec import load_preset
from rpudriver.errors import ConfigError
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse

WIDTH = 2500
PROFILE = load_chip("emulated-64").model_copy(update={"rows": 6, "columns": 9, "arrays": 2})
EXACT = load_preset("idealised", {"device": {"dw_min": 0.012, "w_min": -0.6, "w_max": 0.6}})


def chip(profile: ChipProfile = PROFILE, **physics: float) -> EmulatedChip:
    return EmulatedChip(profile, EXACT, **physics)


def rails(scheme: str, volts: float = 1.35, gate: float = 0.0, compliance: float = 1.0) -> Rails:
    row, row_rest, column, column_rest = (part * volts for part in SCHEMES[scheme])
    return Rails(row, row_rest, column, column_rest, gate, compliance)


def masks(*slots: list[int]) -> np.ndarray:
    """Return masks of two bytes: the lines on in each slot."""
    out = np.zeros((len(slots), 2), np.uint8)
    for n, on in enumerate(slots):
        for line in on:
            out[n, line // 8] |= 1 << line % 8
    return out


def moved(board: EmulatedChip, rows: list[int], columns: list[int], count: int = 1) -> np.ndarray:
    """Return the change of the weights in update steps after some slots."""
    before = board.weights(0)
    board.fire(0, WIDTH, masks(*[rows] * count)[:, :1], masks(*[columns] * count))
    return (board.weights(0) - before) / 0.012


def test_kinds_are_as_strong_as_the_profile_says() -> None:
    law = Switching.of(PROFILE, 0.0)
    for name, kind in PROFILE.kinds.items():
        for volts in (kind.volts_up, kind.volts_down):
            assert law.strength(volts, kind.width_s * 1e9) == pytest.approx(kind.strength, rel=1e-9), name
    assert law.strength(1.35 + 1e-9, WIDTH) == 1.0  # exactly: codes of converters are not exact volts
    assert law.strength(1.35 / 2, WIDTH) == law.strength(-1.3 / 2, WIDTH) == law.strength(0.0, WIDTH) == 0.0


def test_disturbance_is_whole_from_a_third_of_the_volts_on_and_nothing_at_microvolts() -> None:
    law = Switching.of(PROFILE, 0.1)
    for volts, strength in ((1.0, 0.1), (0.45, 0.1), (0.225, 0.05), (-0.1, 0.1 * 0.3 / 1.3), (1e-6, 0.0), (0.0, 0.0)):
        assert law.strength(volts, WIDTH) == pytest.approx(strength, rel=1e-9, abs=0.0)


@pytest.mark.parametrize(("scheme", "gate"), [("v/2", 0.0), ("v/3", 0.0), ("1t1r", 2.5)])
@pytest.mark.parametrize("volts", [1.35, -1.3])
def test_only_selected_devices_move_in_every_scheme(scheme: str, gate: float, volts: float) -> None:
    board = chip()
    board.set_rails(0, rails(scheme, volts, gate))
    change = moved(board, [1, 4], [0, 8], 3)
    wanted = np.zeros((6, 9))
    wanted[np.ix_([1, 4], [0, 8])] = 3 * np.sign(volts)
    assert np.allclose(change, wanted, atol=1e-3)
    assert not board.weights(1).any()


@pytest.mark.parametrize(
    ("scheme", "gate", "row", "column", "neither"),
    [("v/2", 0.0, 0.1, 0.1, 0.0), ("v/3", 0.0, 0.1, 0.1, -0.1), ("1t1r", 2.5, 0.0, 0.0, 0.0)],
)
def test_half_selected_devices_are_disturbed(
    scheme: str, gate: float, row: float, column: float, neither: float
) -> None:
    board = chip(disturb=0.1)
    board.set_rails(0, rails(scheme, gate=gate))
    change = moved(board, [1], [3], 10)
    assert change[1, 3] == pytest.approx(10, abs=1e-3)
    assert np.allclose(np.delete(change[1], 3), 10 * row, atol=1e-3)
    assert np.allclose(np.delete(change[:, 3], 1), 10 * column, atol=1e-3)
    assert np.allclose(np.delete(np.delete(change, 1, 0), 3, 1), 10 * neither, atol=1e-3)


def test_volts_beyond_the_threshold_move_half_selected_devices_too() -> None:
    board = chip()
    board.set_rails(0, rails("v/2", 2.7))
    assert moved(board, [1], [3])[1, 0] == pytest.approx(1.0, abs=1e-3)  # half of 2.7 V is an update pulse


def test_devices_and_noise_are_those_of_the_simulator() -> None:
    preset = load_preset("asymmetric-100")
    board = EmulatedChip(PROFILE, preset, seed=4)
    with make("simulated", preset="asymmetric-100", seed=4, profile="small") as simulated:
        simulated.arm()
        array = simulated.allocate("array-0", 6, 9)  # the name that names its draws
        board.set_rails(0, rails("v/2"))
        moved(board, list(range(6)), list(range(9)), 40)
        moved(board, [2], [5], 7)
        one = torch.zeros(6, 9, dtype=torch.int64)
        one[2, 5] = 7
        simulated.run([Pulse(array, counted_pulses(counts)) for counts in (torch.full((6, 9), 40), one)])
        truth = simulated._oracle().true_weights(array).numpy()  # type: ignore[attr-defined]
    assert np.array_equal(board.weights(0), truth)


def test_the_comparator_cuts_the_first_slot_that_is_too_much_and_latches() -> None:
    board = chip()
    board.set_rails(0, rails("v/2", compliance=5.75 * 50e-6 * 1.35))  # of a row with 2.5 devices, others at half
    before = board.weights(0)
    board.fire(0, WIDTH, masks([0], [0], [0], [0])[:, :1], masks([0, 1], [0, 1], [0, 1, 2], [0]))
    board.fire(0, WIDTH, masks([5])[:, :1], masks([5]))
    assert board.tripped()
    assert not board.tripped()
    change = (board.weights(0) - before) / 0.012
    assert change[0, :3] == pytest.approx([2, 2, 0], abs=1e-3)
    assert change[5, 5] == 0
    assert moved(board, [5], [5])[5, 5] == pytest.approx(1, abs=1e-3)


def test_slots_wait_in_small_numbers_which_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up and down in turn: no two groups of slots can be applied as one."""
    preset, finals, applied = load_preset("asymmetric-100"), [], []
    apply = EmulatedChip._apply
    monkeypatch.setattr(EmulatedChip, "_apply", lambda self, *args: (applied.append(1), apply(self, *args)))
    for look in (False, True):
        board = EmulatedChip(PROFILE, preset, seed=4)
        for n in range(3 * MOST_WAITING + 5):
            board.set_rails(0, rails("v/2", 1.35 if n % 3 else -1.35))
            board.fire(0, WIDTH, masks([n % 6])[:, :1], masks([0, n % 9]))
            if look:
                board.settle()
        if not look:
            assert len(applied) > 2 * MOST_WAITING - 5  # runs of up and of down: of 192 groups that waited
        finals.append(board.weights(0))
    assert np.array_equal(finals[0], finals[1])


def test_after_a_trip_nothing_that_was_waiting_or_comes_reaches_a_device() -> None:
    board = chip()
    board.set_rails(0, rails("v/2", compliance=5.75 * 50e-6 * 1.35))
    before = board.weights(0)
    for n in range(2 * MOST_WAITING):  # the second slot is too much
        board.fire(0, WIDTH, masks([0])[:, :1], masks([0, 1, 2] if n == 1 else [0]))
    assert board.tripped()
    assert ((board.weights(0) - before) / 0.012)[0, 0] == pytest.approx(1, abs=1e-3)


WHOLE = (slice(0, 6), slice(0, 9), slice(0, 6), slice(0, 9))


def test_currents_are_those_of_the_weights() -> None:
    board = chip()
    weights = np.linspace(-0.5, 0.5, 54).reshape(6, 9).astype(np.float32)
    board.set_weights(0, weights)
    board.set_weights(1, 0.2)
    x = np.linspace(-0.2, 0.2, 18).reshape(2, 9).astype(np.float32)
    assert np.allclose(board.sense(0, None, WHOLE, x, False), 40e-6 * x @ weights.T, rtol=1e-5, atol=1e-12)
    assert np.allclose(board.sense(0, 1, WHOLE, x, False), 40e-6 * x @ (weights - 0.2).T, rtol=1e-4, atol=1e-11)
    d = x[:, :6].copy()
    assert np.allclose(board.sense(0, None, WHOLE, d, True), 40e-6 * d @ weights, rtol=1e-5, atol=1e-12)


def test_line_resistance_against_the_network_of_one_driven_device() -> None:
    """One column driven, one device much more conductive than the others: the wire in series is all there is."""
    board = chip(line_ohms=50.0)
    board.set_weights(0, 0.6)
    volts = np.zeros((1, 9), np.float32)
    volts[0, 8] = 0.2
    siemens = 50e-6 + 40e-6 * 0.6
    wanted = 0.2 * (1 / (1 / siemens + 50.0 * np.arange(10, 16)) - 50e-6)
    assert np.allclose(board.sense(0, None, WHOLE, volts, False)[0], wanted, rtol=1e-4)


def test_noise_is_the_presets_in_amperes() -> None:
    board = EmulatedChip(PROFILE, load_preset("asymmetric-100"))
    amperes = board.sense(0, None, WHOLE, np.zeros((4000, 9), np.float32), False)
    # the standard error of a standard deviation of n numbers is sd / sqrt(2 n)
    assert amperes.std() == pytest.approx(0.06 * 40e-6 * 0.2, rel=4 / (2 * amperes.size) ** 0.5)
    assert not np.array_equal(amperes[:2000], amperes[2000:])


@pytest.mark.parametrize("physics", [{"disturb": 1.0}, {"line_ohms": -1.0}, {"middle_siemens": 1e-6}])
def test_what_no_chip_is_like_is_refused(physics: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        chip(**physics)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("volts_up = 1.35", "volts_up = 1.9", "volts_up with biasing v/2, across a device = 1.9 is beyond"),
        ("line_volts = 1.0", "line_volts = 0.5", "on a line = 0.675"),
        ("half_volts = 0.9", "half_volts = 0.8", "across half-selected devices = 0.9"),
        ("width_s = 10e-6", "width_s = 30e-6", "width_s = 3e-05"),
        ("read_volts = 0.2", "read_volts = 0.19", "read volts .* = 0.2"),
        ('biasing = "v/2"', 'biasing = "1t1r"', "give the volts that open"),
        ("volts_up = 1.35", "volts_up = nan", "finite number"),
        ('chip = "emulated-64"', 'chip = "a name that is too long for HELLO"', "at most 16 characters"),
    ],
)
def test_a_profile_beyond_its_envelope_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "backends/hardware/chips/emulated-64.toml").read_text()
    assert old in text
    path = tmp_path / "chip.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_chip(str(path))
