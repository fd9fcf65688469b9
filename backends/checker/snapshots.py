"""Snapshots: the whole state, frozen, and put back as it was."""

import copy
import io
from typing import Any

import torch

from rpudriver.backends.checker.bench import Bench, Check, CheckFailedError, CheckSkippedError, require
from rpudriver.errors import CheckpointError, UnsupportedError
from rpudriver.types import Array, Read, Step


def take(bench: Bench) -> dict[str, Any]:
    """Return a snapshot, or skip the check on a chip that cannot tell its state or cannot be put back into it."""
    if not bench.chip.restores_devices:
        raise CheckSkippedError("the devices of this chip cannot be put back; it resumes by its journal")
    try:
        return bench.chip.snapshot()
    except UnsupportedError as error:
        raise CheckSkippedError(f"this chip takes no snapshots: {error}") from None


def _striped(bench: Bench, array: Array) -> None:
    bench.pattern(array, bench.halves(array.n_out)[:, None].expand(array.shape))


def snapshot_restored(bench: Bench) -> None:
    """restore() puts the weights and the cost meter back to what they were."""
    array = bench.square()
    _striped(bench, array)
    before = bench.weights(array)
    saved, cost = take(bench), bench.chip.status().cost
    bench.drive(array, -bench.push)
    bench.drive(array, bench.push, rows=~bench.halves(array.n_out))
    high = bench.halves(array.n_out)
    changed = bench.weights(array) - before
    bench.moved_down(changed[high], "rows pulsed down after the snapshot")
    bench.moved_up(changed[~high], "rows pulsed up after the snapshot")
    bench.chip.restore(saved)
    now = bench.chip.status().cost
    require(now == cost, f"the meter says {now} after restore(); it said {cost} at the snapshot")
    change = bench.weights(array) - before
    bench.stayed(change[high], "rows restored from below")
    bench.stayed(change[~high], "rows restored from above")
    off = float(change.abs().mean())
    require(off < bench.span / 16 + bench.rounding, f"restored weights are off by {off:.3g} on average")


def snapshot_frozen(bench: Bench) -> None:
    """A snapshot is a copy: pulses and reads after it, here and on other arrays, do not change it."""
    array = bench.square()
    bench.to_bottom(array)
    saved = take(bench)
    kept = copy.deepcopy(saved)
    bench.drive(array, bench.push)
    bench.weights(array)
    bench.weights(bench.square("other"))
    require(_same(saved, kept), "the snapshot changed after it was taken")
    bench.chip.restore(saved)
    bench.drive(array, bench.push)
    require(_same(saved, kept), "the snapshot changed after it was restored")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def snapshot_saved(bench: Bench) -> None:
    """torch.save takes a snapshot, and a chip that is opened anew continues from the file."""
    array = bench.square()
    _striped(bench, array)
    before = bench.weights(array)
    file = io.BytesIO()
    torch.save(take(bench), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    bench.reopen()
    bench.chip.restore(loaded)
    require(array in bench.chip.status().arrays, "restore() on a new chip does not allocate the snapshot's arrays")
    off = float((bench.weights(array) - before).abs().mean())
    require(off < bench.span / 16 + bench.rounding, f"weights on the new chip are off by {off:.3g} on average")


def snapshot_refused(bench: Bench) -> None:
    """A snapshot of another version or chip raises CheckpointError and changes nothing."""
    array = bench.square()
    bench.to_bottom(array)
    saved = take(bench)
    bench.drive(array, bench.push)
    before = bench.weights(array)
    for key, value in (("version", -1), ("fingerprint", "another chip")):
        try:
            bench.chip.restore(saved | {key: value})
        except CheckpointError:
            continue
        raise CheckFailedError(f"a snapshot with {key} = {value!r} was restored")
    bench.stayed(bench.weights(array) - before, "weights after a refused restore()")


def restore_continues(bench: Bench) -> None:
    """After restore() the same steps give the same reads, bit for bit: noise is numbered on from the snapshot."""
    array = bench.square()
    bench.to_bottom(array)
    bench.drive(array, max(1, bench.push // 2))
    saved = take(bench)
    read = Read(((array, 1.0),), torch.eye(array.n_in) * bench.amplitude)
    steps: list[Step] = [read, *bench.pushes(array, max(1, bench.push // 8)), read, read]
    first = bench.chip.run(steps)
    bench.chip.restore(saved)
    second = bench.chip.run(steps)
    for position, (one, other) in enumerate(zip(first, second, strict=True)):
        off = float((one.values - other.values).abs().max())
        require(off == 0, f"read {position} after restore() differs by up to {off:.3g} from that before")


CHECKS = (
    Check("snapshot-restored", snapshot_restored, "_load drops a part of the state, or keeps what _save returned."),
    Check("snapshot-frozen", snapshot_frozen, "_save returns its own tensors: clone them, and clone in _load too."),
    Check("snapshot-saved", snapshot_saved, "_save is to return plain tensors that hold the whole state."),
    Check("snapshot-refused", snapshot_refused, "The fingerprint has to name chip, preset and seed."),
    Check(
        "restore-continues",
        restore_continues,
        "Noise comes from a running generator: derive it from Numbered.first, or save the generator's state.",
    ),
)
