"""The reference chip: what a simulated crossbar does, slot by slot in plain numpy.

This is the specification by example: ``docs/simulator.md`` in the fewest and plainest lines, slow on purpose, and
independent of the torch backend, which is tested against it. Only the keyed generator and the drawing of devices are
shared. Samples, slots and vectors are Python loops; the cells of an array are numpy grids.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.simulated.devices.constant import ConstantStep
from rpudriver.backends.simulated.devices.exponential import Exponential
from rpudriver.backends.simulated.devices.measured import Measured
from rpudriver.backends.simulated.devices.power import Power
from rpudriver.backends.simulated.devices.response import Response
from rpudriver.backends.simulated.devices.soft_bounds import SoftBounds
from rpudriver.backends.simulated.devices.spec import Preset
from rpudriver.backends.simulated.options import fingerprint, parse_options
from rpudriver.backends.simulated.variability import draw_devices
from rpudriver.keyed import arrays as keyed
from rpudriver.types import Array, Cell, Port, Pulse, Read, ReadResult, Wait

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Parameters = Mapping[str, Floats]
Formula = Callable[[Floats, Parameters, Any], Floats]


def _table(w: Floats, p: Parameters, weights: Sequence[float], steps: Sequence[float] | None) -> Floats:
    return np.zeros_like(w) if steps is None else np.interp(w, weights, steps) / p["dw_nominal"]


# q_plus and q_minus of every family: w are the hidden states, p the devices' own parameters, r the response's settings
FORMULAS: dict[type[Response], tuple[Formula, Formula]] = {
    ConstantStep: (lambda w, p, r: np.ones_like(w), lambda w, p, r: np.ones_like(w)),
    SoftBounds: (lambda w, p, r: 1 - w / p["w_max"], lambda w, p, r: 1 - w / p["w_min"]),
    Power: (
        lambda w, p, r: np.maximum(1 - w / p["tau"], 0) ** p["gamma"],
        lambda w, p, r: np.maximum(1 + w / p["tau"], 0) ** p["gamma"],
    ),
    Exponential: (
        lambda w, p, r: (np.exp(p["gamma"] * np.maximum(1 - w / p["tau"], 0)) - 1) / (np.exp(p["gamma"]) - 1),
        lambda w, p, r: (np.exp(p["gamma"] * np.maximum(1 + w / p["tau"], 0)) - 1) / (np.exp(p["gamma"]) - 1),
    ),
    Measured: (lambda w, p, r: _table(w, p, r.w, r.dw_up), lambda w, p, r: _table(w, p, r.w, r.dw_down)),
}


def relative_step(response: Response, w: Floats, p: Parameters, up: bool) -> tuple[Floats, Floats]:
    """Return ``q(w)`` and the response's own spread of a step, both in units of the device's dw."""
    formulas = FORMULAS.get(type(response))
    if formulas is None:  # a family that somebody registered
        q = (response.up if up else response.down)(w, p, np)
        return q, np.broadcast_to(response.spread(w, p, up, np), w.shape)
    q = formulas[0 if up else 1](w, p, response)
    spread = _table(w, p, response.w, response.dw_spread) if isinstance(response, Measured) else np.zeros_like(w)
    return q, spread


@dataclass
class Devices:
    """One device of each cell of an array, grids ``[n_out, n_in]``."""

    stream: str  # "{array}/{port}", names every draw
    p: dict[str, Floats]
    hidden: Floats  # the state that pulses move
    pulses: npt.NDArray[np.int64]  # that each device has seen in its life
    read: Floats  # what reads see: the hidden state, off by write noise


class ReferenceBackend(CrossbarBackend):
    """A simulated chip in plain numpy, for tests and as the text that other backends are compared with.

    Parameters
    ----------
    preset : Preset
        Device and read noise.
    capabilities : Capabilities
    seed : int
        Every device and every noise draw of the chip follows from it.
    name : str
        The fingerprint that snapshots carry.
    """

    def __init__(self, preset: Preset, capabilities: Capabilities, seed: int, name: str) -> None:
        super().__init__(capabilities, name)
        self._device, self._noise, self._seed = preset.device, preset.read, seed
        self._devices: dict[str, dict[Port, Devices]] = {}

    def _allocate(self, array: Array) -> None:
        ports = [Port.DEVICE] if array.cell is Cell.SINGLE else [Port.DEVICE, Port.REFERENCE]
        self._devices[array.name] = {port: self._draw(array, f"{array.name}/{port.value}") for port in ports}

    def _draw(self, array: Array, stream: str) -> Devices:
        drawn = draw_devices(self._device, self._seed, stream, array.n_out, array.n_in)
        p = {name: np.asarray(values, np.float64) for name, values in drawn.items()}
        return Devices(stream, p, p["initial"].copy(), np.zeros(array.shape, np.int64), p["initial"].copy())

    def _execute(self, steps: Sequence[Numbered]) -> Sequence[ReadResult]:
        results = []
        for numbered in steps:
            match numbered.step:
                case Pulse() as pulse:
                    self._pulse(pulse)
                case Read() as read:
                    results.append(self._read(read, numbered.first))
                case Wait():
                    pass  # these devices do not drift
        return results

    def _gaussian(self, stream: str, step: int, cells: npt.ArrayLike, pulses: npt.ArrayLike) -> Floats:
        return keyed.gaussian(keyed.key(self._seed, stream, step), cells, pulses).astype(np.float64)

    def _noise_of(self, sd: float, stream: str, step: int, cells: npt.ArrayLike, pulses: npt.ArrayLike = 0) -> Floats:
        """Return Gaussian noise of spread `sd`; none of it is drawn where there is none, which changes nothing else."""
        return sd * self._gaussian(stream, step, cells, pulses) if sd else np.zeros(np.shape(cells))

    # ---- pulses -------------------------------------------------------------------------------------------------

    def _pulse(self, step: Pulse) -> None:
        trains, both = step.trains, self._devices[step.array.name]
        strength = self.capabilities.kinds[step.kind].strength
        x_fires, d_fires = _slots(trains.x_words), _slots(trains.d_words)  # [B, n, slots]
        up = ~(trains.d_negative.cpu().numpy()[:, :, None] ^ trains.x_negative.cpu().numpy()[:, None, :])
        for _ in range(step.repeat):
            for b in range(len(trains)):
                if step.port is Port.REFERENCE:
                    self._sample(both[Port.REFERENCE], x_fires[b], d_fires[b], up[b], strength)
                else:
                    self._sample(both[Port.DEVICE], x_fires[b], d_fires[b], up[b], strength)
                    if step.array.cell is Cell.PAIR:  # the partner moves the other way
                        self._sample(both[Port.REFERENCE], x_fires[b], d_fires[b], ~up[b], strength)

    def _sample(self, devices: Devices, x_fires: Bools, d_fires: Bools, up: Bools, strength: float) -> None:
        """Apply a sample, slot after slot, then draw the write noise of the devices that it pulsed."""
        cells = np.arange(up.size).reshape(up.shape)
        before = devices.pulses.copy()
        for slot in range(x_fires.shape[1]):
            seen = d_fires[:, slot, None] & x_fires[None, :, slot]
            if seen.any():
                xi = self._gaussian(f"{devices.stream}/pulse", 0, cells, devices.pulses)
                self._move(devices, seen, up, strength, xi)
                devices.pulses = devices.pulses + seen
        write_noise = self._device.write_noise * self._device.dw_min.mean
        noise = self._noise_of(write_noise, f"{devices.stream}/write", 0, cells, devices.pulses)
        written = (devices.pulses > before) & (devices.p["alive"] == 1)
        devices.read = np.where(written, devices.hidden + noise, devices.read)

    def _move(self, devices: Devices, seen: Bools, up: Bools, strength: float, xi: Floats) -> None:
        """Move the devices that see a pulse in one slot."""
        device, p, w = self._device, devices.p, devices.hidden
        q_up, spread_up = relative_step(device.response, w, p, up=True)
        q_down, spread_down = relative_step(device.response, w, p, up=False)
        q, spread = np.where(up, q_up, q_down), np.where(up, spread_up, spread_down)
        s = np.sqrt((device.c2c * q) ** 2 + device.c2c_additive**2 + spread**2)
        dw = np.where(up, p["dw_up"], -p["dw_down"])
        moved = np.clip(w + strength * dw * (q + s * xi), p["w_min"], p["w_max"])
        devices.hidden = np.where(seen & (p["alive"] == 1), moved, w)

    # ---- reads --------------------------------------------------------------------------------------------------

    def _weights(self, array: Array) -> Floats:
        """Return the weights that a read sees, ``[n_out, n_in]``."""
        both = self._devices[array.name]
        if array.cell is Cell.SINGLE:
            return both[Port.DEVICE].read
        difference = both[Port.DEVICE].read - both[Port.REFERENCE].read
        return difference / 2 if array.cell is Cell.PAIR else difference

    def _read(self, step: Read, first: int) -> ReadResult:
        total = np.sum([weight * self._weights(array) for array, weight in step.terms], axis=0)
        if step.transposed:
            total = total.T
        factor = np.sqrt(sum(weight**2 for _, weight in step.terms))  # of the weight noise of a sum
        name, suffix = step.terms[0][0].name, "-t" if step.transposed else ""
        x = step.x.cpu().numpy().astype(np.float64)
        values = np.zeros((len(x), len(total)))
        for b in range(len(x)):
            values[b] = self._vector(total, x[b], factor, name, suffix, first + b)
        bound = self.capabilities.output_bound
        saturated = np.zeros(values.shape, bool)
        if bound is not None:  # a chip without a bound has no output converter either
            saturated = np.abs(values) >= bound
            values = _convert(np.clip(values, -bound, bound), self.capabilities.output_bits, bound)
        back = step.x.device
        return ReadResult(torch.from_numpy(values.astype(np.float32)).to(back), torch.from_numpy(saturated).to(back))

    def _vector(self, total: Floats, x: Floats, factor: float, name: str, suffix: str, n: int) -> Floats:
        """Return the outputs of vector number n, before the output converter."""
        inputs, outputs = np.arange(len(x)), np.arange(len(total))
        noise = self._noise
        x_q = _convert(x, self.capabilities.input_bits, self.capabilities.input_bound)
        x_q = x_q + self._noise_of(noise.input_noise, f"{name}/input{suffix}", n, inputs)
        y: Floats = total @ x_q
        weight_noise = noise.weight_noise * factor * float(np.linalg.norm(x_q))
        y = y + self._noise_of(weight_noise, f"{name}/weights{suffix}", n, outputs)
        return y + self._noise_of(noise.output_noise, f"{name}/output{suffix}", n, outputs)

    # ---- state --------------------------------------------------------------------------------------------------

    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        state = {}
        for port, devices in self._devices[array.name].items():
            state[f"{port.value}/hidden"] = torch.from_numpy(devices.hidden.copy())
            state[f"{port.value}/read"] = torch.from_numpy(devices.read.copy())
            state[f"{port.value}/pulses"] = torch.from_numpy(devices.pulses.copy())
        return state

    def _load(self, array: Array, state: dict[str, torch.Tensor]) -> None:
        for port, devices in self._devices[array.name].items():
            devices.hidden = state[f"{port.value}/hidden"].numpy().astype(np.float64)
            devices.read = state[f"{port.value}/read"].numpy().astype(np.float64)
            devices.pulses = state[f"{port.value}/pulses"].numpy().astype(np.int64)

    def _oracle(self) -> "ReferenceOracle":
        return ReferenceOracle(self)


@final
class ReferenceOracle:
    """The true state of a reference chip; see `rpudriver.backends.oracle`."""

    def __init__(self, backend: ReferenceBackend) -> None:
        self._backend = backend

    def true_weights(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(self._backend._weights(array).astype(np.float32))

    def true_state(self, array: Array, port: Port) -> torch.Tensor:
        return torch.from_numpy(self._backend._devices[array.name][port].hidden.astype(np.float32))

    def set_true_state(self, array: Array, port: Port, state: torch.Tensor) -> None:
        devices = self._backend._devices[array.name][port]
        wanted = np.clip(state.cpu().numpy().astype(np.float64), devices.p["w_min"], devices.p["w_max"])
        devices.hidden = np.broadcast_to(wanted, array.shape).copy()
        devices.read = devices.hidden.copy()

    def device_parameters(self, array: Array, port: Port) -> dict[str, torch.Tensor]:
        p = self._backend._devices[array.name][port].p
        return {name: torch.from_numpy(values.astype(np.float32)) for name, values in p.items()}


def _slots(words: torch.Tensor) -> Bools:
    """Return packed words ``[B, n, W]`` as slots ``[B, n, 32 W]``."""
    packed = words.cpu().numpy()
    bits = (packed[..., None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    samples, lines, words = packed.shape
    return bits.reshape(samples, lines, 32 * words).astype(bool)


def _convert(values: Floats, bits: int | None, bound: float) -> Floats:
    """Round to the nearest of ``2^bits - 1`` levels over ``[-bound, bound]``, ties to even; 0 is a level."""
    if bits is None:
        return values
    half = 2 ** (bits - 1) - 1  # levels on either side of 0
    rounded: Floats = np.round(values * half / bound) * (bound / half)
    return rounded


def open_reference(**options: Any) -> ReferenceBackend:
    """Open a `ReferenceBackend`; the options are those of `SimulatorOptions`.

    Raises
    ------
    ConfigError
        If an option, the preset or the profile cannot be used.
    """
    parsed = parse_options("reference", options)
    preset, capabilities = parsed.load()
    name = fingerprint("reference", parsed, preset, capabilities)
    return ReferenceBackend(preset, capabilities, parsed.seed, name)
