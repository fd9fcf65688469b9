"""Chips and trains that the tests of the reference backend share."""

from collections.abc import Sequence
from typing import Any

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.types import Array, Cell, Port, PulseTrains

PLAIN_PERIPHERY = {"input_bits": 0, "output_bits": 0, "output_bound": 0}  # no converters, no bound
WIDE = {"family": "constant"}


def open_chip(
    device: dict[str, Any] | None = None,
    read: dict[str, Any] | None = None,
    chip: dict[str, Any] | None = None,
    seed: int = 7,
    name: str = "reference",
) -> CrossbarBackend:
    """An armed chip: ideal constant-step devices (dw_min 0.01, bounds +-10) and reads, unless told."""
    ideal = {"response": WIDE, "dw_min": 0.01, "w_max": 10.0, "w_min": -10.0}
    options = {"device": ideal | (device or {}), "read": read or {}, "chip": PLAIN_PERIPHERY | (chip or {})}
    backend = make(name, preset="idealised", seed=seed, **options)
    backend.arm()
    return backend


def uniform_trains(shape: tuple[int, int], signs: Sequence[int], bl: int = 1) -> PulseTrains:
    """One sample for each sign; in each, every device sees BL pulses of that sign."""
    n_out, n_in = shape
    full = torch.tensor([(1 << min(32, max(0, bl - 32 * w))) - 1 for w in range(-(-bl // 32))], dtype=torch.int64)
    words = full.to(torch.uint32).repeat(len(signs), 1)
    negative = torch.tensor([sign < 0 for sign in signs])
    return PulseTrains(
        words[:, None, :].expand(-1, n_in, -1).contiguous(),
        words[:, None, :].expand(-1, n_out, -1).contiguous(),
        torch.zeros(len(signs), n_in, dtype=torch.bool),
        negative[:, None].expand(-1, n_out).contiguous(),
        torch.full((len(signs),), bl),
    )


def random_trains(shape: tuple[int, int], samples: int, bl: int, seed: int, density: float = 0.5) -> PulseTrains:
    """Random trains without management: every line fires in every slot with the same probability."""
    generator = torch.Generator().manual_seed(seed)
    words = -(-bl // 32)

    def side(lines: int) -> torch.Tensor:
        fires = (torch.rand(samples, lines, words, 32, generator=generator) < density).to(torch.int64)
        slot = torch.arange(32 * words).view(words, 32)
        return ((fires * (slot < bl)) << torch.arange(32)).sum(3).to(torch.uint32)

    def signs(lines: int) -> torch.Tensor:
        return torch.rand(samples, lines, generator=generator) < 0.5

    n_out, n_in = shape
    return PulseTrains(side(n_in), side(n_out), signs(n_in), signs(n_out), torch.full((samples,), bl))


def state_of(backend: CrossbarBackend, array: Array, port: Port = Port.DEVICE) -> torch.Tensor:
    """The hidden state, float64."""
    return oracle(backend).true_state(array, port).double()


def weights_of(backend: CrossbarBackend, array: Array) -> torch.Tensor:
    """The read state of the cells, float64."""
    return oracle(backend).true_weights(array).double()


def set_weights(backend: CrossbarBackend, array: Array, weights: torch.Tensor) -> None:
    """Give the cells their weights by moving the device; the reference stays."""
    scale = 2.0 if array.cell is Cell.PAIR else 1.0
    oracle(backend).set_true_state(array, Port.DEVICE, scale * weights)


def mean_error(sample: torch.Tensor, sd: float) -> float:
    """Five standard errors of the mean of a sample whose values have standard deviation `sd`."""
    return 5.0 * sd / float(sample.numel()) ** 0.5


def sd_error(sample: torch.Tensor, sd: float) -> float:
    """Five standard errors of the standard deviation of a normal sample: ``sd / sqrt(2 N)`` each."""
    return 5.0 * sd / (2.0 * float(sample.numel())) ** 0.5


def assert_normal(sample: torch.Tensor, mean: float, sd: float) -> None:
    """Mean and spread of a sample agree with a normal law within five standard errors."""
    assert abs(float(sample.mean()) - mean) < mean_error(sample, sd), (float(sample.mean()), mean)
    assert abs(float(sample.std()) - sd) < sd_error(sample, sd), (float(sample.std()), sd)
