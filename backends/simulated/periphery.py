"""What lies between the array and the digital world: converters, bounds, and the noise of a read."""

from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.simulated.devices.spec import ReadNoise
from rpudriver.keyed import native
from rpudriver.keyed import tensors as keyed
from rpudriver.keyed.arrays import stream_number
from rpudriver.types import ReadResult


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


def finish_read(
    y: npt.NDArray[np.float32], seed: int, stream: str, first: int, noise: ReadNoise, c: Capabilities
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return outputs ``[B, n]`` with their noise, clipped and converted, and where they saturated; `y` is used up."""
    saturated = np.zeros(y.shape, np.bool_)
    bound = c.output_bound or 0.0  # 0 stands for none
    half = levels(c.output_bits) if bound else 0
    _finish(
        y,
        saturated,
        (np.uint64(seed), np.uint32(stream_number(stream)), np.uint64(first)),
        (np.float32(noise.output_noise), np.float32(bound), np.float32(half), np.float32(bound / max(half, 1))),
    )
    return y, saturated


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _finish(y, saturated, numbers, scales):  # type: ignore[no-untyped-def]
    seed, stream, first = numbers
    sigma, bound, half, level = scales
    for b in range(y.shape[0]):
        step = np.uint64(first + np.uint64(b))
        k0, k1 = native.key_0(seed, stream, step), native.key_1(seed, stream, step)
        for line in range(y.shape[1]):
            value = y[b, line]
            if sigma > np.float32(0):
                xi = native.gaussian(k0, k1, np.uint32(line), np.uint32(0))
                value = np.float32(value + np.float32(sigma * xi))
            if bound > np.float32(0):
                saturated[b, line] = abs(value) >= bound
                value = min(max(value, -bound), bound)
            if half > np.float32(0):  # rounds half to even, as torch does
                value = np.float32(np.rint(np.float32(np.float32(value * half) / bound)) * level)
            y[b, line] = value


@dataclass(frozen=True)
class Periphery:
    """The converters and the read noise of one chip."""

    capabilities: Capabilities
    noise: ReadNoise
    seed: int

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
        c, noise, suffix = self.capabilities, self.noise, "-t" if transposed else ""
        x = convert(x, c.input_bits, c.input_bound)
        if noise.input_noise:
            x = x + noise.input_noise * self._normal(f"{stream}/input{suffix}", first, x)
        y = x @ weights if transposed else x @ weights.t()
        if noise.weight_noise:
            sigma = gain * noise.weight_noise * x.norm(dim=1, keepdim=True)
            y = y + sigma * self._normal(f"{stream}/weights{suffix}", first, y)
        if y.device.type == "cpu":
            done = finish_read(y.numpy(), self.seed, f"{stream}/output{suffix}", first, noise, c)
            return ReadResult(*(torch.from_numpy(part) for part in done))
        if noise.output_noise:
            y = y + noise.output_noise * self._normal(f"{stream}/output{suffix}", first, y)
        if c.output_bound is None:
            return ReadResult(y, torch.zeros_like(y, dtype=torch.bool))
        saturated = y.abs() >= c.output_bound
        return ReadResult(convert(y.clamp(-c.output_bound, c.output_bound), c.output_bits, c.output_bound), saturated)

    def _normal(self, stream: str, first: int, like: torch.Tensor) -> torch.Tensor:
        if like.device.type == "cpu":
            return torch.from_numpy(native.gaussian_grid(self.seed, stream, first, *like.shape))
        k0, k1 = keyed.key(self.seed, stream, first, like.shape[0], like.device)
        lines = torch.arange(like.shape[1], dtype=torch.int32, device=like.device)
        return keyed.gaussian((k0[:, None], k1[:, None]), lines, torch.zeros_like(lines))
