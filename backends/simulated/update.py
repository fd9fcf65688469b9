"""The pulsed update of a bank by whatever is fastest where its state lies.

That is the compiled kernels on the CPU, Triton's on a CUDA device, and batched torch for everything else, which is
also what a response of somebody's own runs on.
"""

import torch

from rpudriver.backends.simulated import native, pulses
from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.native import Snapshots
from rpudriver.backends.simulated.pulses import Action
from rpudriver.backends.updates import Update
from rpudriver.keyed.accelerator import available
from rpudriver.types import PulseTrains, Scan


def takes_snapshots(bank: Bank) -> bool:
    """Return whether columns can be noted in the middle of a batch."""
    return native.has_kernel(bank) or _on_triton(bank)


def apply_trains(bank: Bank, trains: PulseTrains, repeat: int, action: Action) -> None:
    """Pulse a bank with a batch of trains, `repeat` times."""
    bank.version += 1
    trains = trains.to(bank.hidden.device)
    if native.has_kernel(bank):
        native.apply_trains(bank, trains, repeat, action.strength, action.flip)
    elif _on_triton(bank):
        from rpudriver.backends.simulated.triton.update import apply_trains as apply_on_gpu

        apply_on_gpu(bank, trains, repeat, action.strength, action.flip)
    else:
        pulses.apply_trains(bank, trains, repeat, action)


def scan(bank: Bank, step: Scan, action: Action) -> torch.Tensor:
    """Pulse a bank with a scan's trains; return what its columns read as when their turn comes, ``[R, n_out]``."""
    bank.version += 1
    trains = step.trains.to(bank.hidden.device)
    if native.has_kernel(bank):
        snapshots = Snapshots(*step.places)
        return native.apply_trains(bank, trains, 1, action.strength, action.flip, snapshots)
    from rpudriver.backends.simulated.triton.update import apply_trains as apply_on_gpu

    noted = apply_on_gpu(bank, trains, 1, action.strength, action.flip, step.columns, step.after)
    assert noted is not None
    return noted


def stays_on_gpu(bank: Bank, update: Update) -> bool:
    """Return whether trains can be drawn where the bank lies, and applied there."""
    return _on_triton(bank) and update.x.device == update.d.device == bank.hidden.device and len(update.x) > 0


def _on_triton(bank: Bank) -> bool:
    return available(bank.hidden) and bank.family is not None
