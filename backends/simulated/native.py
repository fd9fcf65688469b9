"""The bridge between torch banks on the CPU and the compiled kernels."""

import numpy as np

from rpudriver.backends.simulated import kernels
from rpudriver.backends.simulated.bank import Bank
from rpudriver.keyed import arrays
from rpudriver.types import PulseTrains

SAMPLES_AT_ONCE = 2**14  # bounds the memory of their keys, and the time until Ctrl-C is heard


def has_kernel(bank: Bank) -> bool:
    """Return whether a bank's response is compiled and its state lies on the CPU."""
    return bank.hidden.device.type == "cpu" and type(bank.device.response) in kernels.FAMILIES


def apply_trains(bank: Bank, trains: PulseTrains, repeat: int, strength: float, flip: bool) -> None:
    """Pulse a bank with a batch of trains, `repeat` times."""
    if not len(trains):
        return
    x_words = trains.x_words.contiguous().numpy()
    d_words = trains.d_words.contiguous().numpy()
    columns, used, _ = kernels.active_lines(x_words)
    packed = (
        x_words,
        d_words,
        trains.x_negative.contiguous().numpy(),
        trains.d_negative.contiguous().numpy(),
        columns,
        used,
        kernels.active_lines(d_words)[2],
    )
    device = bank.device
    noise = (np.float32(device.c2c), np.float32(device.c2c_additive))
    physics = (kernels.FAMILIES[type(device.response)], bank.table, *noise, np.float32(strength))
    words = [arrays.key(bank.seed, f"{bank.stream}/{purpose}", 0) for purpose in ("pulse", "write")]
    keys = np.array(words, np.uint32).ravel()
    at_once = max(1, SAMPLES_AT_ONCE // len(trains))
    for start in range(0, repeat, at_once):
        rounds = min(at_once, repeat - start)
        kernels.update(
            bank.hidden.numel(),
            physics,
            bank.hidden.numpy(),
            bank.pulses.numpy().view(np.uint32),
            bank.read.numpy(),
            bank.packed,
            packed,
            keys,
            rounds,
            np.float32(device.write_noise * device.dw_min.mean),
            flip,
        )
