"""What lies between the array and the digital world: converters, bounds, and the noise of a read."""

from dataclasses import dataclass

import torch

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.simulated.devices.spec import ReadNoise
from rpudriver.keyed import native
from rpudriver.keyed import tensors as keyed
from rpudriver.types import ReadResult


def convert(values: torch.Tensor, bits: int | None, bound: float | None) -> torch.Tensor:
    """Return the nearest of ``2^bits - 1`` levels over ``[-bound, bound]``, ties to even; 0 is a level."""
    if bits is None or bound is None:
        return values
    half: int = 2 ** (bits - 1) - 1
    level = torch.round(values * half / bound)  # ties such as 0.5 of 1 stay exact in the product
    return level * (bound / half)


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
