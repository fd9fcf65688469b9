"""Rows of single arrays: pulsed updates with trains drawn afresh in every call, in every family and many sizes."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks import contests, plain
from benchmarks.chips import SOFT_BOUNDS, Batch
from benchmarks.memory import peak_memory_mib
from benchmarks.rows import Case, Contest, Options

LR, MAX_BL = 0.01, 31
LSTM = {"1": (256, 152), "2": (256, 129), "3": (87, 65)}  # Gokmen 2021: bias columns included
LSTM_SAMPLES = 3200  # 32 sequences of 100 characters
NODES = 9  # of the measured response


def cases() -> Iterator[Case]:
    """Yield the rows of this file."""
    yield Case("update-512-b64-soft-bounds", partial(_square, 512, 64, torch_too=True))
    yield Case("update-512-b1-soft-bounds", partial(_square, 512, 1, torch_too=True))
    for name, ours, theirs in families():
        yield Case(f"update-512-b64-{name}", partial(_family, ours, theirs))
    for number in LSTM:
        yield Case(f"update-lstm2-64-wp-{number}-b{LSTM_SAMPLES}", partial(_lstm, [number]))
    yield Case(f"update-lstm2-64-wp-all-b{LSTM_SAMPLES}", partial(_lstm, list(LSTM)))
    for n in (64, 256, 1024, 2048, 4096):
        yield Case(f"update-{n}-b64-soft-bounds", partial(_square, n, 64, memory=n == 4096))
    yield Case("update-64-b1-soft-bounds", partial(_square, 64, 1))


def families() -> list[tuple[str, dict[str, Any], tuple[str, dict[str, Any]]]]:
    """Return for each other family its name, our device and aihwkit's nearest one as (kind, settings)."""
    soft, node = {"response": SOFT_BOUNDS}, [round(-0.6 + 1.2 * k / (NODES - 1), 6) for k in range(NODES)]
    falling = [round(1.0 - 0.1 * k, 6) for k in range(NODES)]
    table = {
        "family": "measured",
        "w": node,
        "dw_up": [1e-3 * step for step in falling],
        "dw_down": [1e-3 * step for step in falling[::-1]],
    }
    piecewise = {"piecewise_up": falling, "piecewise_down": falling[::-1]}
    power: dict[str, Any] = {"family": "power", "tau": 0.6}
    return [
        ("constant", {"response": {"family": "constant"}}, ("ConstantStep", {})),
        ("power-1", {"response": power | {"gamma": 1.0}}, ("PowStep", {"pow_gamma": 1.0, "pow_gamma_dtod": 0.0})),
        ("power-2", {"response": power | {"gamma": 2.0}}, ("PowStep", {"pow_gamma": 2.0, "pow_gamma_dtod": 0.0})),
        ("exponential", {"response": {"family": "exponential", "tau": 0.6, "gamma": 1.0}}, ("ExpStep", {})),
        ("measured", {"response": table}, ("PiecewiseStep", piecewise)),
        ("additive-c2c", soft | {"c2c": 0.0, "c2c_additive": 0.3}, ("SoftBounds", {"mult_noise": False})),
        ("write-noise", soft | {"write_noise": 0.5}, ("SoftBounds", {"write_noise_std": 0.5})),
    ]


def gaussian(n_out: int, n_in: int, samples: int) -> Batch:
    """Return x = 0.3 randn and d = 0.1 randn: 0.19 coincidences a cross-point and sample at lr 0.01, dw_min 0.001."""
    draw = torch.Generator().manual_seed(1)
    return 0.3 * torch.randn(samples, n_in, generator=draw), 0.1 * torch.randn(samples, n_out, generator=draw)


def _square(n: int, samples: int, options: Options, torch_too: bool = False, memory: bool = False) -> Contest:
    batch = gaussian(n, n, samples)
    contest = contests.update({"response": SOFT_BOUNDS}, ("SoftBounds", {}), [batch], LR, MAX_BL)
    calls, facts = dict(contest.calls), dict(contest.facts)
    if torch_too:
        calls["torch"] = plain.update_call((n, n), *batch, LR, MAX_BL)
        facts["torch_work"] = "closed form: one Gaussian for the n pulses of a device and sample"
    if memory:
        facts["ours_peak_mib"] = peak_memory_mib(n, samples)
    return Contest(calls, contest.density, facts)


def _family(ours: dict[str, Any], theirs: tuple[str, dict[str, Any]], options: Options) -> Contest:
    return contests.update(ours, theirs, [gaussian(512, 512, 64)], LR, MAX_BL)


def _lstm(numbers: list[str], options: Options) -> Contest:
    """Return the contest of some matrices of LSTM2-64-WP, all in one call."""
    return contests.join([_lstm_matrix(number) for number in numbers], [LSTM[n][0] * LSTM[n][1] for n in numbers])


def _lstm_matrix(number: str) -> Contest:
    """Return the contest of one matrix; the first sees a one-hot character besides hidden states, all have a bias."""
    n_out, n_in = LSTM[number]
    x, d = gaussian(n_out, n_in, LSTM_SAMPLES)
    x[:, -1] = 1.0
    if number == "1":
        draw = torch.Generator().manual_seed(2)
        x[:, :87] = torch.nn.functional.one_hot(torch.randint(87, (LSTM_SAMPLES,), generator=draw), 87)
    return contests.update({"response": SOFT_BOUNDS}, ("SoftBounds", {}), [(x, d)], LR, MAX_BL)
