"""The simulated chip: batched torch, on any torch device. What it does is specified in ``docs/simulator.md``."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, final

import torch

from rpudriver.backends.base import CrossbarBackend, Numbered, ReadJob
from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.normalising import Normalised
from rpudriver.backends.numbering import expand, is_plain, joined
from rpudriver.backends.simulated import fused
from rpudriver.backends.simulated import update as pulsing
from rpudriver.backends.simulated.bank import Bank, new_bank
from rpudriver.backends.simulated.devices.spec import Preset
from rpudriver.backends.simulated.fused import readable
from rpudriver.backends.simulated.options import fingerprint, parse_options
from rpudriver.backends.simulated.periphery import Periphery
from rpudriver.backends.simulated.pulses import Action
from rpudriver.backends.updates import Bounds, Done, Update
from rpudriver.errors import ConfigError
from rpudriver.types import Array, Cell, Port, Pulse, Read, ReadResult, Scan


def open_simulated(**options: Any) -> "SimulatedBackend":
    """Open a simulated chip; see `SimulatorOptions` for what can be chosen."""
    chosen = parse_options("simulated", options)
    preset, capabilities = chosen.load()
    try:
        torch_device = torch.device(chosen.torch_device)
        torch.zeros(1, device=torch_device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"torch_device {chosen.torch_device!r} cannot be used here: {error}; try 'cpu'") from None
    name = fingerprint("simulated", chosen, preset, capabilities)
    return SimulatedBackend(preset, capabilities, chosen.seed, name, torch_device)


class SimulatedBackend(CrossbarBackend):
    """A crossbar of simulated devices. Open it with ``make("simulated", preset=..., seed=...)``."""

    takes_scans: ClassVar[bool] = True

    def __init__(
        self, preset: Preset, capabilities: Capabilities, seed: int, fingerprint: str, torch_device: torch.device
    ) -> None:
        super().__init__(capabilities, fingerprint)
        self._preset, self._seed, self._torch_device = preset, seed, torch_device
        self._on_cpu = torch_device.type == "cpu"
        self._periphery = Periphery(capabilities, preset.read, seed)
        self._banks: dict[tuple[str, Port], Bank] = {}
        self._sums: dict[str, tuple[tuple[Any, ...], torch.Tensor]] = {}  # see `_weighted`
        self._seen: dict[str, tuple[Bank, torch.Tensor, torch.Tensor]] = {}  # bank, its read state, that as a matrix
        self._memory = fused.Workspace()
        self._turned: dict[str, tuple[int, torch.Tensor]] = {}  # see `_turned_weights`

    def _allocate(self, array: Array) -> None:
        for port in _ports(array):
            stream = f"{array.name}/{port.value}"
            bank = new_bank(self._preset.device, self._seed, stream, array.shape, self._torch_device)
            self._banks[array.name, port] = bank

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = []
        for numbered in steps:
            match numbered.step:
                case Read():
                    results.append(self._read(numbered.step, numbered.first))
                case Pulse():
                    self._pulse(numbered.step)
                case Scan():
                    results.append(self._scan(numbered))
        return results

    def _pulse(self, step: Pulse) -> None:
        action = Action(self._capabilities.kinds[step.kind].strength)
        pulsing.apply_trains(self._banks[step.array.name, step.port], step.trains, step.repeat, action)
        if step.array.cell is Cell.PAIR and step.port is Port.DEVICE:
            partner = self._banks[step.array.name, Port.REFERENCE]
            pulsing.apply_trains(partner, step.trains, step.repeat, replace(action, flip=True))

    def _scan(self, numbered: Numbered) -> ReadResult:
        """Run a scan as one pass over the devices, which notes columns when their turn comes.

        A read of one column is what its devices read as times the input, as long as inputs have no noise.
        """
        step = numbered.step
        assert isinstance(step, Scan)
        array, bank = step.array, self._banks[step.array.name, Port.DEVICE]
        if self._preset.read.input_noise or not pulsing.takes_snapshots(bank):
            return joined(step, self._execute(expand(numbered)))
        action, held = Action(self._capabilities.kinds[step.kind].strength), None
        values = pulsing.scan(bank, step, action)
        if array.cell is not Cell.SINGLE:
            partner = self._banks[array.name, Port.REFERENCE]
            if array.cell is Cell.PAIR:
                values = (values - pulsing.scan(partner, step, replace(action, flip=True))) / 2
            else:
                held = self._turned_weights(partner)
        where = step.trains.device
        result = self._periphery.read_columns(values, held, step.places[0], step.amplitude, array.name, numbered.vector)
        if where == self._torch_device:
            return result
        return ReadResult(result.values.to(where), result.saturated.to(where))

    def _update(self, update: Update, vector: int, bounds: Bounds) -> Done | None:
        array = update.array
        bank = self._banks[array.name, Port.DEVICE]
        if array.cell is Cell.PAIR or self._preset.read.input_noise:
            return None
        strength, columns = self._capabilities.kinds["update"].strength, update.reads.columns
        held = self._turned_weights(self._banks[array.name, Port.REFERENCE]) if array.cell is Cell.REFERENCE else None
        if pulsing.stays_on_gpu(bank, update):
            from rpudriver.backends.simulated.triton import fused as on_gpu

            on_chip = on_gpu.apply(bank, update, bounds, strength)
            done = None if on_chip is None else (*on_chip, False)
        elif fused.takes(bank, update):
            read = fused.NO_READ
            if len(columns):
                read = self._periphery.column_read(held, update.amplitude, array.name, vector)
            done = fused.apply(bank, update, bounds, strength, self._memory, read)
        else:
            done = None
        if done is None:
            return None
        values, tally, received = done
        if len(columns) and not received:
            values = self._periphery.read_columns(values, held, columns, update.amplitude, array.name, vector).values
        return Done(values, tally)

    def _turned_weights(self, held: Bank) -> torch.Tensor:
        """Return the weights of held references as ``[n_in, n_out]``; they rarely change, so they are kept."""
        kept = self._turned.get(held.stream)
        if kept is None or kept[0] != held.version:
            kept = self._turned[held.stream] = held.version, held.weights.t().contiguous()
        return kept[1]

    def _read(self, step: Read, first: int) -> ReadResult:
        head = step.terms[0][0]
        x = step.x if step.x.device == self._torch_device else step.x.to(self._torch_device)
        result = self._periphery.read(
            self._weighted(step.terms), _gain(step.terms), x, head.name, first, step.transposed
        )
        if x is step.x:
            return result
        return ReadResult(result.values.to(step.x.device), result.saturated.to(step.x.device))

    def _normalised(self, jobs: Sequence[ReadJob], firsts: Sequence[int], transposed: bool) -> list[Normalised] | None:
        bound, done = self.allowed[1], []  # reads move no device: nothing remains of those before one that fails
        for (terms, x), first in zip(jobs, firsts, strict=True):
            if not (self._on_cpu and x.shape[0] and readable(x)):
                return None
            weights, gain, name = self._weighted(terms), _gain(terms), terms[0][0].name
            one = self._periphery.read_normalised(weights, gain, x, bound, name, first, transposed)
            if one is None:
                return None
            done.append(one)
        return done

    def _weighted(self, terms: Sequence[tuple[Array, float]]) -> torch.Tensor:
        """Return ``sum_k weight_k W_k``, not to be written to: kept until one of its devices changes.

        A read of one vector would else cost less than the sum. Only the last sum of an array at the head is kept.
        """
        head, weight = terms[0]
        if head.cell is Cell.SINGLE and is_plain(terms):
            seen = self._seen.get(head.name)
            if seen is None or seen[0].read is not seen[1]:
                bank = self._banks[head.name, Port.DEVICE]
                seen = self._seen[head.name] = bank, bank.read, bank.weights
            return seen[2]
        state = tuple(
            (array.name, factor, *(self._banks[array.name, port].version for port in _ports(array)))
            for array, factor in terms
        )
        kept = self._sums.get(head.name)
        if kept is not None and kept[0] == state:
            return kept[1]
        total = self._weights(head) if weight == 1.0 else weight * self._weights(head)
        for array, factor in terms[1:]:
            total = total + factor * self._weights(array)
        self._sums[head.name] = state, total
        return total

    def _weights(self, array: Array) -> torch.Tensor:
        device = self._banks[array.name, Port.DEVICE].weights
        if array.cell is Cell.SINGLE:
            return device
        difference = device - self._banks[array.name, Port.REFERENCE].weights
        return difference if array.cell is Cell.REFERENCE else difference / 2

    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        state = {}
        for port in _ports(array):
            bank = self._banks[array.name, port]
            state[f"{port.value}/hidden"] = bank.hidden.view(array.shape).clone().cpu()
            state[f"{port.value}/read"] = bank.weights.clone().cpu()
            state[f"{port.value}/pulses"] = bank.pulses.view(array.shape).clone().cpu()
        return state

    def _load(self, array: Array, state: dict[str, torch.Tensor]) -> None:
        for port in _ports(array):
            parts = (state[f"{port.value}/{name}"] for name in ("hidden", "read", "pulses"))
            self._banks[array.name, port].set_state(*parts)

    def _oracle(self) -> "_Oracle":
        return _Oracle(self)


@final
class _Oracle:
    """The true state of a `SimulatedBackend`; see `rpudriver.backends.oracle`."""

    def __init__(self, backend: SimulatedBackend) -> None:
        self._backend = backend

    def true_weights(self, array: Array) -> torch.Tensor:
        return self._backend._weights(array).clone()

    def true_state(self, array: Array, port: Port) -> torch.Tensor:
        return self._backend._banks[array.name, port].hidden.view(array.shape).clone()

    def set_true_state(self, array: Array, port: Port, state: torch.Tensor) -> None:
        bank = self._backend._banks[array.name, port]
        p = bank.parameters
        clipped = torch.minimum(torch.maximum(state.to(bank.hidden).flatten(), p["w_min"]), p["w_max"])
        bank.set_state(clipped, clipped)

    def device_parameters(self, array: Array, port: Port) -> dict[str, torch.Tensor]:
        bank = self._backend._banks[array.name, port]
        return {name: value.view(array.shape).clone() for name, value in bank.parameters.items()}


def _gain(terms: Sequence[tuple[Array, float]]) -> float:
    """Return the factor of the weight noise of a sum."""
    return 1.0 if is_plain(terms) else math.sqrt(sum(factor**2 for _, factor in terms))


def _ports(array: Array) -> tuple[Port, ...]:
    return (Port.DEVICE,) if array.cell is Cell.SINGLE else (Port.DEVICE, Port.REFERENCE)
