"""Reproducibility of simulations: the same seed and steps give the same reads, however steps are grouped."""

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.checker.bench import Bench, Check, require, trains
from rpudriver.backends.checker.snapshots import take
from rpudriver.types import Array, PulseTrains, ReadResult


def same_seed(bench: Bench) -> None:
    """Two chips opened with the same options give the same reads for the same steps, bit for bit."""
    bench.square()
    take(bench)  # a chip that cannot tell its state is no simulation
    reads = []
    for _ in range(2):
        chip = bench.reopen()
        array = bench.square()
        bench.to_bottom(array)
        bench.drive(array, max(1, bench.push // 2))
        reads.append(chip.read_matvec(array, torch.eye(array.n_in).repeat(4, 1) * bench.amplitude).values.cpu())
    off = float((reads[0] - reads[1]).abs().max())
    require(off == 0, f"reads of two chips of one seed differ by up to {off:.3g}")


def grouping_free(bench: Bench) -> None:
    """Draws depend on the number of a sample or vector, not on how steps group them or on other arrays."""
    bench.square()
    take(bench)
    chip = bench.reopen()
    array = bench.square()
    together = _run(bench, chip, array, array.n_in, others=False)
    chip = bench.reopen()
    apart = _run(bench, chip, array, 1, others=True)
    # sums may round differently in the last bit, and then fall on the other side of a converter's step
    equal = (together - apart).abs() <= 1e-4 * bench.span
    close = (together - apart).abs() <= 1.01 * bench.adc_step + 1e-4 * bench.span
    share = float(equal.double().mean())
    require(bool(close.all()) and share > 0.95, f"{1 - share:.0%} of the reads differ when steps are split up")


def _run(bench: Bench, chip: CrossbarBackend, array: Array, group: int, others: bool) -> torch.Tensor:
    """Pulse and read an array, samples and vectors in groups, optionally with another array in between."""
    chip.allocate(array.name, array.n_out, array.n_in)
    other = bench.square("other") if others else array
    pulses = _random(bench, array)
    one_hot = torch.eye(array.n_in) * bench.amplitude
    reads: list[ReadResult] = []
    for start in range(0, len(pulses), group):
        chip.apply_pulses(array, pulses[start : start + group])
        if others:
            bench.drive(other, 3)
    for start in range(0, len(one_hot), group):
        reads.append(chip.read_matvec(array, one_hot[start : start + group]))
        if others:
            chip.read_matvec(other, one_hot)
    return torch.cat([read.values.cpu() for read in reads])


def _random(bench: Bench, array: Array) -> PulseTrains:
    """Return a batch of trains in which every line fires in about half of the slots, with random signs."""
    draw = torch.Generator().manual_seed(1)
    samples, slots = 2 * array.n_in, min(20, bench.capabilities.longest_bl)

    def coin(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=draw) < 0.5

    x, d = coin(samples, array.n_in, slots), coin(samples, array.n_out, slots)
    return trains(x, d, coin(samples, array.n_in), coin(samples, array.n_out))


CHECKS = (
    Check("same-seed", same_seed, "Noise is drawn from a generator that the seed does not set, or from a global one."),
    Check(
        "grouping-free",
        grouping_free,
        "Noise is numbered by step or by call: key it by the array's name and Numbered.first + b.",
    ),
)
