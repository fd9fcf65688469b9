"""A chip whose lines float, from steps down to devices: a cross-point at a time, and held to the full volts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.checker import check_backend
from rpudriver.backends.hardware import encoding
from rpudriver.backends.hardware.driver import KindCodes
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.encoding import Room, Timing
from rpudriver.backends.hardware.operations import Rectangle, decode
from rpudriver.backends.hardware.profile import CHIPS, load_chip
from rpudriver.backends.hardware.serial.arming import pack_settings
from rpudriver.backends.registry import make
from rpudriver.backends.updates import Drawing, Update
from rpudriver.backends.validation import Limits
from rpudriver.errors import ConfigError, LimitError
from rpudriver.trains import TrainSource, draw_trains
from rpudriver.types import Cell, Pulse, PulseTrains
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.boards import NOISE_FREE, every_step
from tests.backends.hardware.serial.test_hello import problems

PROFILE = CHIPS / "floating-16.toml"
CHIP = load_chip("floating-16")
SIZES = {"chip": b"floating-16", "rows": 16, "columns": 16, "arrays": 4, "limits": {"half": 1800}}


@pytest.fixture(scope="module")
def board() -> Any:
    with EmulatedBoard("floating-16", seed=1, sanitize=True) as opened:  # the seed: as the bench's, see benches.py
        yield opened


def open_on(board: EmulatedBoard, state: Path, **options: Any) -> Any:
    return make("serial-board", port=board.port, chip="floating-16", state=str(state), **options)


def counted(trains: PulseTrains) -> int:
    """Return the coincidences of trains."""
    sides = [
        ((words.numpy()[..., None] >> np.arange(32, dtype=np.uint32)) & 1).reshape(len(trains), words.shape[1], -1)
        for words in (trains.x_words, trains.d_words)
    ]
    return int(np.einsum("bjs,bis->", *(side.astype(int) for side in sides)))


def drawn(samples: int, side: int, seed: int = 3) -> PulseTrains:
    draw = torch.Generator().manual_seed(seed)
    x, d = torch.randn(samples, side, generator=draw), torch.randn(samples, side, generator=draw)
    return draw_trains(x, d, lr=0.3, dw_min=0.012, max_bl=31, source=TrainSource(1, "t"), first=0)


def test_the_board_keeps_the_contract(board: EmulatedBoard, tmp_path: Path) -> None:
    report = check_backend(lambda: open_on(board, tmp_path))
    assert report.passed, str(report)
    skipped = {"same-seed", "grouping-free", "restore-continues"}  # what a chip cannot be held to
    assert set(report.names("skipped")) == skipped | {n for n in report.names("skipped") if "snapshot" in n}
    assert len(report.names("passed")) > 40


@pytest.mark.parametrize("cell", [Cell.SINGLE, Cell.PAIR])
def test_board_and_simulator_give_the_same(cell: Cell, tmp_path: Path) -> None:
    """As long as no other device is beyond its threshold, which half-selected ones of weights near 0 are not."""
    sizes = {"rows": 16, "columns": 16, "output_bound": 5.0}
    results = []
    with EmulatedBoard("floating-16", **NOISE_FREE) as exact:
        for opened in (open_on(exact, tmp_path), make("simulated", profile="small", chip=sizes, **NOISE_FREE)):
            with opened as chip:
                chip.arm()
                results.append(chip.run(every_step(chip, cell, (6, 9), samples=12, codes=63)))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one.values, other.values, atol=5 / 255 + 1e-6)
        assert (one.values == other.values).float().mean() > 0.95
        assert float(one.values.abs().max()) > 0.1


def test_time_and_energy_are_those_of_pulses_one_by_one(board: EmulatedBoard, tmp_path: Path) -> None:
    trains = drawn(5, 10)
    pulses = 3 * counted(trains)
    with open_on(board, tmp_path) as chip:
        chip.arm()
        array = chip.allocate("W", 10, 10)
        before = chip.status().cost
        chip.run([Pulse(array, trains, repeat=3)])
        cost = {key: value - before[key] for key, value in chip.status().cost.items()}
    assert (cost["coincidences"], cost["line_pulses"]) == (pulses, 2 * pulses)
    assert cost["chip_time_s"] == pytest.approx(pulses * 2.6e-6)
    assert cost["energy_j"] == pytest.approx(pulses * (3e-12 + 2 * 1e-13))


def test_the_energy_of_a_sequence_is_that_of_pulses_one_by_one(tmp_path: Path) -> None:
    """256 pulses of 3.2 pJ each, their two lines included."""
    for most, fits in ((256 * 3.2e-12 * 1.001, True), (256 * 3.2e-12 * 0.999, False)):
        (tmp_path / "p.toml").write_text(
            PROFILE.read_text().replace("batch_energy_j = 1e-2", f"batch_energy_j = {most}")
        )
        with make("dry-run", chip=str(tmp_path / "p.toml")) as chip:
            chip.arm()
            ones = torch.ones(1, 16)
            trains = draw_trains(ones, ones, lr=1.0, dw_min=1.0, max_bl=1, source=TrainSource(1, "t"), first=0)
            step = Pulse(chip.allocate("W", 16, 16), trains)
            if fits:
                chip.run([step])
                continue
            with pytest.raises(LimitError, match="batch_energy_j"):
                chip.run([step])


def test_frames_hold_as_many_cross_points_as_they_have_time_for() -> None:
    trains, room = drawn(40, 16), Room(32768, 64, 8000 * 2600)
    found = encoding.pulse_pieces(Rectangle(0, 0, 16, 0, 16), Timing(2, 2600, True), trains, 1, False, room)
    for piece in found:
        (operation,) = decode(piece.data, 7)
        assert piece.ns == 2600 * int(sum(abs(s.counts(False)).sum() for s in operation.samples)) <= room.ns  # type: ignore[union-attr]
    assert sum(piece.ns for piece in found) == 2600 * counted(trains)
    assert len(found) > 5


def test_a_repeat_of_many_samples_is_cut_where_the_board_would_refuse_it() -> None:
    """Samples without a cross-point take no time, but a repeat counts them all: at most 65535."""
    draw = torch.zeros(100, 1)
    draw[0] = 1.0
    trains = draw_trains(draw, draw, lr=1.0, dw_min=1.0, max_bl=1, source=TrainSource(1, "t"), first=0)
    found = encoding.pulse_pieces(Rectangle(0, 0, 1, 0, 1), Timing(2, 2600, True), trains, 2000, False, CHIP_ROOM)
    heads = [operation for piece in found for operation in decode(piece.data, 7)]
    assert sum(head.repeat for head in heads) == 2000  # type: ignore[union-attr]
    assert all(head.repeat * len(head.samples) <= 65535 for head in heads)  # type: ignore[union-attr]


CHIP_ROOM = Room(32768, 32768, 200_000_000)


def test_long_trains_are_not_left_to_the_board(board: EmulatedBoard, tmp_path: Path) -> None:
    """What is drawn there counts as all cross-points that there could be: too long for a frame."""
    draw = torch.Generator().manual_seed(5)
    x, d = torch.randn(3, 16, generator=draw), torch.randn(3, 16, generator=draw)
    drawing = Drawing(lr=0.2, dw_min=0.012, max_bl=200, update_management=True, bl_management=False)
    with open_on(board, tmp_path) as chip:
        chip.arm()
        array = chip.allocate("W", 16, 16)
        update = Update(array, x, d, drawing, TrainSource(9, "W/trains"), 7)
        before = chip.wear().total
        chip.update(update)
        assert chip.wear().total - before == counted(update.draw())


def test_what_fits_no_frame_sends_nothing(board: EmulatedBoard, tmp_path: Path) -> None:
    text = PROFILE.read_text().replace("batch_s = 0.2", "batch_s = 1e-3")
    (tmp_path / "p.toml").write_text(text)
    capture = tmp_path / "capture"
    with make(
        "serial-board", port=board.port, chip=str(tmp_path / "p.toml"), state=str(tmp_path), capture=str(capture)
    ) as chip:
        chip.arm()
        array, sent = chip.allocate("W", 16, 16), capture.read_bytes()
        ones = torch.ones(1, 16)
        for bl, fits in ((2, False), (1, True)):  # 512 and 256 cross-points of 2.6 us
            trains = draw_trains(ones, ones, lr=bl, dw_min=1.0, max_bl=bl, source=TrainSource(1, "t"), first=0)
            assert counted(trains) == 256 * bl
            if fits:
                chip.run([Pulse(array, trains)])
                continue
            with pytest.raises(LimitError, match="fits no frame"):
                chip.run([Pulse(array, trains)])
            assert capture.read_bytes() == sent
        assert capture.read_bytes() != sent


# ---- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("half_volts = 1.8", "half_volts = 1.79", "biasing floating, across half-selected devices = 1.8 is beyond"),
        ("cell_volts = 1.8", "cell_volts = 1.7", "across a device = 1.8"),
        ("line_volts = 1.0", "line_volts = 0.8", "on a line = 0.9"),
        ("volts_up = 1.35", "volts_up = 1.35\ngate_volts = 1.0", "gate_volts = 1 with biasing floating: choose 1t1r"),
    ],
)
def test_a_profile_beyond_its_envelope_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = PROFILE.read_text()
    assert old in text
    (tmp_path / "p.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_chip(str(tmp_path / "p.toml"))


def test_a_board_that_holds_lines_or_allows_less_is_refused() -> None:
    assert problems(CHIP, BoardModel(**SIZES, capabilities=0b10111)) == []  # type: ignore[arg-type]
    (one,) = problems(CHIP, BoardModel(**SIZES, capabilities=0b01111))  # type: ignore[arg-type]
    assert one == 'biasing = "floating", the board cannot let lines float: choose v/2 or v/3'
    tight = BoardModel(**SIZES | {"limits": {"half": 1799}}, capabilities=0b10111)  # type: ignore[arg-type]
    found = problems(CHIP, tight)
    assert found[0].startswith("envelope.half_volts = 1.8 V is more than the board's firmware allows")
    assert [p.split(" = ")[0] for p in found[1:]] == [  # reset goes down, set goes up; update is well below
        "kind 0, down, code across half-selected devices",
        "kind 1, up, code across half-selected devices",
    ]


def test_what_is_armed_says_that_lines_float() -> None:
    settings = CHIP.settings(Limits())
    assert all(kind.floating for kind in settings.kinds)
    payload = pack_settings(settings)
    assert [payload[16 + 28 * n + 19] for n in range(3)] == [1, 1, 1]
    emulated = pack_settings(load_chip("emulated-64").settings(Limits()))
    assert [emulated[16 + 28 * n + 19] for n in range(3)] == [0, 0, 0]


def test_the_worst_of_half_selected_devices_by_scheme() -> None:
    up, down = (675, 100, -675, 50), (-650, 0, 650, 0)
    assert KindCodes(up, down, 0, 3, 50, 0).most_half == (775, 650)
    assert KindCodes(up, down, 1200, 3, 50, 0).most_half == (625, 650)
    assert KindCodes(up, down, 0, 3, 50, 0, floating=True).most_half == (1350, 1300)


def test_cross_points_of_a_parallel_chip_share_their_slots() -> None:
    assert load_chip("emulated-64").capabilities().parallel_pulses
    assert not CHIP.capabilities().parallel_pulses
