"""The pulsed update in batched torch: every pulse that every device sees, in order, with its own noise.

A batch of trains is turned into a list of *events*, one for each pulse that a device sees, sorted by device. Devices
are independent of each other, so their queues are drained in lock-step: the first pulse of every device at once, then
the second, and so on. Devices are ordered by the length of their queues, so each round is a prefix of one array.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.devices.response import Response
from rpudriver.keyed import tensors as keyed
from rpudriver.types import PulseTrains

CHUNK = 2**22  # (sample, device) pairs that are looked at in one go: bounds the memory


@dataclass(frozen=True)
class Action:
    """How a train acts on a bank: `flip` reverses the polarity, `strength` scales the mean step."""

    strength: float = 1.0
    flip: bool = False


def apply_trains(bank: Bank, trains: PulseTrains, repeat: int, action: Action) -> None:
    """Pulse a bank with a batch of trains, `repeat` times."""
    for chunk, rounds in _chunks(len(trains), repeat, bank.hidden.numel()):
        counts = _signed_counts(trains[chunk], action.flip)
        if rounds > 1:
            counts = counts.repeat(1, rounds)
        _drain(bank, counts, action.strength)


def _chunks(samples: int, repeat: int, cells: int) -> Iterator[tuple[slice, int]]:
    """Yield ranges of samples and how often each is to be repeated, so that none is larger than `CHUNK`."""
    most = max(1, CHUNK // cells)
    if samples > most or not samples:
        for _ in range(repeat if samples else 0):
            for start in range(0, samples, most):
                yield slice(start, min(start + most, samples)), 1
        return
    at_once = most // samples
    for start in range(0, repeat, at_once):
        yield slice(0, samples), min(at_once, repeat - start)


def _signed_counts(trains: PulseTrains, flip: bool) -> torch.Tensor:
    """Return how many pulses each device sees in each sample, ``[cells, B]``, negative for depression.

    The product of two bits is their AND, so a matrix product over the slots counts coincidences exactly.
    """
    longest = max(1, int(trains.bl.max()))
    x = _slots(trains.x_words, trains.x_negative, longest)
    d = _slots(trains.d_words, trains.d_negative ^ flip, longest)
    counts = torch.bmm(d, x.transpose(1, 2))  # [B, n_out, n_in]
    return counts.permute(1, 2, 0).reshape(-1, len(trains))


def _slots(words: torch.Tensor, negative: torch.Tensor, longest: int) -> torch.Tensor:
    """Return the slots of each line as 0, 1 or -1, float32 ``[B, n, longest]``."""
    shifts = torch.arange(32, dtype=torch.int32, device=words.device)
    bits = (words.view(torch.int32)[..., None] >> shifts) & 1
    slots = bits.flatten(2)[:, :, :longest].to(torch.float32)
    return torch.where(negative[..., None], -slots, slots)


def _drain(bank: Bank, counts: torch.Tensor, strength: float) -> None:
    """Apply the counted pulses ``[cells, B]`` to a bank."""
    where = counts.nonzero()
    if not len(where):
        return
    cell = where[:, 0]
    signed = counts[cell, where[:, 1]]
    size = signed.abs().long()
    queues = _Queues(cell, size, counts.shape[0])
    xi = _pulse_noise(bank, queues) if _noisy(bank) else None
    up = (signed > 0).repeat_interleave(size)[queues.order]
    _lock_step(bank, queues, up, xi, strength)
    bank.pulses += queues.total.to(torch.int32)
    if bank.device.write_noise:
        _write_noise(bank, queues.cells)


class _Queues:
    """The pulses of every device in the order of lock-step rounds.

    Attributes
    ----------
    cells : the devices that see a pulse, longest queue first.
    order : int64 ``[events]``; events sorted by round, within a round by position in `cells`.
    sizes : number of devices that take part in each round.
    total : int64 ``[all devices]``, how many pulses each of them sees.
    of, rank : int64 ``[events]`` in the order of rounds: the device, and how many pulses it has seen before.
    """

    def __init__(self, cell: torch.Tensor, size: torch.Tensor, cells: int) -> None:
        total = torch.zeros(cells, dtype=torch.int64, device=cell.device).index_add_(0, cell, size)
        length, by_length = total.sort(descending=True, stable=True)
        used = int((length > 0).sum())
        self.total = total
        self.cells = by_length[:used]
        position = torch.empty_like(by_length)
        position[by_length] = torch.arange(cells, device=cell.device)
        of_event = cell.repeat_interleave(size)
        start = total.cumsum(0) - total
        rank = torch.arange(len(of_event), device=cell.device) - start[of_event]
        self.order = (rank * used + position[of_event]).argsort()
        self.of, self.rank = of_event[self.order], rank[self.order]
        rounds = torch.arange(int(length[0]), device=cell.device)
        self.sizes: list[int] = torch.searchsorted(-length[:used], -rounds, right=False).tolist()


def _noisy(bank: Bank) -> bool:
    device = bank.device
    own_spread = type(device.response).spread is not Response.spread
    return bool(device.c2c or device.c2c_additive or own_spread)


def _pulse_noise(bank: Bank, queues: _Queues) -> torch.Tensor:
    """Return the standard normal number of each event, drawn by the device and the number of the pulse in its life."""
    k0, k1 = keyed.key(bank.seed, f"{bank.stream}/pulse", 0, 1, queues.of.device)
    return keyed.gaussian((k0, k1), queues.of.to(torch.int32), bank.pulses[queues.of] + queues.rank.to(torch.int32))


def _lock_step(bank: Bank, queues: _Queues, up: torch.Tensor, xi: torch.Tensor | None, strength: float) -> None:
    """Drain the queues round by round: round k applies the k-th pulse of every device that has one."""
    p = {name: value[queues.cells] for name, value in bank.parameters.items()}
    w = bank.hidden[queues.cells]
    alive, response, device = p["alive"] * strength, bank.device.response, bank.device
    step_up, step_down = p["dw_up"] * alive, -p["dw_down"] * alive
    start = 0
    for size in queues.sizes:
        now, w_now = slice(start, start + size), w[:size]
        q_of = p if size == len(w) else {name: value[:size] for name, value in p.items()}
        rising = up[now]
        q = torch.where(rising, response.up(w_now, q_of, torch), response.down(w_now, q_of, torch))
        if xi is not None:
            spread = torch.where(
                rising,
                response.spread(w_now, q_of, True, torch) + torch.zeros_like(q),
                response.spread(w_now, q_of, False, torch) + torch.zeros_like(q),
            )
            q = q + xi[now] * torch.sqrt((device.c2c * q) ** 2 + device.c2c_additive**2 + spread**2)
        moved = w_now + torch.where(rising, step_up[:size], step_down[:size]) * q
        w[:size] = torch.minimum(torch.maximum(moved, q_of["w_min"]), q_of["w_max"])
        start += size
    bank.hidden[queues.cells] = w


def _write_noise(bank: Bank, cells: torch.Tensor) -> None:
    """Draw what pulsed devices read as, by the number of pulses that they have seen."""
    k0, k1 = keyed.key(bank.seed, f"{bank.stream}/write", 0, 1, cells.device)
    xi = keyed.gaussian((k0, k1), cells.to(torch.int32), bank.pulses[cells])
    sigma = bank.device.write_noise * bank.device.dw_min.mean
    bank.read[cells] = bank.hidden[cells] + sigma * xi * bank.parameters["alive"][cells]
