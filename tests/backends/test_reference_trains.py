"""Coincidences of stochastic trains on the reference backend: mean, variance and covariance between neighbours."""

import math

import pytest
import torch

from rpudriver.trains import TrainSource, draw_trains
from tests.backends.reference_chip import open_chip, state_of

DW, BL, LR, SAMPLES = 0.01, 10, 0.04, 500
X = torch.tensor([0.8, 0.4])
ROWS = 40
D = torch.full((ROWS,), 0.9)
AMPLITUDE = math.sqrt(LR / (BL * DW))  # C of Gokmen & Vlasov 2016
P = AMPLITUDE * 0.9
Q = [AMPLITUDE * 0.8, AMPLITUDE * 0.4]


@pytest.fixture(scope="module")
def counts() -> torch.Tensor:
    """Pulses that each device saw in each sample, ``[samples, rows, 2]``."""
    chip = open_chip({"dw_min": DW, "w_max": 100.0, "w_min": -100.0})  # the bounds stay out of reach
    array = chip.allocate("A", ROWS, 2)
    trains = draw_trains(
        X.expand(SAMPLES, 2),
        D.expand(SAMPLES, ROWS),
        lr=LR,
        dw_min=DW,
        max_bl=BL,
        source=TrainSource(11, "A"),
        first=0,
        update_management=False,
        bl_management=False,
    )
    states = [torch.zeros(ROWS, 2, dtype=torch.float64)]
    for b in range(SAMPLES):
        chip.apply_pulses(array, trains[b : b + 1])
        states.append(state_of(chip, array))
    found = (torch.stack(states[1:]) - torch.stack(states[:-1])) / DW
    assert float((found - found.round()).abs().max()) < 1e-3  # whole steps
    return found.round()


def check(per_sample: torch.Tensor, expected: float) -> None:
    """Samples are independent, rows of one sample are not: the error comes from the spread between samples."""
    error = float(per_sample.std()) / math.sqrt(len(per_sample))
    assert abs(float(per_sample.mean()) - expected) < 4.5 * error
    assert expected == 0.0 or abs(expected) > 6 * error  # sharp enough to tell the value from nothing


def test_the_mean_update_is_lr_d_x(counts: torch.Tensor) -> None:
    for j in range(2):
        check(DW * counts[:, :, j].mean(1), LR * 0.9 * float(X[j]))


def test_variance_of_one_device(counts: torch.Tensor) -> None:
    for j in range(2):
        p = P * Q[j]
        check((counts[:, :, j] - BL * p).square().mean(1), BL * p * (1 - p))


def test_neighbours_in_a_row_share_the_row_train(counts: torch.Tensor) -> None:
    """Cov = BL p (1 - p) q_j q_k: both see a pulse only where their row fires."""
    product = (counts[:, :, 0] - BL * P * Q[0]) * (counts[:, :, 1] - BL * P * Q[1])
    check(product.mean(1), BL * P * (1 - P) * Q[0] * Q[1])


def test_neighbours_in_a_column_share_the_column_train(counts: torch.Tensor) -> None:
    """Cov = BL q (1 - q) p_i p_k; all pairs of rows at once, from the variance of the column's total."""
    off = counts[:, :, 0] - BL * P * Q[0]
    pairs = (off.sum(1).square() - off.square().sum(1)) / (ROWS * (ROWS - 1))
    check(pairs, BL * Q[0] * (1 - Q[0]) * P * P)


def test_devices_that_share_no_line_are_independent(counts: torch.Tensor) -> None:
    off = counts - BL * P * torch.tensor(Q)
    everything = off[:, :, 0].sum(1) * off[:, :, 1].sum(1)
    own_row = (off[:, :, 0] * off[:, :, 1]).sum(1)
    check((everything - own_row) / (ROWS * (ROWS - 1)), 0.0)
