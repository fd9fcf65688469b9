"""The pulsed update on the CPU, compiled by Numba: the same pulses and the same noise as `pulses`, device by device.

Devices are independent and samples sequential, so the kernel runs row by row, sample by sample, over the columns that
fire at all, and applies every coincidence to the device in place. Arithmetic is float32, as in torch.
"""

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from rpudriver.backends.simulated.devices.constant import ConstantStep
from rpudriver.backends.simulated.devices.exponential import Exponential
from rpudriver.backends.simulated.devices.measured import Measured
from rpudriver.backends.simulated.devices.power import Power
from rpudriver.backends.simulated.devices.response import Response
from rpudriver.backends.simulated.devices.soft_bounds import SoftBounds
from rpudriver.keyed import native as keyed

F = np.float32
CONSTANT, SOFT_BOUNDS, POWER, EXPONENTIAL, MEASURED = range(5)
FAMILIES: dict[type[Response], int] = {
    ConstantStep: CONSTANT,
    SoftBounds: SOFT_BOUNDS,
    Power: POWER,
    Exponential: EXPONENTIAL,
    Measured: MEASURED,
}
# columns of a packed device: one line of cache holds two devices
DW_UP, DW_DOWN, W_MAX, W_MIN, ALIVE, TAU, GAMMA, NOMINAL = range(8)
PARALLEL_FROM = 2**16  # devices below which a second thread costs more than it brings

Floats = npt.NDArray[np.float32]


def pack(parameters: dict[str, Floats]) -> Floats:
    """Return device parameters as ``[cells, 8]``."""
    names = ("dw_up", "dw_down", "w_max", "w_min", "alive", "tau", "gamma", "dw_nominal")
    zero = np.zeros_like(parameters["dw_up"])
    return np.stack([parameters.get(name, zero) for name in names], axis=1)


def table_of(response: Response) -> Floats:
    """Return a measured table as ``[4, rows]``: w, up, down, spread; empty for the other families."""
    if not isinstance(response, Measured):
        return np.zeros((4, 0), np.float32)
    spread = response.dw_spread or (0.0,) * len(response.w)
    return np.array([response.w, response.dw_up, response.dw_down, spread], np.float32)


@nb.njit(cache=True, error_model="numpy")
def _look_up(table, column, w):  # type: ignore[no-untyped-def]
    """Return a table's column at w, interpolated linearly, its ends continued."""
    grid = table[0]
    right = min(max(np.searchsorted(grid, w), 1), len(grid) - 1)
    share = F((w - grid[right - 1]) / F(grid[right] - grid[right - 1]))
    share = min(max(share, F(0)), F(1))
    low = table[column, right - 1]
    return F(low + F(share * F(table[column, right] - low)))


@keyed.inline
def _relative_step(family, w, up, device, table):  # type: ignore[no-untyped-def]
    """Return ``q(w)`` of one pulse, and the spread that belongs to the response itself."""
    if family == SOFT_BOUNDS:
        return F(F(1) - F(w / (device[W_MAX] if up else device[W_MIN]))), F(0)
    if family == CONSTANT:
        return F(1), F(0)
    if family == MEASURED:
        nominal = device[NOMINAL]
        return F(_look_up(table, 1 if up else 2, w) / nominal), F(_look_up(table, 3, w) / nominal)
    ratio = F(w / device[TAU])
    base = max(F(F(1) - ratio) if up else F(F(1) + ratio), F(0))
    gamma = device[GAMMA]
    if family == POWER:
        return (base if gamma == F(1) else F(base**gamma)), F(0)
    return F(F(np.expm1(F(gamma * base))) / F(np.expm1(gamma))), F(0)


@keyed.inline
def _moved(family, w, up, strength, noise, xi, device, table):  # type: ignore[no-untyped-def]
    """Return the hidden state after one pulse; `noise` is (c2c, c2c_additive)."""
    q, spread = _relative_step(family, w, up, device, table)
    if noise[1] == F(0) and spread == F(0):
        q = F(q + F(xi * abs(F(noise[0] * q))))
    else:
        scaled = F(noise[0] * q)
        variance = F(F(F(scaled * scaled) + F(noise[1] * noise[1])) + F(spread * spread))
        q = F(q + F(xi * F(np.sqrt(variance))))
    reach = F(device[ALIVE] * strength)
    step = F(device[DW_UP] * reach) if up else F(-F(device[DW_DOWN] * reach))
    return min(max(F(w + F(step * q)), device[W_MIN]), device[W_MAX])


@nb.njit(cache=True, nogil=True, error_model="numpy")
def active_lines(words):  # type: ignore[no-untyped-def]
    """Return the lines that fire in each sample, first in order ``[B, n]``, their number, and where a line fires."""
    samples, lines, count = words.shape
    order, used = np.empty((samples, lines), np.int32), np.zeros(samples, np.int64)
    fires = np.zeros((samples, lines), np.bool_)
    for b in range(samples):
        for line in range(lines):
            for word in range(count):
                fires[b, line] |= words[b, line, word] != 0
            if fires[b, line]:
                order[b, used[b]] = line
                used[b] += 1
    return order, used, fires


@keyed.inline
def _coincidences(x_words, d_words, b, i, j):  # type: ignore[no-untyped-def]
    """Return the number of slots of sample b in which row i and column j both fire."""
    count = np.uint32(0)
    for word in range(x_words.shape[2]):
        count += keyed.popcount(np.uint32(x_words[b, j, word] & d_words[b, i, word]))
    return count


@keyed.inline
def _drain(physics, hidden, pulses, devices, cell, count, up, key):  # type: ignore[no-untyped-def]
    """Apply `count` pulses of one sample to one device."""
    family, table, c2c, additive, strength = physics
    noise = (c2c, additive)
    noisy = noise[0] > F(0) or noise[1] > F(0) or table.shape[1] > 0
    w = hidden[cell]
    # a tuple of scalars: a row of the array would be a counted reference, which costs more than the pulse
    device = (
        devices[cell, 0],
        devices[cell, 1],
        devices[cell, 2],
        devices[cell, 3],
        devices[cell, 4],
        devices[cell, 5],
        devices[cell, 6],
        devices[cell, 7],
    )
    for pulse in range(count):
        seen = np.uint32(pulses[cell] + np.uint32(pulse))
        xi = keyed.gaussian(key[0], key[1], np.uint32(cell), seen) if noisy else F(0)
        w = _moved(family, w, up, strength, noise, xi, device, table)
    hidden[cell] = w
    pulses[cell] = np.uint32(pulses[cell] + np.uint32(count))


@keyed.inline
def _update_row(i, physics, hidden, pulses, read, devices, trains, keys, repeat, write_sigma, flip):  # type: ignore[no-untyped-def]
    """Apply all samples to the devices of row i."""
    x_words, d_words, x_negative, d_negative, columns, used, fires = trains
    samples, n_in = x_words.shape[:2]
    for n in range(samples * repeat):
        b = n % samples
        if not fires[b, i]:
            continue
        key = (keys[0], keys[1])
        for index in range(used[b]):
            j = columns[b, index]
            count = _coincidences(x_words, d_words, b, i, j)
            if count == 0:
                continue
            cell = i * n_in + j
            _drain(physics, hidden, pulses, devices, cell, count, (x_negative[b, j] == d_negative[b, i]) != flip, key)
            if write_sigma > F(0):
                xi = keyed.gaussian(keys[2], keys[3], np.uint32(cell), pulses[cell])
                read[cell] = F(hidden[cell] + F(F(write_sigma * devices[cell, ALIVE]) * xi))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _serial(physics, hidden, pulses, read, devices, trains, keys, repeat, write_sigma, flip):  # type: ignore[no-untyped-def]
    for i in range(trains[1].shape[1]):
        _update_row(i, physics, hidden, pulses, read, devices, trains, keys, repeat, write_sigma, flip)


@nb.njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def _parallel(physics, hidden, pulses, read, devices, trains, keys, repeat, write_sigma, flip):  # type: ignore[no-untyped-def]
    for i in nb.prange(trains[1].shape[1]):
        _update_row(i, physics, hidden, pulses, read, devices, trains, keys, repeat, write_sigma, flip)


def update(cells: int, *arguments: Any) -> None:
    """Apply trains to the devices of a bank, in place; large arrays are shared among threads, with the same result."""
    kernel = _parallel if cells >= PARALLEL_FROM and nb.get_num_threads() > 1 else _serial
    kernel(*arguments)
