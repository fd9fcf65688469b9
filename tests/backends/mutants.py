"""Broken backends: each breaks one promise of the contract, and one check of the conformance suite is named for it.

They stand on the simulated chip and override hooks, as somebody's backend would: the public methods are final.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.numbering import expand
from rpudriver.trains import counted_pulses
from rpudriver.types import Cell, Port, Pulse, PulseTrains, Read, ReadResult, Scan
from tests.backends.mutants_state import (
    ArraysShareDevices,
    LimitsIgnored,
    MeterBypassed,
    NeverIdle,
    NumberedByCall,
    OddShapes,
    RepeatsEachSample,
    RunningGenerator,
    SnapshotAliases,
    SnapshotOfHandles,
    StateNotRestored,
    Unseeded,
    WaitForgets,
    WaitRefused,
    WritesNothing,
)
from tests.backends.sound import Sound

# ---- reads -------------------------------------------------------------------------------------------------------


class Transposed(Sound):
    def look(self, step: Read) -> Read:
        return replace(step, transposed=not step.transposed)


class TransposedIgnored(Sound):
    def look(self, step: Read) -> Read:
        return replace(step, transposed=False)


class InputSignLost(Sound):
    def look(self, step: Read) -> Read:
        return replace(step, x=step.x.abs())


class SumWeightsIgnored(Sound):
    def look(self, step: Read) -> Read:
        return replace(step, terms=tuple((array, 1.0) for array, _ in step.terms))


class SummedOneByOne(Sound):
    """Noise for each term although summed reads are declared."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = []
        for numbered in steps:
            step = numbered.step
            if isinstance(step, Read) and len(step.terms) > 1:
                singles = [replace(numbered, step=replace(step, terms=((array, 1.0),))) for array, _ in step.terms]
                values = [result.values for result in super()._execute(singles)]
                total = torch.stack([w * v for (_, w), v in zip(step.terms, values, strict=True)]).sum(0)
                results.append(ReadResult(total, torch.zeros_like(total, dtype=torch.bool)))
            else:
                results += super()._execute([numbered])
        return results


class SilentClip(Sound):
    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        return [replace(result, saturated=torch.zeros_like(result.saturated)) for result in super()._execute(steps)]


class FlagsPositiveOnly(Sound):
    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = super()._execute(steps)
        return [replace(result, saturated=result.saturated & (result.values > 0)) for result in results]


class Compressive(Sound):
    """An amplifier that gives way long before its bound: outputs of 4 come out as 3.3."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = super()._execute(steps)
        return [replace(result, values=5 * torch.tanh(result.values / 5)) for result in results]


class ReadDisturbs(Sound):
    """Every vector that is read lets the weights of its array decay by 2e-4."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = super()._execute(steps)
        for numbered in steps:
            if isinstance(numbered.step, Read):
                for array, _ in numbered.step.terms:
                    decay = (1 - 2e-4) ** len(numbered.step.x)
                    self._load(array, {key: decay * value for key, value in self._save(array).items()})
        return results


class NoiseUnderdeclared(Sound):
    read: ClassVar[dict[str, Any]] = {"output_noise": 0.1}


class SameReadNoise(Sound):
    """The noise of every read starts at number 0 again."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        return super()._execute([replace(n, first=0) if isinstance(n.step, Read) else n for n in steps])


# ---- pulses ------------------------------------------------------------------------------------------------------


class SignFlipped(Sound):
    def pulse(self, step: Pulse) -> Pulse:
        return replace(step, trains=replace(step.trains, d_negative=~step.trains.d_negative))


class RepeatIgnored(Sound):
    def pulse(self, step: Pulse) -> Pulse:
        return replace(step, repeat=1)


class KindIgnored(Sound):
    def pulse(self, step: Pulse) -> Pulse:
        return replace(step, kind="update")


class PortIgnored(Sound):
    def pulse(self, step: Pulse) -> Pulse:
        return replace(step, port=Port.DEVICE)


class ReferenceDragged(Sound):
    """Pulses on the device of a cell with a reference reach the reference as well."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        sent = []
        for numbered in steps:
            step, again = numbered.step, []
            if isinstance(step, Pulse) and step.array.cell is Cell.REFERENCE and step.port is Port.DEVICE:
                again = [replace(numbered, step=replace(step, port=Port.REFERENCE))]
            sent += [numbered, *again]
        return super()._execute(sent)


class PairMovesOne(Sound):
    """A pulse on the port `device` of a pair leaves the partner where it is."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = []
        for numbered in steps:
            step = numbered.step
            if isinstance(step, Pulse) and step.array.cell is Cell.PAIR and step.port is Port.DEVICE:
                partner = {k: v for k, v in self._save(step.array).items() if k.startswith("reference")}
                results += super()._execute([numbered])
                self._load(step.array, self._save(step.array) | partner)
            else:
                results += super()._execute([numbered])
        return results


class HalfSelectedMove(Sound):
    """A row that fires moves all of its devices, whatever the columns do."""

    def pulse(self, step: Pulse) -> Pulse:
        full = torch.full_like(step.trains.x_words.view(torch.int32), -1).view(torch.uint32)
        return replace(step, trains=replace(step.trains, x_words=full))


class IndependentCoincidences(Sound):
    """Every row runs by a clock of its own, so its slots are not those of the columns."""

    def pulse(self, step: Pulse) -> Pulse:
        d = unpack(step.trains.d_words)
        for b, bl in enumerate(step.trains.bl.tolist()):
            for i in range(d.shape[1]):
                d[b, i, :bl] = d[b, i, :bl].roll(i + 1)
        return replace(step, trains=replace(step.trains, d_words=pack(d)))


class CoincidencesFromRates(Sound):
    """Every device gets the number of pulses that the firing rates of its lines lead to expect."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results: list[ReadResult] = []
        for numbered in steps:
            step = numbered.step
            if not isinstance(step, Pulse):
                results += super()._execute([numbered])
                continue
            for b in range(len(step.trains)):
                counts = expected_counts(step.trains[b : b + 1])
                if bool(counts.any()):
                    super()._execute([replace(numbered, step=replace(step, trains=counted_pulses(counts)))])
        return results


def expected_counts(trains: PulseTrains) -> torch.Tensor:
    """Return ``round(fired_i fired_j / BL)`` with its sign, ``[n_out, n_in]``, for one sample."""
    x, d = unpack(trains.x_words)[0].sum(1).double(), unpack(trains.d_words)[0].sum(1).double()
    sign = torch.where(trains.d_negative[0][:, None] ^ trains.x_negative[0][None, :], -1, 1)
    return sign * torch.round(d[:, None] * x[None, :] / max(1, int(trains.bl[0]))).long()


class FirstWordOnly(Sound):
    def pulse(self, step: Pulse) -> Pulse:
        trains = step.trains
        x, d = trains.x_words[:, :, :1], trains.d_words[:, :, :1]
        return replace(step, trains=PulseTrains(x, d, trains.x_negative, trains.d_negative, trains.bl.clamp(max=32)))


def reordered(trains: PulseTrains, order: torch.Tensor) -> PulseTrains:
    x, d = trains.x_words.view(torch.int32)[order], trains.d_words.view(torch.int32)[order]
    signs = trains.x_negative[order], trains.d_negative[order]
    return PulseTrains(x.view(torch.uint32), d.view(torch.uint32), *signs, trains.bl[order])


class SamplesReversed(Sound):
    """The order of the samples of a batch is ignored: the last acts first."""

    def pulse(self, step: Pulse) -> Pulse:
        return replace(step, trains=reordered(step.trains, torch.arange(len(step.trains)).flip(0)))


class DownFirst(Sound):
    """The samples of a batch that lead down are sent first, to change the polarity once."""

    def pulse(self, step: Pulse) -> Pulse:
        first = step.trains.d_negative.any(1).logical_not().int().argsort(stable=True)
        return replace(step, trains=reordered(step.trains, first))


class ReadsLast(Sound):
    """All pulses of a sequence are sent first."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        return super()._execute(sorted(steps, key=lambda numbered: isinstance(numbered.step, Read)))


class ScanReadsLast(Sound):
    """Takes scans, and reads all of their columns at the end."""

    takes_scans = True

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        late = [
            replace(n, step=replace(n.step, after=torch.full_like(n.step.after, len(n.step.trains))))
            if isinstance(n.step, Scan)
            else n
            for n in steps
        ]
        return super()._execute([part for numbered in late for part in expand(numbered)])


class LastStepRepeated(Sound):
    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        again = [steps[-1]] if steps and isinstance(steps[-1].step, Pulse) else []
        return super()._execute([*steps, *again])


# ---- devices -----------------------------------------------------------------------------------------------------


class DoubleStep(Sound):
    device: ClassVar[dict[str, Any]] = {"dw_min": {"mean": 0.024}}


class C2cDoubled(Sound):
    device: ClassVar[dict[str, Any]] = {"c2c": 0.6}


class C2cMissing(Sound):
    device: ClassVar[dict[str, Any]] = {"c2c": 0.0}


class WideBounds(Sound):
    device: ClassVar[dict[str, Any]] = {"w_max": {"mean": 1.5}, "w_min": {"mean": -1.5}}


class SamplesShareNoise(Sound):
    """All samples of a batch see the noise of the first."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = []
        for numbered in steps:
            seen = {key: bank.pulses.clone() for key, bank in self._banks.items()}
            for part in self.parts(numbered):
                for key, count in seen.items():  # every part draws what the first drew
                    self._banks[key].pulses = count.clone()
                results += super()._execute([part])
        return results

    def parts(self, numbered: Numbered) -> list[Numbered]:
        step = numbered.step
        if not isinstance(step, Pulse) or step.repeat > 1:
            return [numbered]
        return [replace(numbered, step=replace(step, trains=step.trains[b : b + 1])) for b in range(len(step.trains))]


class RepeatsShareNoise(SamplesShareNoise):
    def parts(self, numbered: Numbered) -> list[Numbered]:
        step = numbered.step
        return (
            [replace(numbered, step=replace(step, repeat=1))] * step.repeat if isinstance(step, Pulse) else [numbered]
        )


def unpack(words: torch.Tensor) -> torch.Tensor:
    """Return words ``[B, n, W]`` as int64 slots ``[B, n, 32 W]``."""
    bits = (words.view(torch.int32).long()[..., None] >> torch.arange(32)) & 1
    return bits.flatten(2)


def pack(slots: torch.Tensor) -> torch.Tensor:
    """Return slots ``[B, n, 32 W]`` as words ``[B, n, W]``."""
    return (slots.unflatten(2, (-1, 32)) << torch.arange(32)).sum(3).to(torch.uint32)


@dataclass(frozen=True)
class Mutant:
    """A broken backend and the check that names its fault."""

    backend: type[CrossbarBackend]
    caught_by: str

    def __str__(self) -> str:
        return self.backend.__name__


MUTANTS = (
    Mutant(Transposed, "read-orientation"),
    Mutant(TransposedIgnored, "transposed-read"),
    Mutant(InputSignLost, "read-linear"),
    Mutant(SumWeightsIgnored, "read-sum"),
    Mutant(SummedOneByOne, "sum-noise"),
    Mutant(SilentClip, "saturation-flagged"),
    Mutant(FlagsPositiveOnly, "saturation-flagged"),
    Mutant(Compressive, "read-amplitude"),
    Mutant(ReadDisturbs, "reads-do-not-disturb"),
    Mutant(NoiseUnderdeclared, "output-noise-declared"),
    Mutant(SameReadNoise, "output-noise-fresh"),
    Mutant(SignFlipped, "polarity"),
    Mutant(RepeatIgnored, "repeat-honoured"),
    Mutant(KindIgnored, "kinds-declared"),
    Mutant(PortIgnored, "reference-port"),
    Mutant(ReferenceDragged, "reference-held"),
    Mutant(PairMovesOne, "pair-ports"),
    Mutant(HalfSelectedMove, "empty-trains"),
    Mutant(IndependentCoincidences, "coincidences-shared"),
    Mutant(CoincidencesFromRates, "coincidences-counted"),
    Mutant(FirstWordOnly, "every-word-counts"),
    Mutant(SamplesReversed, "sample-order"),
    Mutant(DownFirst, "sample-order"),
    Mutant(ReadsLast, "step-order"),
    Mutant(RepeatsEachSample, "repeat-order"),
    Mutant(WaitRefused, "waiting"),
    Mutant(WaitForgets, "waiting"),
    Mutant(ScanReadsLast, "scan-places"),
    Mutant(LastStepRepeated, "steps-once"),
    Mutant(DoubleStep, "mean-step"),
    Mutant(C2cDoubled, "c2c-of-slots"),
    Mutant(C2cMissing, "c2c-of-slots"),
    Mutant(SamplesShareNoise, "c2c-of-samples"),
    Mutant(RepeatsShareNoise, "c2c-of-repeats"),
    Mutant(WideBounds, "bounds-declared"),
    Mutant(StateNotRestored, "snapshot-restored"),
    Mutant(SnapshotAliases, "snapshot-frozen"),
    Mutant(SnapshotOfHandles, "snapshot-saved"),
    Mutant(RunningGenerator, "restore-continues"),
    Mutant(NumberedByCall, "grouping-free"),
    Mutant(Unseeded, "same-seed"),
    Mutant(LimitsIgnored, "limits-honoured"),
    Mutant(NeverIdle, "needs-arming"),
    Mutant(ArraysShareDevices, "arrays-isolated"),
    Mutant(WritesNothing, "write-approaches"),
    Mutant(MeterBypassed, "cost-counted"),
    Mutant(OddShapes, "read-shapes"),
)
