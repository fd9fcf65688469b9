"""Property tests of the contract: metering, numbering and placement against brute force."""

import math
from dataclasses import replace
from itertools import combinations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver.backends.counting import largest_size, tally
from rpudriver.backends.placement import Diagonals
from rpudriver.backends.registry import make
from rpudriver.errors import AllocationError
from rpudriver.types import Cell, Placement, Pulse, PulseTrains, Read, Wait
from tests.backends.reference_chip import random_trains

EXAMPLES = settings(max_examples=60, deadline=None)


@st.composite
def trains(draw: st.DrawFn, shape: tuple[int, int] | None = None) -> PulseTrains:
    n_out, n_in = shape or (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    samples, bl = draw(st.integers(1, 4)), draw(st.integers(1, 70))
    density = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    found = random_trains((n_out, n_in), samples, bl, draw(st.integers(0, 2**31)), density)
    if draw(st.booleans()):  # lines of one sign only
        found.x_negative.fill_(False)
        found.d_negative.fill_(draw(st.booleans()))
    return found


def slots(words: torch.Tensor, bl: int) -> list[list[bool]]:
    """Slots of each line of one sample, bit by bit."""
    return [[bool(int(line[s // 32]) >> (s % 32) & 1) for s in range(bl)] for line in words]


def brute_force(found: PulseTrains) -> tuple[int, int, int]:
    lines = coincidences = time = 0
    for b in range(len(found)):
        bl = int(found.bl[b])
        x, d = slots(found.x_words[b], bl), slots(found.d_words[b], bl)
        lines += sum(map(sum, x)) + sum(map(sum, d))
        coincidences += sum(one and other for row in d for column in x for one, other in zip(row, column, strict=True))
        x_signs = {bool(found.x_negative[b, j]) for j, line in enumerate(x) if any(line)}
        d_signs = {bool(found.d_negative[b, i]) for i, line in enumerate(d) if any(line)}
        time += bl * len(x_signs) * len(d_signs)
    return lines, coincidences, time


def signs_that_fire(found: PulseTrains) -> set[bool]:
    """Whether pairs of lines that fire in the same sample agree in sign."""
    x, d = found.x_words.view(torch.int32).any(2), found.d_words.view(torch.int32).any(2)
    pairs = x[:, None, :] & d[:, :, None]
    return set((found.x_negative[:, None, :] == found.d_negative[:, :, None])[pairs].tolist())


@EXAMPLES
@given(trains())
def test_a_tally_equals_a_count_bit_by_bit(found: PulseTrains) -> None:
    counted = tally(found)
    assert (counted.line_pulses, counted.coincidences, counted.slots) == brute_force(found)
    assert (counted.longest, counted.total) == (int(found.bl.max()), int(found.bl.sum()))
    assert counted.late == -1
    assert {sign for sign, seen in ((True, counted.up), (False, counted.down)) if seen} == signs_that_fire(found)


@EXAMPLES
@given(trains(), st.data())
def test_the_first_sample_that_fires_late_is_named(found: PulseTrains, data: st.DataObject) -> None:
    lengths = torch.tensor([data.draw(st.integers(0, int(bl))) for bl in found.bl])
    late = [b for b in range(len(found)) if fires_beyond(found, b, int(lengths[b]))]
    assert tally(replace(found, bl=lengths)).late == (late[0] if late else -1)


def fires_beyond(found: PulseTrains, b: int, bl: int) -> bool:
    words = found.x_words.shape[2]
    return any(any(line[bl:]) for side in (found.x_words, found.d_words) for line in slots(side[b], 32 * words))


@EXAMPLES
@given(st.lists(st.floats(width=32), max_size=40))
def test_the_largest_size_is_that_of_a_plain_search(values: list[float]) -> None:
    found = largest_size(torch.tensor(values, dtype=torch.float32))
    if any(math.isnan(value) for value in values):
        assert math.isnan(found)
    else:
        assert found == max(map(abs, values), default=0.0)


@EXAMPLES
@given(trains(shape=(3, 4)), st.integers(1, 5), st.integers(0, 6), st.booleans(), st.booleans())
def test_the_meter_adds_up(found: PulseTrains, repeat: int, vectors: int, transposed: bool, summed: bool) -> None:
    chip = make("null", chip={"summed_reads": summed})
    chip.arm()
    a, b = chip.allocate("A", 3, 4), chip.allocate("B", 3, 4)
    x = torch.zeros(vectors, 3 if transposed else 4)
    chip.run([Pulse(a, found, repeat=repeat), Read(((a, 1.0), (b, 0.5)), x, transposed), Wait(0.25)])
    lines, coincidences, slots_used = brute_force(found)
    cost, capabilities = chip.status().cost, chip.capabilities
    kind = capabilities.kinds["update"]
    reads = vectors * (1 if summed else 2)
    assert cost["samples"] == repeat * len(found)
    assert cost["line_pulses"] == repeat * lines
    assert cost["coincidences"] == repeat * coincidences
    assert cost["reads"] == reads
    slot_time = kind.width_s + capabilities.slot_gap_s
    time = repeat * slots_used * slot_time + reads * capabilities.read_time_s + 0.25
    energy = repeat * (lines * kind.line_pulse_energy_j + coincidences * kind.coincidence_energy_j)
    energy += reads * (4 if transposed else 3) * capabilities.read_energy_j
    assert abs(cost["chip_time_s"] - time) < 1e-12 + 1e-9 * time
    assert abs(cost["energy_j"] - energy) < 1e-20 + 1e-9 * energy


def devices_pulsed(found: PulseTrains) -> set[tuple[int, int]]:
    rows = range(found.d_words.shape[1])
    words = found.d_words.view(torch.int32)[:, :, None] & found.x_words.view(torch.int32)[:, None]
    return {(i, j) for i in rows for j in range(found.x_words.shape[1]) if bool(words[:, i, j].any())}


@EXAMPLES
@given(trains(shape=(3, 4)), st.integers(1, 5), st.lists(st.sampled_from([0.0, 0.4, -1.0]), min_size=8, max_size=8))
def test_devices_that_have_turns_take_their_time(found: PulseTrains, repeat: int, inputs: list[float]) -> None:
    """A null chip whose devices are served one after the other: every pulse, reading and way to a device by itself."""
    one_by_one = {"parallel_pulses": False, "parallel_reads": False, "switch_time_s": 0.5, "summed_reads": False}
    chip = make("null", chip=one_by_one)
    chip.arm()
    a, b, x = chip.allocate("A", 3, 4), chip.allocate("B", 3, 4, Cell.PAIR), torch.tensor(inputs).view(2, 4)
    chip.run([Pulse(a, found, repeat=repeat), Pulse(b, found), Read(((a, 1.0), (b, 0.5)), x)])
    kind, times = chip.capabilities.kinds["update"], chip.capabilities
    pulses, devices = brute_force(found)[1], len(devices_pulsed(found))
    time = (repeat + 2) * pulses * (kind.width_s + times.slot_gap_s) + 3 * devices * 0.5  # both of a pair
    time += 3 * 3 * int((x != 0).sum()) * times.read_time_s + 3 * 3 * int(x.any(0).sum()) * 0.5  # A and two of B
    assert abs(chip.status().cost["chip_time_s"] - time) < 1e-9 * (1 + time)


@EXAMPLES
@given(st.lists(trains(shape=(2, 3)), max_size=4), st.data())
def test_cost_and_counters_do_not_depend_on_grouping(found: list[PulseTrains], data: st.DataObject) -> None:
    snapshots = []
    for grouped in (True, False):
        chip = make("null")
        chip.arm()
        array = chip.allocate("A", 2, 3)
        steps = [Pulse(array, one) for one in found]
        if not grouped:
            steps = [Pulse(array, one[b : b + 1]) for one in found for b in range(len(one))]
        cut = data.draw(st.integers(0, len(steps)))
        chip.run(steps[:cut])
        chip.run(steps[cut:])
        snapshot = chip.snapshot()
        time, energy = snapshot["cost"].pop("chip_time_s"), snapshot["cost"].pop("energy_j")
        snapshots.append((snapshot, round(time, 12), round(energy, 18)))  # sums in another order: last digits
    assert snapshots[0] == snapshots[1]


request = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from(list(Cell)))


def lines_of(part: Placement, n_out: int, n_in: int) -> tuple[set[int], set[int]]:
    return set(range(part.row, part.row + n_out)), set(range(part.column, part.column + n_in))


@EXAMPLES
@given(st.lists(request, max_size=12), st.integers(1, 3), st.integers(2, 12), st.integers(2, 12))
def test_placements_lie_on_the_chip_and_share_no_line(
    requests: list[tuple[int, int, Cell]], arrays: int, rows: int, columns: int
) -> None:
    chip = make("null", chip={"arrays": arrays, "rows": rows, "columns": columns})
    placed = []
    for k, (n_out, n_in, cell) in enumerate(requests):
        try:
            array = chip.allocate(f"A{k}", n_out, n_in, cell)
        except AllocationError:
            continue
        assert len(array.parts) == (1 if cell is Cell.SINGLE else 2)
        placed += [(part, *lines_of(part, n_out, n_in)) for part in array.parts]
    for part, used_rows, used_columns in placed:
        assert 0 <= part.array < arrays
        assert used_rows <= set(range(rows))
        assert used_columns <= set(range(columns))
    for (a, a_rows, a_columns), (b, b_rows, b_columns) in combinations(placed, 2):
        assert a.array != b.array or (a_rows.isdisjoint(b_rows) and a_columns.isdisjoint(b_columns))


@EXAMPLES
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8), st.data())
def test_what_is_restored_is_never_given_away_again(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    first, again = Diagonals(4, 8, 8), Diagonals(4, 8, 8)
    kept = []
    for k, (n_out, n_in) in enumerate(sizes):
        try:
            parts = first.place(f"A{k}", n_out, n_in, 1)
        except AllocationError:
            continue
        if data.draw(st.booleans()):
            kept.append((parts[0], n_out, n_in))
    assert all(again.free([part]) for part, _, _ in kept)
    for part, n_out, n_in in data.draw(st.permutations(kept)):
        again.occupy([part], n_out, n_in)
    try:
        (new,) = again.place("new", 2, 2, 1)
    except AllocationError:
        return
    new_rows, new_columns = lines_of(new, 2, 2)
    for part, n_out, n_in in kept:
        rows, columns = lines_of(part, n_out, n_in)
        assert not again.free([part])
        assert part.array != new.array or (rows.isdisjoint(new_rows) and columns.isdisjoint(new_columns))
