"""Zero-shifting (Kim et al. 2019, arXiv:1907.10228): make the symmetry point of every device read as zero."""

from dataclasses import dataclass
from typing import final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.errors import StepError
from rpudriver.types import Array, Cell, Port, Pulse, PulseTrains

PULSES_PER_STATE = 4  # by default; from anywhere in its range a soft-bounds device then is within a step of its point


@final
@dataclass(frozen=True, eq=False)
class ZeroShift:
    """What `zero_shift` did.

    Attributes
    ----------
    residual : float32 tensor ``[n_out, n_in]``, what the devices read as afterwards, chip units.
    pulses : up and down pulses that each device saw.
    """

    residual: torch.Tensor
    pulses: int


def zero_shift(backend: CrossbarBackend, array: Array, pulses: int | None = None) -> ZeroShift:
    """Bring every device to its symmetry point, then move its reference so that this point reads as zero.

    Up and down pulses in turn drive a device to where both move it alike, its symmetry point. With cycle-to-cycle
    noise s it rests about ``s sqrt(dw_min b / 2)`` off (b the bound, for soft bounds); without, within a step. The
    devices stay at their points, so the array reads as zero.

    Parameters
    ----------
    array : Array
        Of cells with a reference.
    pulses : int, optional
        Up and down pulses for each device, rounded up to whole pairs; four for every state of the nominal device
        by default. 0 copies the devices as they are.

    Raises
    ------
    StepError
        If the array has no references to move, or `pulses` is negative; nothing was sent.
    """
    if array.cell is not Cell.REFERENCE:
        raise StepError(
            f"array {array.name!r} has {array.cell.value} cells; zero-shifting moves a reference, so allocate it with "
            "Cell.REFERENCE"
        )
    if pulses is None:
        pulses = round(PULSES_PER_STATE * backend.capabilities.device.n_states)
    if pulses < 0:
        raise StepError(f"pulses = {pulses} must be at least 0; leave it out for the default")
    pairs = -(-pulses // 2)
    if pairs:
        backend.run([Pulse(array, _up_and_down(array), repeat=pairs)])
    residual = backend.write(array, torch.zeros(array.shape), Port.REFERENCE)
    return ZeroShift(residual, 2 * pairs)


def _up_and_down(array: Array) -> PulseTrains:
    """Return two samples of one slot in which every line fires: all devices up, then all devices down."""
    up_down = torch.tensor([False, True])
    return PulseTrains(
        torch.ones(2, array.n_in, 1, dtype=torch.int32).view(torch.uint32),
        torch.ones(2, array.n_out, 1, dtype=torch.int32).view(torch.uint32),
        torch.zeros(2, array.n_in, dtype=torch.bool),
        up_down[:, None].expand(2, array.n_out).contiguous(),
        torch.ones(2, dtype=torch.int64),
    )
