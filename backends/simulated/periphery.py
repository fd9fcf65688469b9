"""What lies between the array and the digital world: converters, bounds, and the noise of a read."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.normalising import Normalised
from rpudriver.backends.simulated import products
from rpudriver.backends.simulated.devices.spec import ReadNoise
from rpudriver.keyed import tensors as keyed
from rpudriver.keyed.accelerator import available
from rpudriver.keyed.arrays import stream_number
from rpudriver.types import ReadResult, plain

PURPOSES = ("input", "weights", "output")


def levels(bits: int | None) -> int:
    """Return the number of levels above 0 of a converter; 0 where there is none."""
    return 0 if bits is None else int(2 ** (bits - 1) - 1)


def convert(values: torch.Tensor, bits: int | None, bound: float | None) -> torch.Tensor:
    """Return the nearest of ``2^bits - 1`` levels over ``[-bound, bound]``, ties to even; 0 is a level."""
    if bits is None or bound is None:
        return values
    half = levels(bits)
    level = torch.round(values * half / bound)  # ties such as 0.5 of 1 stay exact in the product
    return level * (bound / half)


def _scales(c: Capabilities, noise: ReadNoise) -> npt.NDArray[np.float32]:
    """Return converters, bound and noise as the compiled passes take them; 0 stands for none."""
    input_half = levels(c.input_bits)
    bound = c.output_bound or 0.0
    half = levels(c.output_bits) if bound else 0
    scales = np.zeros(products.SCALES, np.float32)
    scales[products.INPUT_HALF], scales[products.INPUT_BOUND] = input_half, c.input_bound
    scales[products.INPUT_LEVEL], scales[products.INPUT_NOISE] = c.input_bound / max(input_half, 1), noise.input_noise
    scales[products.WEIGHT_NOISE], scales[products.OUTPUT_NOISE] = noise.weight_noise, noise.output_noise
    scales[products.BOUND], scales[products.HALF], scales[products.LEVEL] = bound, half, bound / max(half, 1)
    return scales


@dataclass(frozen=True)
class Periphery:
    """The converters and the read noise of one chip."""

    capabilities: Capabilities
    noise: ReadNoise
    seed: int
    _packed: npt.NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _streams: dict[tuple[str, bool], tuple[np.uint64, npt.NDArray[np.uint32]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    _amplitudes: dict[float, tuple[np.float32, np.float32]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_packed", _scales(self.capabilities, self.noise))

    def read(
        self, weights: torch.Tensor, gain: float, x: torch.Tensor, stream: str, first: int, transposed: bool
    ) -> ReadResult:
        """Return ``adc(clip(dac(x) W^T + noise))``; the first vector has the number `first`.

        Parameters
        ----------
        weights : float32 tensor ``[n_out, n_in]``, the sum of all terms.
        gain : root of the sum of the squared weights of the terms, which scales weight read noise.
        stream : the first array's name.
        """
        if x.is_cpu:
            return self._read_compiled(weights, gain, x, stream, first, transposed)
        suffix = "-t" if transposed else ""
        x = self._sent(x, f"{stream}/input{suffix}", first)
        y = x @ weights if transposed else x @ weights.t()
        return self._finished(y, gain * x.norm(dim=1, keepdim=True), stream, first, suffix)

    def _sent(self, x: torch.Tensor, stream: str, first: int) -> torch.Tensor:
        """Return inputs ``[B, n]`` after their converter, with their noise."""
        c, noise = self.capabilities, self.noise
        if available(x):
            from rpudriver.backends.simulated.triton import reads

            return reads.send(c, noise, self.seed, x, stream, first)
        x = convert(x, c.input_bits, c.input_bound)
        return x + noise.input_noise * self._normal(stream, first, x) if noise.input_noise else x

    def _finished(
        self, y: torch.Tensor, length: torch.Tensor | float, stream: str, first: int, suffix: str = ""
    ) -> ReadResult:
        """Return outputs ``[B, n]`` with their noise, clipped and converted; `length` is that of the inputs."""
        c, noise = self.capabilities, self.noise
        if available(y):
            from rpudriver.backends.simulated.triton import reads

            streams = (f"{stream}/weights{suffix}", f"{stream}/output{suffix}")
            return reads.receive(c, noise, self.seed, y, streams, first, length)
        if noise.weight_noise:
            y = y + length * noise.weight_noise * self._normal(f"{stream}/weights{suffix}", first, y)
        if noise.output_noise:
            y = y + noise.output_noise * self._normal(f"{stream}/output{suffix}", first, y)
        if c.output_bound is None:
            return ReadResult(y, torch.zeros_like(y, dtype=torch.bool))
        saturated = y.abs() >= c.output_bound
        return ReadResult(convert(y.clamp(-c.output_bound, c.output_bound), c.output_bits, c.output_bound), saturated)

    def _read_compiled(
        self, weights: torch.Tensor, gain: float, x: torch.Tensor, stream: str, first: int, transposed: bool
    ) -> ReadResult:
        """Do it on the CPU: few vectors in one compiled call, more in a pass before torch's product and one after it.

        Sums are so ordered in several ways: the last bits of a product may depend on how many vectors are read at once.
        """
        rows, columns = weights.shape
        lines = columns if transposed else rows
        seed, streams = self._keys(stream, transposed)
        saturated = np.empty((x.shape[0], lines), np.bool_)
        vectors = plain(x.detach()).numpy()
        if 0 < len(vectors) <= products.FEW:
            weights = weights.contiguous()  # kept alive here while it is read
            values = torch.empty(len(vectors), lines)  # on a line of cache, as numpy's need not be
            places = weights.data_ptr(), rows, columns, transposed, vectors, values.data_ptr()
            some = products.read_few(*places, saturated, seed, streams, first, self._packed, np.float32(gain))
            return ReadResult.of_array(values, saturated, some)
        keys = seed, streams, np.uint64(first)
        sent, lengths = np.empty_like(vectors), np.empty(len(vectors), np.float32)
        products.send(vectors, sent, lengths, keys, self._packed)
        values = _product(torch.from_numpy(sent), weights, transposed)
        some = products.receive(values.numpy(), saturated, lengths, keys, self._packed, np.float32(gain))
        return ReadResult.of_array(values, saturated, some)

    def read_normalised(
        self,
        weights: torch.Tensor,
        gain: float,
        x: torch.Tensor,
        bound: float,
        stream: str,
        first: int,
        transposed: bool,
    ) -> Normalised | None:
        """Return what a read of vectors divided by their largest value brings up, multiplied back.

        None where one is zero or not finite.

        Parameters
        ----------
        x : float32 tensor ``[B, n]``, B at least 1, on the CPU, whose rows are contiguous.
        bound : of the inputs.
        """
        (rows, columns), vectors = weights.shape, x.shape[0]
        lines = columns if transposed else rows
        seed, streams = self._keys(stream, transposed)
        saturated = np.empty((vectors, lines), np.bool_)
        if vectors <= products.FEW:
            weights, values = weights.contiguous(), torch.empty(vectors, lines)
            places = weights.data_ptr(), rows, columns, transposed, x.data_ptr(), x.stride(0), values.data_ptr()
            good, some = products.read_few_normalised(
                *places, saturated, seed, streams, first, self._packed, gain, bound
            )
            return Normalised(values, torch.from_numpy(saturated) if some else None) if good else None
        keys, sent = (seed, streams, np.uint64(first)), np.empty((vectors, x.shape[1]), np.float32)
        divisors, lengths = np.empty(vectors, np.float32), np.empty(vectors, np.float32)
        if not products.send_normalised(x.data_ptr(), x.stride(0), sent, bound, divisors, lengths, keys, self._packed):
            return None
        values = _product(torch.from_numpy(sent), weights, transposed)
        some = products.receive_normalised(
            values.numpy(), saturated, divisors, lengths, keys, self._packed, np.float32(gain)
        )
        return Normalised(values, torch.from_numpy(saturated) if some else None)

    def read_columns(
        self,
        values: torch.Tensor,
        held: torch.Tensor | None,
        columns: npt.NDArray[np.int64],
        amplitude: float,
        stream: str,
        first: int,
    ) -> ReadResult:
        """Return what the reads of a scan bring up, on a chip whose inputs have no noise.

        Parameters
        ----------
        values : float32 tensor ``[R, n_out]``, contiguous
            The columns' weights when their turn came; changed in place.
        held : float32 tensor ``[n_in, n_out]``, contiguous, optional
            Weights of all columns, transposed, that are to be subtracted.
        """
        if not values.is_cpu:
            if not len(values):
                return ReadResult(values, values.bool())
            if held is not None:
                values = values - held.index_select(0, torch.tensor(columns, device=held.device))
            q = float(self._single(amplitude)[0])
            return self._finished(values * q, abs(q), stream, first)
        saturated = np.empty(values.shape, np.bool_)
        read = self.column_read(held, amplitude, stream, first)
        some = products.receive_columns(values.data_ptr(), saturated, columns, read)
        return ReadResult.of_array(values, saturated, some)

    def column_read(self, held: torch.Tensor | None, amplitude: float, stream: str, first: int) -> tuple[Any, ...]:
        """Return what `products.receive_columns` wants to know of the reads of a scan; `held` must outlive it."""
        held_at = 0 if held is None else held.data_ptr()
        return held_at, *self._single(amplitude), *self._keys(stream, False), first, self._packed

    def _single(self, amplitude: float) -> tuple[np.float32, np.float32]:
        """Return an input after its converter and its size, as it goes to one column and nothing to the others."""
        known = self._amplitudes.get(amplitude)
        if known is None:
            sent = convert(torch.tensor(amplitude), self.capabilities.input_bits, self.capabilities.input_bound)
            known = self._amplitudes[amplitude] = np.float32(sent), np.float32(abs(sent))
        return known

    def _keys(self, stream: str, transposed: bool) -> tuple[np.uint64, npt.NDArray[np.uint32]]:
        """Return the seed and the numbers of the three streams of a read."""
        known = self._streams.get((stream, transposed))
        if known is None:
            suffix = "-t" if transposed else ""
            numbers = [stream_number(f"{stream}/{purpose}{suffix}") for purpose in PURPOSES]
            known = self._streams[stream, transposed] = np.uint64(self.seed), np.array(numbers, np.uint32)
        return known

    def _normal(self, stream: str, first: int, like: torch.Tensor) -> torch.Tensor:
        k0, k1 = keyed.key(self.seed, stream, first, like.shape[0], like.device)
        lines = torch.arange(like.shape[1], dtype=torch.int32, device=like.device)
        return keyed.gaussian((k0[:, None], k1[:, None]), lines, torch.zeros_like(lines))


def _product(x: torch.Tensor, weights: torch.Tensor, transposed: bool) -> torch.Tensor:
    return x @ weights if transposed else x @ weights.t()
