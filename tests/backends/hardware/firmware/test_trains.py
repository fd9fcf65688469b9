"""What is fired: drawn trains are the host's bit for bit, phases come in order, every device gets its pulses."""

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from rpudriver.backends.hardware.operations import PulseOperation, decode
from rpudriver.trains import TrainSource, draw_trains
from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware.boards import StreamBoard, session
from tests.backends.hardware.firmware.wire import E_COMPLIANCE, OK

Stream = Callable[[bytes], StreamBoard]
Bits = npt.NDArray[np.bool_]


def random_sides(random: np.random.Generator, bl: int, rows: int, columns: int) -> tuple[Bits, Bits, Bits, Bits]:
    slots = [random.random((lines, bl)) < 0.3 for lines in (columns, rows)]
    signs = [random.random(lines) < 0.5 for lines in (columns, rows)]
    return slots[0], slots[1], signs[0], signs[1]


@pytest.mark.parametrize(
    ("bl", "rows", "columns", "row", "column"),
    [(1, 1, 1, 63, 63), (7, 5, 9, 3, 50), (33, 64, 64, 0, 0), (1024, 3, 2, 60, 1)],
)
@pytest.mark.parametrize("flip", [False, True])
def test_every_device_gets_the_pulses_that_numpy_counts(
    stream: Stream, bl: int, rows: int, columns: int, row: int, column: int, flip: bool
) -> None:
    random = np.random.default_rng(bl)
    sides = [random_sides(random, bl, rows, columns) for _ in range(3)]
    run = p.pulse(
        b"".join(p.sample(*s) for s in sides), 2, 0, row, rows, column, columns, 3, repeat=2, flags=p.FLIP * flip
    )
    told = stream(session(run))
    (operation,) = decode(run, 7)
    assert isinstance(operation, PulseOperation)
    expected = np.zeros((64, 64), np.int64)
    expected[row : row + rows, column : column + columns] = 2 * sum(s.counts(flip) for s in operation.samples)
    assert [reply.status for reply in told.replies] == [OK, OK]
    assert np.array_equal(told.counts, expected)
    assert np.abs(expected).sum() > 0 or bl == 1


def test_phases_come_in_order_and_each_has_its_own_rails(stream: Stream) -> None:
    slots = np.ones((2, 3), np.bool_)  # two lines a side, one of each sign: all four pairs
    signs = np.array([False, True])
    told = stream(session(p.pulse(p.sample(slots, slots, signs, signs), rows=2, columns=2)))
    seen = [
        (up, np.flatnonzero(rows[0]).tolist(), np.flatnonzero(columns[0]).tolist()) for up, rows, columns in told.phases
    ]
    assert seen == [(True, [0], [0]), (True, [1], [1]), (False, [0], [1]), (False, [1], [0])]
    assert all(len(rows) == 3 and (rows == rows[0]).all() for _, rows, _ in told.phases)


def test_a_pair_of_signs_without_lines_takes_no_phase(stream: Stream) -> None:
    slots = np.ones((2, 3), np.bool_)
    told = stream(session(p.pulse(p.sample(slots, slots, None, np.array([False, True])), rows=2, columns=2)))
    assert [(up, len(rows)) for up, rows, _ in told.phases] == [(True, 3), (False, 3)]


def test_a_sample_of_length_zero_and_one_that_fires_no_line_take_no_slot(stream: Stream) -> None:
    nothing = p.sample(np.zeros((2, 5), np.bool_), np.ones((2, 5), np.bool_))
    told = stream(session(p.pulse(b"\0\0" + nothing + b"\0\0", rows=2, columns=2, count=3, repeat=1000)))
    assert told.replies[1].status == OK
    assert not told.phases


@pytest.mark.parametrize("bl", [1, 31, 32, 33, 300])
def test_drawn_trains_are_those_of_the_host(stream: Stream, bl: int) -> None:
    """The thresholds of `draw_trains`: update management off, every probability known exactly."""
    random = np.random.default_rng(bl)
    x, d = (torch.from_numpy(random.uniform(-1.2, 1.2, (4, n)).astype(np.float32)) for n in (20, 11))
    x[0, 3] = 0.0
    source, first = TrainSource(0x0123456789ABCDEF, "tile/trains"), 2**33 + 5
    lr, dw_min = 0.01 * bl, 0.01  # amplitude 1 on both sides: some probabilities are 1
    trains = draw_trains(
        x, d, lr=lr, dw_min=dw_min, max_bl=bl, source=source, first=first, update_management=False, bl_management=False
    )
    samples = b"".join(
        struct.pack("<H", bl)
        + drawn_side(x[b].numpy(), np.sqrt(lr / (bl * dw_min)))
        + drawn_side(d[b].numpy(), np.sqrt(lr / (bl * dw_min)))
        for b in range(4)
    )
    drawn = struct.pack("<QIIQ", source.seed, *map(int, source.streams), first)
    told = stream(session(p.pulse(samples, 0, 0, 30, 11, 40, 20, count=4, flags=p.DRAWN, drawn=drawn)))
    assert told.replies[1].status == OK
    fired_x, fired_d = fired_slots(
        told, 4, bl, slice(40, 60), slice(30, 41), trains.x_negative.numpy(), trains.d_negative.numpy()
    )
    assert np.array_equal(fired_x, host_slots(trains.x_words, bl))
    assert np.array_equal(fired_d, host_slots(trains.d_words, bl))
    assert bl == 1 or 0.2 < fired_x.mean() < 0.8


def drawn_side(values: npt.NDArray[np.float32], amplitude: float) -> bytes:
    threshold = np.floor(np.minimum(1.0, amplitude * np.abs(values.astype(np.float64))) * 2.0**32 + 0.5).astype(
        np.uint64
    )
    fires = threshold > 0
    return p.bits(fires) + p.bits((values < 0)[fires]) + (threshold[fires] - np.uint64(1)).astype("<u4").tobytes()


def fired_slots(
    told: StreamBoard, samples: int, bl: int, columns: slice, rows: slice, x_negative: Bits, d_negative: Bits
) -> tuple[Bits, Bits]:
    """Put the phases together again: slots ``[samples, lines, bl]`` of both sides."""
    x = np.zeros((samples, columns.stop - columns.start, bl), np.bool_)
    d = np.zeros((samples, rows.stop - rows.start, bl), np.bool_)
    phases = iter(told.phases)
    for b in range(samples):
        for negative in ((False, False), (True, True), (True, False), (False, True)):
            if (x_negative[b] == negative[0]).any() and (d_negative[b] == negative[1]).any():
                up, fired_rows, fired_columns = next(phases)
                assert up == (negative[0] == negative[1])
                x[b] |= fired_columns[:, columns].T
                d[b] |= fired_rows[:, rows].T
                assert not fired_columns[:, columns].T[x_negative[b] != negative[0]].any()
    assert next(phases, None) is None
    return x, d


def host_slots(words: torch.Tensor, bl: int) -> Bits:
    array = words.numpy()
    return (
        ((array[..., None] >> np.arange(32, dtype=np.uint32)) & 1)
        .reshape(*array.shape[:2], -1)[..., :bl]
        .astype(np.bool_)
    )


def test_a_trip_ends_the_run_and_says_how_far_it_went(stream: Stream) -> None:
    """Here the comparator trips where a slot selects more devices than the compliance code."""
    wide = p.pulse(p.sample(np.ones((4, 1), np.bool_), np.ones((4, 1), np.bool_)), rows=4, columns=4)
    told = stream(session(p.pulse(p.one()) + p.wait(1) + wide + p.pulse(p.one(9)), p.wait(1), compliance=15))
    assert told.replies[1].status == E_COMPLIANCE
    assert told.replies[1].payload == bytes([3, 0, 0, 1])
    assert told.counts.sum() == 1 + 16
    assert told.replies[2].error[:5] == (7, 0xFF, 0, 3, 0)
    assert stream(session(wide, compliance=16)).replies[1].status == OK
