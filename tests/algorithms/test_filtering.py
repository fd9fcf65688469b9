"""The filter H against a plain loop, and the compiled one against the one in torch, bit for bit."""

import numpy as np
import pytest
import torch

from rpudriver.algorithms.filtering import _filter_in_torch, filter_reads
from rpudriver.types import PulseTrains

N_OUT, N_IN = 37, 5
COLUMNS = np.array([3, 4, 0, 1, 2, 3, 3])  # one is read three times


def case() -> tuple[torch.Tensor, torch.Tensor]:
    """H up to 1.2 pulses, and reads up to about 3."""
    draw = torch.Generator().manual_seed(4)
    buffer = 2.4 * torch.rand(N_IN, N_OUT, generator=draw) - 1.2
    return buffer, torch.randn(len(COLUMNS), N_OUT, generator=draw)


def parts(trains: PulseTrains) -> list[torch.Tensor]:
    words = trains.x_words.view(torch.int32), trains.d_words.view(torch.int32)
    return [*words, trains.x_negative, trains.d_negative, trains.bl]


@pytest.mark.parametrize("hysteresis", [0.0, 0.3])
def test_the_filter_is_its_equations(hysteresis: float) -> None:
    buffer, reads = case()
    h = buffer.double().tolist()
    trains = filter_reads(buffer, COLUMNS, reads, 0.7, hysteresis)
    fired_in_all = 0
    for r, t in enumerate(COLUMNS.tolist()):
        fired = []
        for i in range(N_OUT):
            h[t][i] += 0.7 * float(reads[r, i])
            fired.append(0 if abs(h[t][i]) < 1 else 1 if h[t][i] > 0 else -1)
            h[t][i] -= (1 - hysteresis) * fired[i]
        fired_in_all += sum(map(abs, fired))
        assert trains.d_words[r, :, 0].tolist() == [abs(sign) for sign in fired]
        assert trains.d_negative[r].tolist() == [sign < 0 for sign in fired]
        assert trains.x_words[r, :, 0].tolist() == [int(column == t) for column in range(N_IN)]
    torch.testing.assert_close(buffer, torch.tensor(h))
    assert fired_in_all > 20
    assert not bool(trains.x_negative.any())
    assert trains.bl.tolist() == [1] * len(COLUMNS)


@pytest.mark.parametrize("hysteresis", [0.0, 0.3])
def test_torch_and_compiled_agree_bit_for_bit(hysteresis: float) -> None:
    (buffer, reads), (other, _) = case(), case()
    found = filter_reads(buffer, COLUMNS, reads, 0.7, hysteresis)
    expected = _filter_in_torch(other, COLUMNS, reads, 0.7, hysteresis)
    assert torch.equal(buffer, other)
    assert all(torch.equal(a, b) for a, b in zip(parts(found), parts(expected), strict=True))


def test_reads_that_send_nothing_fire_no_slot() -> None:
    buffer = torch.zeros(N_IN, N_OUT)
    trains = filter_reads(buffer, COLUMNS[:2], torch.full((2, N_OUT), 0.5), 1.0, 0.0)
    assert trains.bl.tolist() == [0, 0]
    assert not bool(trains.x_words.view(torch.int32).any())
    assert buffer[3:].tolist() == [[0.5] * N_OUT] * 2
    assert not bool(buffer[:3].any())


def test_a_whole_pulse_goes_off_at_exactly_one() -> None:
    buffer = torch.zeros(1, 3)
    trains = filter_reads(buffer, np.array([0]), torch.tensor([[1.0, -1.0, 0.999]]), 1.0, 0.25)
    assert trains.d_words.flatten().tolist() == [1, 1, 0]
    torch.testing.assert_close(buffer, torch.tensor([[0.25, -0.25, 0.999]]))
