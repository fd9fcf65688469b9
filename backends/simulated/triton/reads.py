"""The two passes of a read on a CUDA device: over the inputs before the product, over the outputs after it.

Noise, converters and flags are those of `periphery`; the product is torch's. Its sums are ordered as cuBLAS likes, so
values agree with the CPU's up to float32 rounding, and one next to a converter's rounding boundary may fall on
either side of it.
"""

import torch
import triton
import triton.language as tl

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.simulated.devices.spec import ReadNoise
from rpudriver.keyed.arrays import stream_number
from rpudriver.keyed.gpu import blocks, gaussian, halves, launch, signed, step_key
from rpudriver.types import ReadResult

LINES = 128  # lines of one vector that a program handles
_WHOLE = tl.constexpr(2.0**23)


def send(c: Capabilities, noise: ReadNoise, seed: int, x: torch.Tensor, stream: str, first: int) -> torch.Tensor:
    """Return inputs ``[B, n]`` after their converter, with their noise."""
    half = levels(c.input_bits, c.input_bound)
    if not (half or noise.input_noise) or not x.numel():
        return x
    x = x.contiguous()
    out = torch.empty_like(x)
    launch(
        send_kernel,
        (len(x), blocks(x.shape[1], LINES), 1),
        (
            *(x, out, x.shape[1], *halves(seed), *halves(first), signed(stream_number(stream))),
            *(float(half), float(c.input_bound), c.input_bound / max(half, 1), float(noise.input_noise)),
        ),
        (LINES,),
    )
    return out


def receive(
    c: Capabilities,
    noise: ReadNoise,
    seed: int,
    y: torch.Tensor,
    streams: tuple[str, str],
    first: int,
    length: torch.Tensor | float,
) -> ReadResult:
    """Return outputs ``[B, n]`` with their noise, clipped and converted, and where they saturated.

    Parameters
    ----------
    streams : names of the weight noise's and the output noise's stream.
    length : float32 tensor ``[B, 1]``, or one number for all
        Length of each input vector times the gain of the sum, which scales weight noise.
    """
    y, bound = y.contiguous(), c.output_bound or 0.0
    half = levels(c.output_bits, bound)
    spreads = (torch.zeros(len(y), 1, device=y.device) + length) * noise.weight_noise if noise.weight_noise else y
    out, saturated = torch.empty_like(y), torch.zeros(y.shape, dtype=torch.uint8, device=y.device)
    if y.numel():
        launch(
            receive_kernel,
            (len(y), blocks(y.shape[1], LINES), 1),
            (
                *(y, out, saturated, spreads, y.shape[1]),
                *(*halves(seed), *halves(first), *(signed(stream_number(name)) for name in streams)),
                *(float(half), float(bound), bound / max(half, 1), float(noise.output_noise)),
            ),
            (bool(noise.weight_noise), LINES),
        )
    return ReadResult(out, saturated.view(torch.bool))


def levels(bits: int | None, bound: float) -> int:
    """Return the number of levels above 0 of a converter; 0 where there is none."""
    return 0 if bits is None or not bound else int(2 ** (bits - 1) - 1)


@triton.jit
def _convert(value, half, bound, level):  # type: ignore[no-untyped-def]
    """Return the nearest level, ties to even.

    Adding 2^23 to a smaller float32 rounds it so, and a converter of at most 24 bits has fewer levels above 0.
    """
    scaled = tl.div_rn(value * half, bound)
    whole = (tl.abs(scaled) + _WHOLE) - _WHOLE
    return tl.where(scaled < 0.0, -whole, whole) * level


# fmt: off
@triton.jit(
    do_not_specialize=["lines", "seed_low", "seed_high", "first_low", "first_high", "stream"],
    do_not_specialize_on_alignment=["x", "out"],
)
def send_kernel(  # type: ignore[no-untyped-def]
    x, out, lines, seed_low, seed_high, first_low, first_high, stream,
    half, bound, level, sigma, block: tl.constexpr,
):
    # fmt: on
    """Convert `block` inputs of one vector and add their noise."""
    vector, line = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    at = vector.to(tl.int64) * lines + line
    value = tl.load(x + at, mask=line < lines, other=0.0)
    if half > 0.0:
        value = _convert(value, half, bound, level)
    if sigma > 0.0:
        k0, k1 = step_key(seed_low, seed_high, stream, first_low, first_high, vector)
        value += sigma * gaussian(k0, k1, line.to(tl.uint32), tl.zeros([block], tl.uint32))
    tl.store(out + at, value, mask=line < lines)


# fmt: off
@triton.jit(do_not_specialize=[
    "lines", "seed_low", "seed_high", "first_low", "first_high", "weights_stream", "output_stream"
], do_not_specialize_on_alignment=["y", "out", "saturated", "spreads"])
def receive_kernel(  # type: ignore[no-untyped-def]
    y, out, saturated, spreads, lines, seed_low, seed_high, first_low, first_high, weights_stream, output_stream,
    half, bound, level, sigma, weight_noise: tl.constexpr, block: tl.constexpr,
):
    # fmt: on
    """Add the noise of `block` outputs of one vector, clip, flag and convert them."""
    vector, line = tl.program_id(0), tl.program_id(1) * block + tl.arange(0, block)
    at = vector.to(tl.int64) * lines + line
    cell, pulse = line.to(tl.uint32), tl.zeros([block], tl.uint32)
    value = tl.load(y + at, mask=line < lines, other=0.0)
    if weight_noise:
        k0, k1 = step_key(seed_low, seed_high, weights_stream, first_low, first_high, vector)
        value += tl.load(spreads + vector) * gaussian(k0, k1, cell, pulse)
    if sigma > 0.0:
        k0, k1 = step_key(seed_low, seed_high, output_stream, first_low, first_high, vector)
        value += sigma * gaussian(k0, k1, cell, pulse)
    if bound > 0.0:
        tl.store(saturated + at, (tl.abs(value) >= bound).to(tl.uint8), mask=line < lines)
        value = tl.minimum(tl.maximum(value, -bound), bound)
    if half > 0.0:
        value = _convert(value, half, bound, level)
    tl.store(out + at, value, mask=line < lines)
