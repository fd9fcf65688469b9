"""Your own chip in rpudriver: a board of two 16 x 16 arrays of counters, deterministic and without noise."""

from collections.abc import Sequence

import torch

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.capabilities import Capabilities, Nominal, PulseKind, Units
from rpudriver.types import Array, Cell, Port, Pulse, Read, ReadResult

STEP, MOST = 1 / 64, 32  # weight of one count, largest count: weights in [-0.5, 0.5]

CAPABILITIES = Capabilities(
    rows=16,
    columns=16,
    arrays=2,
    input_bits=None,  # the board's converters are exact
    output_bits=None,
    output_bound=4.0,
    longest_bl=64,
    transposed_reads=True,
    summed_reads=False,  # sums are made by the base class, one read for each array
    read_time_s=1e-4,
    read_energy_j=0.0,
    units=Units(siemens_per_unit=1e-4, volts_per_input=0.2),
    kinds={"update": PulseKind(volts_up=1.0, volts_down=-1.0, width_s=1e-6)},
    device=Nominal(dw_min=STEP, w_min=-MOST * STEP, w_max=MOST * STEP, c2c=0.0),
)


class TinyBoard(CrossbarBackend):
    """Counters ``[ports, n_out, n_in]`` of every array; the class is its own factory, named by the entry point."""

    def __init__(self) -> None:
        super().__init__(CAPABILITIES, "tiny-board 1")
        self._counts: dict[str, torch.Tensor] = {}

    def _allocate(self, array: Array) -> None:
        self._counts[array.name] = torch.zeros(1 if array.cell is Cell.SINGLE else 2, *array.shape)

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = []
        for numbered in steps:
            match numbered.step:
                case Pulse() as pulse:
                    self._pulse(pulse)
                case Read() as read:
                    results.append(self._read(read))
        return results

    def _pulse(self, step: Pulse) -> None:
        trains, counts = step.trains, self._counts[step.array.name]
        coincidences = _slots(trains.d_words) @ _slots(trains.x_words).transpose(1, 2)  # [B, n_out, n_in]
        signs = 1 - 2 * (trains.d_negative[:, :, None] ^ trains.x_negative[:, None, :]).float()
        for moves in list(coincidences * signs) * step.repeat:  # one by one: counters stop at their ends
            if step.port is Port.REFERENCE:
                counts[1] += moves
            else:
                counts[0] += moves
                counts[1:] -= moves if step.array.cell is Cell.PAIR else 0  # the partner moves the other way
            counts.clamp_(-MOST, MOST)

    def _read(self, step: Read) -> ReadResult:
        ((array, _),) = step.terms
        counts, half = self._counts[array.name], 0.5 if array.cell is Cell.PAIR else 1.0
        weights = counts[0] if len(counts) == 1 else half * (counts[0] - counts[1])
        y = STEP * step.x @ (weights if step.transposed else weights.t())
        return ReadResult(y.clamp(-4.0, 4.0), y.abs() >= 4.0)  # the bound declared above

    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        return {"counts": self._counts[array.name].clone()}

    def _load(self, array: Array, state: dict[str, torch.Tensor]) -> None:
        self._counts[array.name] = state["counts"].clone()


def _slots(words: torch.Tensor) -> torch.Tensor:
    bits = (words.cpu().view(torch.int32).long()[..., None] >> torch.arange(32)) & 1
    return bits.flatten(2).float()
