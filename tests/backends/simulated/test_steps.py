"""Powers and exponentials of the kernels against float64, and what a device without a pulse does."""

import math
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import pytest

from rpudriver.backends.simulated.kernels import steps

F = np.float32
Floats = npt.NDArray[np.float32]


@nb.njit(error_model="numpy")
def _log2(x, out):  # type: ignore[no-untyped-def]
    for n in range(len(x)):
        out[n] = steps.log2(x[n])


@nb.njit(error_model="numpy")
def _exp2_minus_1(x, out):  # type: ignore[no-untyped-def]
    for n in range(len(x)):
        out[n] = steps.exp2_minus_1(x[n])


@nb.njit(error_model="numpy")
def _power(x, gamma, out):  # type: ignore[no-untyped-def]
    for n in range(len(x)):
        out[n] = steps.power(x[n], gamma)


@nb.njit(error_model="numpy")
def _exponential(x, gamma, scale, out):  # type: ignore[no-untyped-def]
    for n in range(len(x)):
        out[n] = steps.exponential(x[n], gamma, scale)


def results(function: Any, x: Floats, *rest: np.float32) -> npt.NDArray[np.float64]:
    out = np.empty_like(x)
    function(x, *rest, out)
    return out.astype(np.float64)


def relative_error(found: npt.NDArray[np.float64], exact: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.abs(found - exact) / np.abs(exact)


def bound(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What ``steps`` promises of the relative error of ``2^y``: the exponent itself is rounded to 24 bits."""
    return (2 + np.abs(y)) * 2.0**-22


def bases(most: float) -> Floats:
    """Numbers from all over ``(0, most]``: evenly spaced, and of every magnitude."""
    return np.concatenate([np.linspace(0, most, 200_003, dtype=F)[1:], np.geomspace(1e-30, most, 200_003).astype(F)])


def near_one() -> Floats:
    """Every fourth float32 in ``[1/2, 2)``."""
    return np.arange(0x3F000000, 0x40000000, 4, dtype=np.int32).view(F)


def test_logarithm() -> None:
    """Relative to the result, which vanishes at 1: from every binade, and closely around 1."""
    everywhere = np.arange(0x00800000, 0x7F800000, 4093, dtype=np.int32).view(F)
    for x in (near_one(), everywhere):
        exact = np.log2(x.astype(np.float64))
        assert relative_error(results(_log2, x[exact != 0]), exact[exact != 0]).max() < 2.5e-7
    assert results(_log2, np.array([1, 2, 0.25], F)).tolist() == [0, 1, -2]


@pytest.mark.parametrize("sign", [1, -1])
def test_exponential_minus_one(sign: int) -> None:
    x = (sign * np.geomspace(1e-37, 126.9 if sign > 0 else 126, 500_001)).astype(F)
    exact = np.expm1(x.astype(np.float64) * math.log(2))
    assert relative_error(results(_exp2_minus_1, x), exact).max() < 2e-7
    # beyond the range of normal numbers it is clipped
    assert results(_exp2_minus_1, np.array([0, 1, 127, 1000, -1000], F)).tolist() == [0, 1, 2.0**127, 2.0**127, -1]


@pytest.mark.parametrize("gamma", [1e-6, 0.01, 0.1, 0.5, 1, 1.7, 3, 8, 20, 100])
def test_power(gamma: float) -> None:
    """A device at the bound of the other direction has base 2."""
    x, rounded = bases(2), F(gamma)
    exact, y = x.astype(np.float64) ** float(rounded), np.log2(x.astype(np.float64)) * float(rounded)
    found = results(_power, x, rounded)
    normal = np.abs(y) < 126
    assert (relative_error(found[normal], exact[normal]) < bound(y[normal])).all()
    assert (found[y <= -126] < 1.2e-38).all()  # no step at all
    assert np.abs(found - exact)[x <= 1].max() < 1.2e-7  # of the step at weight 0
    assert results(_power, np.array([0, 1, -0.0], F), rounded).tolist() == [0, 1, 0]


def test_a_tiny_base_is_no_zero() -> None:
    """Below the smallest base that the logarithm takes, the power stays in its order."""
    found = results(_power, np.array([0, 1e-45, 1e-37, 1e-30], F), F(0.1))
    assert found[0] == 0 < found[1] <= found[2] < found[3] == pytest.approx(1e-3, rel=2e-5)


@pytest.mark.parametrize("gamma", [1e-4, 0.01, 0.5, 1.3, 4, 10, 30, -1e-4, -0.01, -1.3, -4, -10, -30])
def test_exponential(gamma: float) -> None:
    rounded = F(gamma)
    scale = 1 / np.expm1(np.float64(rounded))
    x = bases(2)
    exact, y = np.expm1(x * np.float64(rounded)) * scale, x * np.float64(rounded) / math.log(2)
    seen = np.abs(exact) > 1e-30
    found = results(_exponential, x, rounded, F(scale))
    assert (relative_error(found[seen], exact[seen]) < bound(y[seen])).all()
    assert (np.abs(found[~seen]) < 2e-30).all()
    ends = results(_exponential, np.array([0, 1], F), rounded, F(scale))
    assert ends[0] == 0
    assert ends[1] == pytest.approx(1, abs=float(bound(np.float64(rounded / math.log(2)))))


@nb.njit(error_model="numpy")
def _moved(form, q, pulsed):  # type: ignore[no-untyped-def]
    return steps.moved(form, F(0.25), F(0.01), F(q), F(0), (F(0.3), F(0.1), F(1)), F(-1), F(1), pulsed)


@pytest.mark.parametrize("form", [steps.QUIET, steps.MULTIPLICATIVE, steps.ADDITIVE, steps.GENERAL])
def test_a_device_without_a_pulse_stays_whatever_its_step_would_be(form: int) -> None:
    """The dense kernel works out steps for all devices of a group; some are beyond what a float holds."""
    move: Any = _moved
    assert move(form, 1e30, False) == 0.25
    assert 0.25 < move(form, 1.0, True) < 0.3
