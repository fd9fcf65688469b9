"""Boards that are not what the profile says: each is refused in words, and nothing is changed there."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.backends.hardware.serial.arming import pack_settings
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.backends.hardware.serial.hello import Capability, Hello, check_profile
from rpudriver.errors import BoardError
from tests.backends.hardware import board_model
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.serial.benches import CHIP, FAST, SETTINGS, bench
from tests.backends.hardware.wires import board_work, served


def refused(model: BoardModel) -> str:
    with bench(model, arm=False) as b:
        with pytest.raises(BoardError) as error:
            b.driver.connect()
        with pytest.raises(BoardError, match=r"connect\(\) first"):
            b.driver.arm(SETTINGS)
        assert (model.state, model.last_seq, model.pulses) == ((board_model.IDLED, 4), 0, 0)
        b.driver.idle()
        assert model.state == (board_model.IDLED, 1), "any board can be idled"
    return str(error.value)


def changed(section: str, **values: Any) -> ChipProfile:
    """Return the profile with other values in one of its tables."""
    data = CHIP.model_dump()
    target = data[section] if section else data
    target.update(values)
    return ChipProfile.model_validate(data)


def problems(profile: ChipProfile, model: BoardModel | None = None) -> list[str]:
    """Return what is said of a profile on a board."""
    board = Hello.unpack((model or BoardModel())._hello(bytes(8)))
    assert board is not None
    try:
        check_profile(board, profile)
    except BoardError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    return []


def test_another_chip() -> None:
    words = refused(BoardModel(chip=b"reram-7"))
    assert words.startswith("the board holds the chip 'reram-7', the profile is of 'emulated-64'")
    assert "choose the profile of this chip" in words


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"rows": 32}, "rows = 64, the board has 32"),
        ({"columns": 128}, "columns = 64, the board has 128"),
        ({"arrays": 15}, "arrays = 16, the board has 15"),
        ({"input_bits": 8}, "converters.input_bits = 7, the board has 8"),
        ({"output_bits": 12}, "converters.output_bits = 9, the board has 12"),
        ({"capabilities": 0b1110}, "transposed_reads = true, the board cannot"),
    ],
)
def test_another_size_or_a_missing_capability(other: dict[str, int], words: str) -> None:
    said = refused(BoardModel(**other))  # type: ignore[arg-type]
    assert said.startswith("the profile of 'emulated-64' does not fit the board (nothing was changed there):")
    assert words in said


def test_another_major_version_can_be_idled_and_nothing_else() -> None:
    words = refused(BoardModel(major=2))
    assert words.startswith(
        "the board speaks version 2 of the protocol, this driver version 1: it can be idled, not armed"
    )


def test_the_version_counts_in_the_frame_and_in_the_greeting() -> None:
    """What a later version says in its greeting is not known; something on the way may frame it anew."""
    framed, greeted = BoardModel(major=2), BoardModel()
    hello = greeted._hello
    framed._hello = lambda payload: b"later"  # type: ignore[method-assign]
    greeted._hello = lambda payload: hello(payload)[:4] + b"\2" + hello(payload)[5:]  # type: ignore[method-assign]
    for model in (framed, greeted):
        assert refused(model).startswith("the board speaks version 2 of the protocol")


def test_a_board_that_does_more_than_the_profile_asks_is_welcome() -> None:
    assert problems(CHIP, BoardModel(arrays=17, capabilities=0xFFFF, limits={"line": 32000, "watchdog": 65535})) == []


# what of the profile, its limit in codes on the model board, and how the message begins
EDGES = [
    ("line", 1000, "envelope.line_volts = 1 V is more than the board's firmware allows, 0.999 V (code 999)"),
    ("cell", 1800, "envelope.cell_volts = 1.8 V is more than the board's firmware allows, 1.799 V (code 1799)"),
    ("half", 900, "envelope.half_volts = 0.9 V is more than the board's firmware allows, 0.899 V (code 899)"),
    ("width", 20_000, "envelope.width_s = 2e-05 s is more than the board's firmware allows, 1.9999e-05 s (code 19999)"),
    ("compliance", 20_000, "envelope.compliance_a = 0.02 A is more than the board's firmware allows, 0.019999 A"),
    ("run", 200_000, "envelope.batch_s = 0.2 s is more than the board's firmware allows, 0.199999 s (code 199999)"),
    ("input", 63, "read volts = 0.2 V is more than the board's firmware allows, 0.196825 V (code 62)"),
    ("gap", 100, "timing.slot_gap_s = 1e-07 s is more than the board's firmware allows, 9.9e-08 s (code 99)"),
    ("watchdog", 500, "timing.watchdog_s = 0.5 s is more than the board's firmware allows, 0.499 s (code 499)"),
    ("bl", 1024, "longest_bl = 1024 slots is more than the board's firmware allows, 1023 slots (code 1023)"),
]


@pytest.mark.parametrize(("name", "edge", "words"), EDGES)
def test_limits_wider_than_the_firmware_s(name: str, edge: int, words: str) -> None:
    assert problems(CHIP, BoardModel(limits={name: edge})) == []
    found = [problem for problem in problems(CHIP, BoardModel(limits={name: edge - 1})) if problem.startswith(words)]
    assert len(found) == 1
    assert found[0].endswith("lower it in the profile, or build the firmware with wider limits if the chip bears it")


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    words = refused(BoardModel(rows=32, limits={"cell": 100, "bl": 5}))
    assert all(part in words for part in ("rows = 64", "envelope.cell_volts", "longest_bl"))


def test_pulses_that_are_too_short_and_gates_that_are_not_there() -> None:
    assert problems(CHIP, BoardModel(limits={"shortest": 2501}))[0].startswith(
        "kinds.update.width_s = 2.5e-06 s is less"
    )
    kinds = CHIP.model_dump()["kinds"]
    kinds["set"]["gate_volts"] = 1.2
    gated = changed("envelope", gate_volts=1.2)
    gated = ChipProfile.model_validate(gated.model_dump() | {"kinds": kinds})
    assert problems(gated, BoardModel(limits={"gate": 1200})) == [
        "kinds with gate_volts above 0, the board has no gate lines: remove them"
    ]
    assert problems(gated, BoardModel(limits={"gate": 1200}, capabilities=15)) == []
    assert problems(gated, BoardModel(limits={"gate": 1199}, capabilities=15))[0].startswith(
        "envelope.gate_volts = 1.2 V"
    )


def test_the_reply_is_read_field_by_field() -> None:
    values = list(range(1, 33))
    values[9], values[10] = b"firmware", b"chip"  # type: ignore[call-overload]
    board = Hello.unpack(Hello.LAYOUT.pack(*values) + b"of a later minor version")
    assert board is not None
    assert (board.nonce, board.major, board.minor, board.boot, board.last_seq) == (1, 2, 3, 6, 7)
    assert (board.firmware, board.chip, board.arrays, board.rows, board.columns) == (b"firmware", "chip", 12, 13, 14)
    assert board.capabilities == Capability(17)
    assert (board.max_request, board.max_reply, board.max_line, board.max_cell) == (18, 19, 20, 21)
    assert (board.max_half, board.max_gate, board.max_input, board.max_compliance) == (22, 23, 24, 25)
    assert (board.min_width_ns, board.max_width_ns, board.max_gap_ns) == (26, 27, 28)
    assert (board.max_bl, board.max_watchdog_ms, board.max_run_us, board.pulses) == (29, 30, 31, 32)


@given(st.binary(max_size=200))
def test_whatever_is_in_a_reply_it_is_read_or_refused(payload: bytes) -> None:
    board = Hello.unpack(payload)
    assert (board is None) == (len(payload) < 108)


def test_a_malformed_greeting_is_no_board() -> None:
    model = BoardModel()
    model._hello = lambda payload: payload[4:8] + bytes(20)  # type: ignore[method-assign]
    with served(board_work(model)) as end:
        driver = SerialBoard(end.port, CHIP, **FAST)
        with pytest.raises(BoardError, match="not as a rpudriver board: its greeting is malformed"):
            driver.connect()
        driver.close()


def test_arm_is_packed_as_the_protocol_says() -> None:
    payload = pack_settings(SETTINGS)
    assert len(payload) == 16 + 28 * 3
    assert struct.unpack_from("<HBBhHHHI", payload) == (500, 3, 0, 63, 1024, 20_000, 1, 200_000)
    update = struct.unpack_from("<8hhBBII", payload, 16 + 2 * 28)  # kinds are in the order of their names
    assert update == (675, 0, -675, 0, -650, 0, 650, 0, 0, 3, 0, 2500, 100)
