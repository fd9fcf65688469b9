"""The same work in plain torch, as one would write it without a kernel: a yardstick, not a simulator."""

import math

import torch

from benchmarks.timing import Call


def update_call(shape: tuple[int, int], x: torch.Tensor, d: torch.Tensor, lr: float, max_bl: int) -> Call:
    """Return one update of soft-bounds devices with a batch, one sample after the other.

    Trains are Bernoulli bits, coincidences their product, and n pulses of a device move it by one Gaussian of n times
    the mean and sqrt(n) times the deviation: less than the exact work, pulse by pulse, that the others do.
    """
    dw, c2c, bound = 1e-3, 0.3, 0.6
    step = dw * (1 + 0.3 * torch.randn(shape)).clamp(min=0.01)
    w_max = bound * (1 + 0.3 * torch.randn(shape)).clamp(min=0.01)
    w_min = -bound * (1 + 0.3 * torch.randn(shape)).clamp(min=0.01)
    weights = torch.zeros(shape)
    turn = [-d, d]

    def call() -> None:
        turn.reverse()
        for x_b, d_b in zip(x, turn[0], strict=True):
            x_max, d_max = float(x_b.abs().max()), float(d_b.abs().max())
            bl = max(1, min(max_bl, math.ceil(lr * x_max * d_max / dw)))
            amplitude, ratio = math.sqrt(lr / (bl * dw)), math.sqrt(d_max / x_max)
            fires_x = (torch.rand(bl, len(x_b)) < amplitude * ratio * x_b.abs()).float()
            fires_d = (torch.rand(bl, len(d_b)) < amplitude / ratio * d_b.abs()).float()
            count = fires_d.T @ fires_x
            sign = torch.outer(d_b.sign(), x_b.sign())
            relative = torch.where(sign > 0, 1 - weights / w_max, 1 - weights / w_min)
            noise = count.sqrt() * c2c * torch.randn(shape)
            weights.addcmul_(sign * step * relative, count + noise)
            torch.minimum(torch.maximum(weights, w_min, out=weights), w_max, out=weights)

    return call


def read_call(weights: torch.Tensor, x: torch.Tensor) -> Call:
    """Return one read ``W x`` with noise management, 7 bits in, 9 bits out, noise 0.06; nothing saturates here."""
    step_in, step_out, bound = 1 / 63, 12 / 255, 12.0

    def call() -> torch.Tensor:
        largest = x.abs().amax(1, keepdim=True)
        y = ((x / largest / step_in).round() * step_in) @ weights.T
        y += 0.06 * torch.randn_like(y)
        return (y.clamp(-bound, bound) / step_out).round() * step_out * largest

    return call
