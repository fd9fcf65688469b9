"""Counting pulses in bit-packed trains, compiled: every step is checked and metered, so this must cost nothing."""

import numba as nb
import numpy as np

from rpudriver.types import PulseTrains

_U = np.uint32


def late_sample(trains: PulseTrains) -> int | None:
    """Return the first sample with a slot set at or above its BL, or None."""
    bl = trains.bl.numpy()
    late = max(_late(trains.x_words.cpu().numpy(), bl), _late(trains.d_words.cpu().numpy(), bl))
    return None if late < 0 else int(late)


def count_pulses(trains: PulseTrains) -> tuple[int, int, int]:
    """Return line pulses, coincidences and slots of a batch of trains, applied once.

    Opposite signs on lines that cross cannot share a slot, so every sample takes one phase for each pair of signs
    that occurs: up to four times its BL.
    """
    lines, coincidences, slots = _count(
        trains.x_words.cpu().numpy(),
        trains.d_words.cpu().numpy(),
        trains.x_negative.cpu().numpy(),
        trains.d_negative.cpu().numpy(),
        trains.bl.numpy(),
    )
    return int(lines), int(coincidences), int(slots)


@nb.njit(cache=True, error_model="numpy")
def _count(x_words, d_words, x_negative, d_negative, bl):  # type: ignore[no-untyped-def]
    """Return line pulses, coincidences and slots."""
    samples, _, words = x_words.shape
    x_slots, d_slots = np.zeros((samples, 32 * words), np.int64), np.zeros((samples, 32 * words), np.int64)
    x_signs, d_signs = _fill_slots(x_words, x_negative, x_slots), _fill_slots(d_words, d_negative, d_slots)
    lines = x_slots.sum() + d_slots.sum()
    return lines, (x_slots * d_slots).sum(), (x_signs * d_signs * bl).sum()


@nb.njit(cache=True, error_model="numpy")
def _late(words, bl):  # type: ignore[no-untyped-def]
    """Return a sample with a bit at or above its BL, or -1."""
    for b in range(words.shape[0]):
        for word in range(words.shape[2]):
            used = min(max(bl[b] - 32 * word, 0), 32)
            allowed = _U((np.uint64(1) << np.uint64(used)) - np.uint64(1))
            for line in range(words.shape[1]):
                if words[b, line, word] & _U(~allowed):
                    return b
    return -1


@nb.njit(cache=True, error_model="numpy")
def _fill_slots(words, negative, slots):  # type: ignore[no-untyped-def]
    """Add up the firing lines of each slot ``[B, 32 W]``; return how many signs fire in each sample: 0, 1 or 2."""
    signs = np.zeros(words.shape[0], np.int64)
    for b in range(words.shape[0]):
        seen = 0
        for line in range(words.shape[1]):
            for word in range(words.shape[2]):
                rest = words[b, line, word]
                if rest:
                    seen |= 2 if negative[b, line] else 1
                slot = 32 * word
                while rest:
                    slots[b, slot] += rest & _U(1)
                    rest = _U(rest >> _U(1))
                    slot += 1
        signs[b] = (seen & 1) + (seen >> 1)
    return signs
