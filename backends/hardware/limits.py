"""What a whole sequence of steps may do to a chip, beyond what each kind of pulse may: the energy of all its pulses.

Volts and widths belong to the kinds, which are held against the envelope when a profile is loaded; codes are whole
numbers, so NaN ends at the validation of steps; time is cut into frames by the encoding.
"""

from collections.abc import Sequence

from rpudriver.backends.counting import Tally
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.errors import LimitError
from rpudriver.types import Cell, Port, Pulse, Scan, Step


def energy(step: Pulse | Scan, tally: Tally, profile: ChipProfile) -> float:
    """Return joules that the pulses of a step put into the chip."""
    kind, repeat = profile.kinds[step.kind], step.repeat if isinstance(step, Pulse) else 1
    if step.array.cell is Cell.PAIR and not (isinstance(step, Pulse) and step.port is Port.REFERENCE):
        repeat *= 2  # both devices of a pair are pulsed
    tally = tally if profile.parallel_pulses else tally.apart()
    return repeat * (tally.coincidences * kind.coincidence_energy_j + tally.line_pulses * kind.line_pulse_energy_j)


def check_sequence(steps: Sequence[Step], tallies: Sequence[Tally | None], profile: ChipProfile) -> None:
    """Refuse steps whose pulses put more energy into the chip than its envelope allows at once.

    Raises
    ------
    LimitError
    """
    total = sum(
        energy(step, tally, profile)
        for step, tally in zip(steps, tallies, strict=True)
        if tally is not None and isinstance(step, (Pulse, Scan))
    )
    most = profile.envelope.batch_energy_j
    if total > most * (1 + 1e-9):
        raise LimitError(
            f"these steps put {total:.3g} J into the chip, {most:g} J is the most at once (batch_energy_j of its "
            "envelope); split them, or raise it if the chip bears more"
        )
