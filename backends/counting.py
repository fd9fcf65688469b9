"""Looking through bit-packed trains and inputs, compiled: every step is checked and metered, so it must cost little."""

from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
import torch

from rpudriver.keyed.intrinsics import borrowed, float_of_bits, load_word
from rpudriver.types import PulseTrains, plain

_U = np.uint32
FEW_SLOTS = 4


class Tally(NamedTuple):
    """What the checks and the meter want to know of a batch of trains, applied once.

    Opposite signs on lines that cross cannot share a slot, so every sample takes one phase for each pair of signs
    that occurs: up to four times its BL.

    Attributes
    ----------
    late : the first sample with a slot set at or above its BL, or -1.
    longest, total : the longest BL and the sum of all.
    line_pulses, coincidences, slots : pulses put on lines, pulses that devices see, and slots of all phases.
    up, down : whether lines that fire in one sample have signs that agree, and signs that differ.
    """

    late: int
    longest: int
    total: int
    line_pulses: int
    coincidences: int
    slots: int
    up: bool
    down: bool

    def apart(self) -> "Tally":
        """Return what it is where devices are pulsed one after the other: a slot and two lines for each pulse."""
        return self._replace(line_pulses=2 * self.coincidences, slots=self.coincidences)


def tally(trains: PulseTrains) -> Tally:
    """Go through the trains once, on the CPU."""
    return Tally._make(tally_of_arrays(*trains.arrays))


def largest_size(values: torch.Tensor) -> float:
    """Return the largest absolute value of a tensor, 0 if it is empty; NaN or infinity where it holds such."""
    if not values.is_cpu or values.dtype is not torch.float32:
        return float(values.detach().abs().max()) if values.numel() else 0.0
    values = plain(values)
    return _largest(values.data_ptr(), values.numel())  # type: ignore[no-any-return]


Places = npt.NDArray[np.int64]


def check_places(columns: Places, after: Places, n_in: int, samples: int) -> tuple[bool, bool]:
    """Return whether columns lie in ``[0, n_in)``, and whether `after` never falls and lies in ``[0, samples]``.

    Both are contiguous: one layout is compiled, not one for each that occurs.
    """
    good_columns, good_after = _places(columns, after, n_in, samples)
    return bool(good_columns), bool(good_after)


@nb.njit(cache=True, error_model="numpy", nogil=True)
def tally_of_arrays(x_words, d_words, x_negative, d_negative, bl):  # type: ignore[no-untyped-def]
    """Return the fields of `Tally`, for other compiled code."""
    samples, words = x_words.shape[0], x_words.shape[2]
    x_words, d_words = borrowed(x_words), borrowed(d_words)
    x_negative, d_negative = borrowed(x_negative), borrowed(d_negative)
    late, longest, total, lines, coincidences, slots = -1, 0, 0, 0, 0, 0
    up = down = False
    x_firing, d_firing = np.empty(x_words.shape[1], np.uint32), np.empty(d_words.shape[1], np.uint32)
    for b in range(samples):
        longest, total = max(longest, bl[b]), total + bl[b]
        x_up = x_down = d_up = d_down = False
        for word in range(words):
            used = min(max(bl[b] - 32 * word, 0), 32)
            spare = _U((np.uint64(0xFFFFFFFF) << np.uint64(used)) & np.uint64(0xFFFFFFFF))
            few = used <= FEW_SLOTS  # then to look at all lines costs less than to gather those that fire
            x_count, x_plus, x_minus = _firing(x_words[b], x_negative[b], word, few, x_firing)
            d_count, d_plus, d_minus = _firing(d_words[b], d_negative[b], word, few, d_firing)
            if late < 0 and (x_plus | x_minus | d_plus | d_minus) & spare:
                late = b
            x_up, x_down = x_up | (x_plus != 0), x_down | (x_minus != 0)
            d_up, d_down = d_up | (d_plus != 0), d_down | (d_minus != 0)
            for slot in range(used):
                x_lines, d_lines = _in_slot(x_firing[:x_count], slot), _in_slot(d_firing[:d_count], slot)
                lines += x_lines + d_lines
                coincidences += x_lines * d_lines
        slots += bl[b] * (np.int64(x_up) + np.int64(x_down)) * (np.int64(d_up) + np.int64(d_down))
        up |= (x_up & d_up) | (x_down & d_down)
        down |= (x_up & d_down) | (x_down & d_up)
    return late, longest, total, lines, coincidences, slots, up, down


@nb.njit(cache=True, error_model="numpy", nogil=True)
def _firing(words, negative, word, few, firing):  # type: ignore[no-untyped-def]
    """Gather the words of lines that fire, or of all lines where there are few slots.

    Return how many, and those of positive and of negative lines, ORed.
    """
    count, plus, minus = 0, _U(0), _U(0)
    for line in range(len(words)):
        bits = words[line, word]
        plus |= _U(0) if negative[line] else bits
        minus |= bits if negative[line] else _U(0)
    if few:
        for line in range(len(words)):
            firing[line] = words[line, word]
        return len(words), plus, minus
    for line in range(len(words)):
        bits = words[line, word]
        firing[count] = bits
        count += bits != 0
    return count, plus, minus


@nb.njit(cache=True, error_model="numpy", nogil=True)
def _in_slot(firing, slot):  # type: ignore[no-untyped-def]
    """Count the words with a slot set; vectorised over the words."""
    count = _U(0)
    for k in range(len(firing)):
        count = _U(count + _U(_U(firing[k] >> _U(slot)) & _U(1)))
    return np.int64(count)


@nb.njit(cache=True, error_model="numpy", nogil=True)
def _largest(address, count):  # type: ignore[no-untyped-def]
    """Return the largest of float32 values without its sign, by its bits: floats are in the order of their words.

    NaN is above all. Values are named by their address, which a tensor tells ten times faster than it makes an array.
    """
    most = _U(0)
    for k in range(count):
        most = max(most, _U(load_word(address, k) & _U(0x7FFFFFFF)))
    return float_of_bits(np.int32(most))


@nb.njit(cache=True, error_model="numpy", nogil=True)
def _places(columns, after, n_in, samples):  # type: ignore[no-untyped-def]
    good_columns = good_after = True
    before = 0
    for r in range(len(columns)):
        good_columns &= 0 <= columns[r] < n_in
        good_after &= before <= after[r] <= samples
        before = after[r]
    return good_columns, good_after
