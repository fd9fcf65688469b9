"""The cost meter: what a sequence of steps costs, by the chip's profile."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.counting import Tally
from rpudriver.backends.turns import Turns
from rpudriver.backends.updates import Update
from rpudriver.types import Array, Pulse, Read, Scan, Step, Wait


@dataclass
class CostMeter:
    """Running totals since the chip was opened (or since the snapshot that was restored).

    Attributes
    ----------
    samples : pulse-train samples applied, repeats included.
    line_pulses : pulses put on lines.
    coincidences : pulses that devices saw.
    reads : input vectors read, each array of an unsummed sum by itself.
    chip_time_s : what pulses (width and gap of each slot), reads, waits and, where devices have their turns one after
        the other, the way from one to the next take by the profile's times. Links and computing are left out.
    energy_j : by the profile's energies.
    turns : which device is led to; no total.
    """

    samples: int = 0
    line_pulses: int = 0
    coincidences: int = 0
    reads: int = 0
    chip_time_s: float = 0.0
    energy_j: float = 0.0
    turns: Turns = field(default_factory=Turns, repr=False, compare=False)

    def as_dict(self) -> dict[str, int | float]:
        """Return the totals under their documented names."""
        return {name: value for name, value in vars(self).items() if name != "turns"}

    def add(self, step: Step, tally: Tally | None, capabilities: Capabilities) -> None:
        """Count a step; `tally` is that of its trains where it has some."""
        if isinstance(step, Pulse) and tally is not None:
            self.add_pulse(step, tally, capabilities)
        elif isinstance(step, Scan) and tally is not None:
            self.add_scan(step, tally, capabilities)
        elif isinstance(step, Read):
            self.add_read(step.terms, step.x.shape[0], step.transposed, capabilities)
        elif isinstance(step, Wait):
            self.add_wait(step)
        if not capabilities.parallel_reads:
            self.chip_time_s += self.turns.seconds(step, capabilities)

    def add_pulse(self, step: Pulse, tally: Tally, capabilities: Capabilities) -> None:
        """Count a `Pulse`."""
        self._add_trains(step.kind, len(step.trains), tally, step.repeat, capabilities)

    def add_read(
        self, terms: Sequence[tuple[Array, float]], vectors: int, transposed: bool, capabilities: Capabilities
    ) -> None:
        """Count a `Read`, made at once where the chip can sum and one by one where it cannot."""
        array = terms[0][0]
        vectors *= 1 if capabilities.summed_reads else len(terms)
        self._add_vectors(vectors, array.n_in if transposed else array.n_out, capabilities)

    def add_scan(self, step: Scan, tally: Tally, capabilities: Capabilities) -> None:
        """Count a `Scan`: its pulses and its reads."""
        self._add_trains(step.kind, len(step.trains), tally, 1, capabilities)
        self._add_vectors(step.columns.shape[0], step.array.n_out, capabilities)

    def add_update(self, update: Update, tally: Tally, capabilities: Capabilities) -> None:
        """Count an `Update` as the `Scan` or `Pulse` that it stands for."""
        self._add_trains("update", update.x.shape[0], tally, 1, capabilities)
        vectors = len(update.reads.columns)
        if vectors:
            self._add_vectors(vectors, update.array.n_out, capabilities)

    def _add_trains(self, kind: str, samples: int, tally: Tally, repeat: int, capabilities: Capabilities) -> None:
        pulse = capabilities.kinds[kind]
        tally = tally if capabilities.parallel_pulses else tally.apart()
        self.samples += repeat * samples
        self.line_pulses += repeat * tally.line_pulses
        self.coincidences += repeat * tally.coincidences
        if capabilities.parallel_reads:  # else the turns of devices have it
            self.chip_time_s += repeat * tally.slots * (pulse.width_s + capabilities.slot_gap_s)
        self.energy_j += repeat * (
            tally.line_pulses * pulse.line_pulse_energy_j + tally.coincidences * pulse.coincidence_energy_j
        )

    def _add_vectors(self, vectors: int, lines: int, capabilities: Capabilities) -> None:
        self.reads += vectors
        if capabilities.parallel_reads:
            self.chip_time_s += vectors * capabilities.read_time_s
        self.energy_j += vectors * lines * capabilities.read_energy_j

    def add_wait(self, step: Wait) -> None:
        """Count a `Wait`."""
        self.chip_time_s += step.seconds
