"""What is encoded is what was meant, in frames that hold it: taken apart again by the other reader of the protocol."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver.backends.hardware import encoding
from rpudriver.backends.hardware.encoding import CodeForm, Piece, Room, Timing
from rpudriver.backends.hardware.operations import (
    PulseOperation,
    ReadOperation,
    Rectangle,
    WaitOperation,
    decode,
    pieces,
)
from rpudriver.errors import LimitError
from rpudriver.trains import TrainSource, counted_pulses, draw_trains
from rpudriver.types import PulseTrains

ROOM = Room(16384, 16384, 200_000_000)
SLOT = Timing(2, 2600)


def drawn(samples: int, columns: int, rows: int, max_bl: int, seed: int) -> PulseTrains:
    draw = torch.Generator().manual_seed(seed)
    x, d = torch.randn(samples, columns, generator=draw).relu(), torch.randn(samples, rows, generator=draw)
    source = TrainSource(seed, "W/trains")
    return draw_trains(x, d, lr=0.1, dw_min=0.1 / max_bl, max_bl=max_bl, source=source, first=3, bl_management=False)


def slots(words: torch.Tensor, bl: int) -> np.ndarray:
    bits = (words.numpy()[:, :, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    return bits.reshape(len(words), -1)[:, :bl].astype(bool)


def samples_of(found: list[Piece]) -> list[object]:
    return [s for piece in found for op in decode(piece.data, 7) for _ in range(op.repeat) for s in op.samples]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.integers(1, 100), st.integers(0, 99))
def test_trains_come_out_as_they_went_in(samples: int, columns: int, rows: int, max_bl: int, seed: int) -> None:
    trains = drawn(samples, columns, rows, max_bl, seed)
    where = Rectangle(3, 1, rows, 2, columns)
    room = Room(4096, 64, 200_000_000)
    found = encoding.pulse_pieces(where, SLOT, trains, 1, False, room)
    assert all(len(piece.data) <= room.request and piece.ns <= room.ns for piece in found)
    out = samples_of(found)
    assert len(out) == samples
    for b, sample in enumerate(out):
        bl = int(trains.bl[b])
        assert sample.bl == bl
        for words, got in ((trains.x_words[b], sample.x), (trains.d_words[b], sample.d)):
            assert np.array_equal(slots(words, bl), got)
        x_fires, d_fires = sample.x.any(1), sample.d.any(1)
        assert np.array_equal(sample.x_negative, trains.x_negative[b].numpy() & x_fires)
        assert np.array_equal(sample.d_negative, trains.d_negative[b].numpy() & d_fires)
    heads = [op for piece in found for op in decode(piece.data, 7)]
    assert all(isinstance(op, PulseOperation) and op.where == where and op.kind == 2 for op in heads)


def test_time_is_that_of_the_phases_that_occur() -> None:
    x = torch.tensor([[1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    d = torch.tensor([[1.0, -1.0], [1.0, -1.0], [1.0, 1.0]])
    trains = draw_trains(x, d, lr=1.0, dw_min=0.1, max_bl=10, source=TrainSource(1, "t"), first=0)  # all lines fire
    (piece,) = encoding.pulse_pieces(Rectangle(0, 0, 2, 0, 2), SLOT, trains, 1, False, ROOM)
    assert piece.ns == (4 + 2) * 10 * SLOT.slot_ns


@pytest.mark.parametrize("repeat", [1, 7, 70_000])
def test_repeats_are_split_where_a_frame_would_take_too_long(repeat: int) -> None:
    trains = counted_pulses(torch.tensor([[3]]))
    room = Room(200, 64, 3 * 1000 * SLOT.slot_ns)  # a thousand repeats in each
    found = encoding.pulse_pieces(Rectangle(0, 0, 1, 0, 1), SLOT, trains, repeat, True, room)
    operations = [op for piece in found for op in decode(piece.data, 7)]
    assert sum(op.repeat for op in operations) == repeat
    assert all(op.flip for op in operations)
    assert len(found) == -(-repeat // 1000)
    assert all(piece.ns <= room.ns for piece in found)


def test_batches_too_large_for_one_frame_are_repeated_in_order() -> None:
    trains = drawn(4, 40, 40, 31, 0)
    once = samples_of(encoding.pulse_pieces(Rectangle(0, 0, 40, 0, 40), SLOT, trains, 1, False, ROOM))
    small = encoding.pulse_pieces(Rectangle(0, 0, 40, 0, 40), SLOT, trains, 3, False, Room(800, 64, ROOM.ns))
    assert len(small) > 3
    assert [s.counts(False).tolist() for s in samples_of(small)] == 3 * [s.counts(False).tolist() for s in once]


def test_a_sample_that_fits_no_frame_is_refused() -> None:
    trains = drawn(1, 64, 64, 64, 0)
    where = Rectangle(0, 0, 64, 0, 64)
    with pytest.raises(LimitError, match="draw shorter trains"):
        encoding.pulse_pieces(where, SLOT, trains, 1, False, Room(300, 64, ROOM.ns))
    with pytest.raises(LimitError, match="draw shorter trains"):
        encoding.pulse_pieces(where, SLOT, trains, 1, False, Room(16384, 64, 50 * SLOT.slot_ns))


FORMS = [CodeForm.of(7, 1), CodeForm.of(12, 1)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1), st.integers(1, 40), st.integers(1, 30), st.booleans(), st.booleans(), st.integers(0, 99))
def test_reads_come_out_as_they_went_in(
    wide: int, vectors: int, inputs: int, one_hot: bool, transposed: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    form = FORMS[wide]
    codes = draw.integers(-form.largest, form.largest + 1, (vectors, inputs)).astype(np.int16)
    if one_hot:
        codes *= np.arange(inputs) == draw.integers(inputs, size=(vectors, 1))
    rows, columns = (inputs, 5) if transposed else (5, inputs)
    where, second = Rectangle(1, 2, rows, 3, columns), Rectangle(2, 0, rows, 9, columns)
    room = Room(300, 64, 20_000)
    found = encoding.read_pieces(where, second if seed % 2 else None, 1, transposed, codes, form, room)
    reads = [op for piece in found for op in decode(piece.data, 12 if wide else 7)]
    assert all(isinstance(op, ReadOperation) and op.where == where and op.range == 1 for op in reads)
    assert all(op.second == (second if seed % 2 else None) and op.transposed == transposed for op in reads)
    assert np.array_equal(np.concatenate([op.codes for op in reads]), codes)
    for piece, op in zip(found, reads, strict=True):
        assert len(piece.data) <= room.request
        assert piece.reply == 1 + 2 * op.outputs * len(op.codes) <= room.reply
        assert piece.ns == 1000 * len(op.codes) <= room.ns


def test_column_reads_cost_four_bytes() -> None:
    codes = np.eye(64, dtype=np.int16) * np.int16(63)
    (piece,) = encoding.read_pieces(Rectangle(0, 0, 64, 0, 64), None, 0, False, codes, FORMS[0], ROOM)
    assert len(piece.data) == 4 + 12 + 64 * 4


def test_waits_are_cut() -> None:
    found = encoding.wait_pieces(0.5, ROOM)
    operations = [op for piece in found for op in decode(piece.data, 7)]
    assert [op.us for op in operations if isinstance(op, WaitOperation)] == [200_000, 200_000, 100_000]
    assert encoding.wait_pieces(0.0, ROOM) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9)), max_size=30))
def test_batches_hold_all_pieces_in_order_and_no_more_than_fits(sizes: list[tuple[int, int, int]]) -> None:
    made = [Piece(bytes([n]) * size, reply, ns) for n, (size, reply, ns) in enumerate(sizes)]
    room = Room(20, 15, 12)
    found = list(encoding.batches(made, room))
    assert [piece for batch in found for piece in batch] == made
    for batch in found:
        assert sum(len(piece.data) for piece in batch) <= 20
        assert sum(piece.reply for piece in batch) <= 15
        assert sum(piece.ns for piece in batch) <= 12
    for one, other in itertools.pairwise(found):  # no batch is smaller than it need be
        joined = [*one, other[0]]
        assert (
            sum(len(p.data) for p in joined) > 20 or sum(p.reply for p in joined) > 15 or sum(p.ns for p in joined) > 12
        )


@pytest.mark.parametrize("max_bl", [1, 31, 33, 200])
def test_trains_that_the_board_draws_are_those_of_the_host(max_bl: int) -> None:
    draw = torch.Generator().manual_seed(max_bl)
    x, d = torch.randn(5, 20, generator=draw).relu(), torch.randn(5, 30, generator=draw)
    x[2] = 0.0
    options = {"lr": 0.1, "dw_min": 0.05 / max_bl, "max_bl": max_bl}
    source = TrainSource(2**63 + 5, "tile/trains")
    trains = draw_trains(x, d, **options, source=source, first=2**33)
    described = encoding.describe(x, d, source, 2**33, (options["lr"], options["dw_min"], max_bl, True, True))
    found = encoding.drawn_pieces(Rectangle(0, 0, 30, 0, 20), SLOT, described, False, Room(400, 64, ROOM.ns))
    assert len(found) > 1
    assert all(len(piece.data) <= 400 for piece in found)
    for b, sample in enumerate(samples_of(found)):
        bl = int(trains.bl[b])
        assert sample.bl == bl
        assert np.array_equal(sample.x, slots(trains.x_words[b], bl))
        assert np.array_equal(sample.d, slots(trains.d_words[b], bl))


def test_pieces_of_a_batch_are_found_again() -> None:
    found = encoding.wait_pieces(0.5, ROOM)
    assert len(list(pieces(b"".join(piece.data for piece in found)))) == 3
